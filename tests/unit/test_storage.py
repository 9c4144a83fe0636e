"""Stores in buckets: what pods get, what files are sent, and what errors say."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from make_installation import make_installation
from make_run import make_run

from tunebench_api.contract import StageKind
from tunebench_api.v1alpha1 import BenchmarkRun
from tunebench_jobs.errors import InputError, JobError, RetryableError
from tunebench_jobs.journal import Journal
from tunebench_jobs.storage.bucket import build_bucket_error
from tunebench_jobs.storage.mirror import check_inside
from tunebench_jobs.storage.uploads import Uploads
from tunebench_operator.builders.documents import build_config
from tunebench_operator.builders.work import build_work
from tunebench_operator.errors import UserError
from tunebench_operator.installation import Installation
from tunebench_operator.local.place import StorePlace, find_place
from tunebench_operator.observed import Observed
from tunebench_operator.plan import Child, plan
from tunebench_operator.reconcile import find_storage

STORE = "s3://bench/runs"


def run_with(**storage: Any) -> BenchmarkRun:
    """Return a run in a cluster with a store of its own, or with none."""
    run = make_run(**({"storage": {"uri": STORE, **storage}} if storage else {}))
    metadata = run.metadata.model_copy(update={"namespace": "team", "uid": "u1"})
    return run.model_copy(update={"metadata": metadata})


def find_data(run: BenchmarkRun) -> Child:
    """Return the data stage of a run."""
    desired = plan(run, Observed(), now=datetime.now(UTC)).desired
    return next(child for child in desired if child.kind is StageKind.DATA)


def list_variables(run: BenchmarkRun, installation: Installation) -> dict[str, Any]:
    """Return the environment of the data stage's pod by name."""
    work = build_work(run, find_data(run), installation, find_storage(run, installation))
    (container,) = work["spec"]["template"]["spec"]["containers"]
    return {each["name"]: each.get("value") or each["valueFrom"] for each in container["env"]}


def test_keys_come_from_the_runs_secret_and_stand_nowhere_else() -> None:
    """Pods refer to the Secret; the stage document names the store alone."""
    run = run_with(endpoint="https://s3.acme.dev", secretRef={"name": "bench-keys"})
    variables = list_variables(run, make_installation())
    document = json.dumps(build_config(run, find_data(run), make_installation(), STORE))

    assert variables["AWS_ENDPOINT_URL"] == "https://s3.acme.dev"
    assert variables["AWS_SECRET_ACCESS_KEY"] == {
        "secretKeyRef": {"name": "bench-keys", "key": "AWS_SECRET_ACCESS_KEY"}
    }
    assert variables["HF_HOME"].endswith("/huggingface")
    assert not variables["HF_HOME"].startswith("/mnt/")
    assert STORE in document
    assert "bench-keys" not in document
    assert "acme.dev" not in document


def test_a_run_without_a_store_has_the_installations() -> None:
    """Address and Secret of the installation go with its store only."""
    wire = make_installation().to_wire()
    installation = Installation.from_wire(
        wire | {"storageUri": STORE, "storageEndpoint": "http://s3:7070", "storageSecret": "shared"}
    )
    theirs = list_variables(run_with(), installation)
    own = list_variables(run_with(endpoint="http://own:1"), installation)

    assert theirs["AWS_ENDPOINT_URL"] == "http://s3:7070"
    assert theirs["AWS_ACCESS_KEY_ID"]["secretKeyRef"]["name"] == "shared"
    assert own["AWS_ENDPOINT_URL"] == "http://own:1"
    assert "AWS_ACCESS_KEY_ID" not in own


def test_pods_with_a_claim_have_no_keys() -> None:
    """A store in a claim is as it was: the hub's cache beside the results, and no variable more."""
    variables = list_variables(run_with(), make_installation())

    assert variables["HF_HOME"] == "/mnt/pvc/bench/runs/cache/huggingface"
    assert not [name for name in variables if name.startswith("AWS")]


def test_a_malformed_bucket_is_refused() -> None:
    """The message names the field and the form."""
    with pytest.raises(UserError, match=r"`spec.storage.uri` must be s3://BUCKET/FOLDER"):
        find_storage(run_with(uri="s3:///runs"), make_installation())


@pytest.mark.parametrize(
    ("named", "default", "expected"),
    [
        pytest.param(None, "runs", StorePlace(Path("runs")), id="default"),
        pytest.param("file:///srv/x", "runs", StorePlace(Path("/srv/x")), id="folder"),
        pytest.param(
            f"{STORE}/", "near", StorePlace(Path("near/s3/bench/runs"), STORE), id="bucket"
        ),
        pytest.param(None, STORE, StorePlace(Path("runs/s3/bench/runs"), STORE), id="environment"),
    ],
)
def test_the_place_of_a_store(named: str | None, default: str, expected: StorePlace) -> None:
    """A bucket has a folder of this machine beside it, and a folder is itself."""
    place = find_place(None, named, default)

    assert (place.root, place.uri) == (expected.root, expected.uri)


