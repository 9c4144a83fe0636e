"""A replica on a machine of its own, whose checkpoints lie in a bucket."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from bucket_server import BucketServer, running_server
from make_served import add_manifest, save_adapter, save_lively_base

from tunebench_api.contract import (
    Artefact,
    Base,
    Report,
    Runtime,
    ServeConfig,
    ServedVariant,
    StageDocument,
    StageResult,
)
from tunebench_api.v1alpha1 import TuningMethod
from tunebench_jobs.errors import InputError
from tunebench_jobs.files import build_file_digest
from tunebench_jobs.serve.application import build
from tunebench_jobs.serve.deployment import FetchingChatReplica
from tunebench_jobs.storage.bucket import Bucket
from tunebench_jobs.storage.mirror import Mirror

pytestmark = [
    pytest.mark.jobs,
    pytest.mark.timeout(600),
    # PEFT asks transformers by an old name.
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning"),
    # What Ray Serve imports.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]

STORE = "s3://bench/runs"


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[BucketServer]:
    """Run an S3 server that this environment leads to."""
    with running_server(tmp_path / "server") as running:
        for name, value in running.environment.items():
            monkeypatch.setenv(name, value)
        yield running


def make_document(tmp_path: Path, base: Path) -> str:
    """Return the document of a server of a base with one adapter, on a machine without files."""
    variants = (ServedVariant(name="plain"), ServedVariant(name="tuned", checkpoint="train/t"))
    config = ServeConfig(base=Base(base=str(base)), variants=variants, batch_size=2, seed=1)
    runtime = Runtime(
        store=STORE,
        scratch=str(tmp_path / "replica"),
        output="serve/s",
        report=str(tmp_path / "report.json"),
        cpus=1,
    )
    return StageDocument(config=config, runtime=runtime).model_dump_json(by_alias=True)


def put_checkpoint(tmp_path: Path, base: Path) -> None:
    """Leave an adapter in the bucket, as the train stage does."""
    folder = tmp_path / "trainer/train/t/checkpoint"
    save_adapter(base, folder, seed=1)
    add_manifest(folder, base, tmp_path / "trainer", TuningMethod.LORA)
    artefacts = tuple(
        Artefact(
            path=f"checkpoint/{path.name}",
            sha256=build_file_digest(path),
            bytes=path.stat().st_size,
        )
        for path in sorted(folder.iterdir())
    )
    result = StageResult(state="Succeeded", reason="Succeeded", artefacts=artefacts)
    content = result.model_dump_json(by_alias=True).encode()
    Mirror(Bucket(STORE), tmp_path / "trainer").publish("train/t", result, content, set())


@pytest.mark.usefixtures("server")
def test_a_replica_fetches_what_it_serves(tmp_path: Path) -> None:
    """The application is built without a file, and the replica has the model on its own machine."""
    base = save_lively_base(tmp_path / "base")
    put_checkpoint(tmp_path, base)
    document = make_document(tmp_path, base)
    path = tmp_path / "stage.json"
    path.write_text(document)
    application = build({"config": str(path)})

    assert application is not None
    assert not (tmp_path / "replica").exists()

    replica = FetchingChatReplica(document)
    names = {model["id"] for model in replica._service.build_models()["data"]}
    replica._service._engine.close()

    assert names == {"plain", "tuned"}
    assert (tmp_path / "replica/train/t/checkpoint/adapter_model.safetensors").is_file()


@pytest.mark.usefixtures("server")
def test_a_replica_says_what_it_lacks(tmp_path: Path) -> None:
    """What Ray Serve would hide is in the stage's report."""
    base = save_lively_base(tmp_path / "base")

    with pytest.raises(InputError, match="finished result"):
        FetchingChatReplica(make_document(tmp_path, base))

    result = Report.model_validate_json((tmp_path / "report.json").read_bytes()).result

    assert result is not None
    assert result.reason == "ResultMissing"