def test_the_command_line_goes_before_the_run() -> None:
    """The run's endpoint reaches the processes that need it."""
    run = run_with(endpoint="http://s3:7070")

    assert find_place(run, "elsewhere", "runs").uri is None
    assert find_place(run, None, "runs").environment == {
        # Whichever of the two this machine has set for another server.
        "AWS_ENDPOINT_URL": "http://s3:7070",
        "AWS_ENDPOINT_URL_S3": "http://s3:7070",
    }


@pytest.mark.parametrize(
    ("text", "kind", "reason"),
    [
        ("AWS Error NO_SUCH_BUCKET during PutObject", InputError, "StoreNotFound"),
        ("AWS Error ACCESS_DENIED during HeadObject", InputError, "StoreDenied"),
        ("AWS Error UNKNOWN (HTTP status 507): no", RetryableError, "StoreFull"),
        ("GetObject operation: Response checksums mismatch", RetryableError, "ObjectDamaged"),
        ("AWS Error NETWORK_CONNECTION during GetObject", RetryableError, "StoreUnavailable"),
    ],
)
def test_what_a_server_says_becomes_a_reason(text: str, kind: type[JobError], reason: str) -> None:
    """What the user must change is told apart from what time may heal."""
    error = build_bucket_error(STORE, "spec.storage.uri", text)

    assert type(error) is kind
    assert error.reason == reason
    assert STORE in str(error)


class Sent:
    """Takes objects, or refuses them."""

    def __init__(self) -> None:
        """Take everything."""
        self.objects: dict[str, bytes] = {}
        self.error: JobError | None = None

    def put(self, key: str, content: bytes) -> None:
        """Keep an object."""
        if self.error is not None:
            raise self.error
        self.objects[key] = content


def test_a_shard_is_sent_without_its_torn_end(tmp_path: Path) -> None:
    """Closing sends what is whole, and another process that reads it finds only whole lines."""
    sent = Sent()
    uploads = Uploads(sent.put)
    journal = Journal(tmp_path, "p", keep=lambda path: uploads.touch(path, path.name))
    for line in (b"one", b"two"):
        journal.append(line)
    journal.close()
    (shard,) = tmp_path.glob("p-*.jsonl")
    with shard.open("ab") as file:
        file.write(b"torn")
    uploads.touch(shard, shard.name)
    uploads.close()

    assert sent.objects == {shard.name: b"one\ntwo\n"}
    assert [line for _, _, line in journal.load()] == [b"one", b"two"]


def test_a_long_journal_has_small_objects(tmp_path: Path) -> None:
    """An object that is sent whole with each line stays small; on a disk one file is enough."""
    line = b"x" * 400_000
    kept = Journal(tmp_path / "bucket", keep=lambda _: None)
    local = Journal(tmp_path / "folder")
    for _ in range(6):
        kept.append(line)
        local.append(line)
    kept.close()
    local.close()

    assert len(list((tmp_path / "bucket").iterdir())) == 2
    assert len(list((tmp_path / "folder").iterdir())) == 1
    assert len(list(kept.load())) == 6


def test_nothing_more_is_bought_when_nothing_can_be_kept(tmp_path: Path) -> None:
    """A refusal is raised at the next line; a server that is away, only after some patience."""
    path = tmp_path / "shard.jsonl"
    path.write_text("one\n")
    now, sent = [0.0], Sent()
    uploads = Uploads(sent.put, clock=lambda: now[0], spacing=60, patience=120)
    sent.error = RetryableError("away")
    uploads.touch(path, "k")
    with pytest.raises(RetryableError):
        uploads.flush()
    now[0] = 100.0
    uploads.touch(path, "k")
    now[0] = 200.0
    with pytest.raises(RetryableError, match="away"):
        uploads.touch(path, "k")
    sent.error = None
    uploads.close()

    assert sent.objects == {"k": b"one\n"}


def test_a_copy_that_somebody_removed_stops_no_other(tmp_path: Path) -> None:
    """What can be sent still is, by the thread, and the stage hears of what cannot."""
    lost, whole, sent = tmp_path / "lost", tmp_path / "whole", Sent()
    whole.write_text("one\n")
    uploads = Uploads(sent.put, spacing=0.01)
    uploads.touch(lost, "lost")
    with pytest.raises(RetryableError, match="lost"):
        uploads.flush()
    uploads.touch(whole, "whole")
    uploads.touch(lost, "lost")
    deadline = time.monotonic() + 5
    while "whole" not in sent.objects and time.monotonic() < deadline:
        time.sleep(0.01)

    assert sent.objects == {"whole": b"one\n"}
    with pytest.raises(RetryableError, match="lost"):
        uploads.close()


@pytest.mark.parametrize("name", ["../x", "/etc/x", "a/../../x"])
def test_names_from_a_bucket_stay_below_their_folder(name: str) -> None:
    """An artefact cannot be written elsewhere on this machine."""
    with pytest.raises(InputError, match="leads out of it"):
        check_inside(name, STORE)
