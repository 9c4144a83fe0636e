"""Stages whose store is a bucket of a real S3 server."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from bucket_server import BucketServer, leading_to_server
from chat_server import Model
from make_tiny_run import make_tiny_run, run_tunebench
from make_train_stage import TUNING, find_processes, make_store, make_train_row, stop_all
from tracker_files import load_scalars

from tunebench_api.contract import (
    RESULT_FILE,
    Artefact,
    Base,
    BaselineConfig,
    CleanupConfig,
    GenerateConfig,
    JudgeConfig,
    Report,
    Runtime,
    StageDocument,
    StageResult,
    TrainConfig,
)
from tunebench_api.v1alpha1 import BaselineSpec, GenerationSpec, JudgingSpec, PromptsSpec, Tool
from tunebench_jobs.errors import InputError, RetryableError
from tunebench_jobs.files import build_file_digest
from tunebench_jobs.records import Completion, Task, dump_jsonl
from tunebench_jobs.stage import run_stage
from tunebench_jobs.storage.bucket import Bucket
from tunebench_jobs.storage.check import check_bucket
from tunebench_jobs.storage.mirror import Mirror
from tunebench_jobs.storage.sources import fetch_source
from tunebench_jobs.storage.uploads import Uploads
from tunebench_jobs.train.layout import WORK_FOLDER

pytestmark = [pytest.mark.jobs, pytest.mark.timeout(1200)]

STORE = "s3://bench/runs"
DONE = {"state": "Succeeded", "reason": "Succeeded"}
PROMPTS = Path(__file__).parents[2] / "prompts"
TASKS = [
    Task(
        id=f"pr{number}:Describe",
        pr=f"pr{number}",
        repository="acme/shop",
        language="Python",
        tool=Tool.DESCRIBE,
        system="Describe.",
        user=f"Diff {number}",
    )
    for number in range(6)
]
VERDICT = "```yaml\nwhich_response_was_better: '1'\nwhy: it comes first\n```"


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[BucketServer]:
    """Run an S3 server that this environment leads to."""
    with leading_to_server(tmp_path, monkeypatch) as running:
        monkeypatch.setenv("TUNEBENCH_STORE", str(tmp_path / "near"))
        yield running


def put_output(folder: Path, output: str, *, finished: str = "", **files: str) -> None:
    """Put a finished stage into the store."""
    mirror = Mirror(Bucket(STORE), folder)
    artefacts = []
    for name, text in files.items():
        path = folder / output / f"{name}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        digest = build_file_digest(path)
        artefacts.append(Artefact(path=f"{name}.jsonl", sha256=digest, bytes=path.stat().st_size))
    result = StageResult(**DONE, artefacts=tuple(artefacts), finished_at=finished)
    mirror.publish(output, result, result.model_dump_json(by_alias=True).encode(), set())


def make_document(tmp_path: Path, machine: str, config: Any, **runtime: Any) -> StageDocument:
    """Build the document of a stage on a machine that nobody else shares."""
    return StageDocument(
        config=config,
        runtime=Runtime(
            store=STORE,
            scratch=str(tmp_path / machine),
            output=f"{config.stage}/x",
            report=str(tmp_path / "report.json"),
            prompts_dir=str(PROMPTS),
            cpus=1,
            **runtime,
        ),
    )


def start(tmp_path: Path, document: StageDocument) -> psutil.Popen:
    """Start a stage in a process of its own."""
    path = tmp_path / "document.json"
    path.write_text(document.model_dump_json(by_alias=True))
    command = [sys.executable, "-m", "tunebench_jobs", "stage", "--config", str(path)]
    with (tmp_path / "log").open("a") as log:
        return psutil.Popen(command, stdout=log, stderr=subprocess.STDOUT)


def wait_until(condition: Callable[[], object], process: psutil.Popen, seconds: float) -> None:
    """Poll until a condition holds while the process lives."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, "the stage must not end yet"
        assert time.monotonic() < deadline, "the stage must come so far"
        time.sleep(0.02)


def load_report(tmp_path: Path) -> StageResult:
    """Return the result that a stage reported."""
    result = Report.model_validate_json((tmp_path / "report.json").read_bytes()).result
    assert result is not None
    return result


def count_lines(server: BucketServer, prefix: str) -> int:
    """Count the lines of the journal's objects."""
    keys = [key for key in server.list_keys(prefix) if key.endswith(".jsonl")]
    return sum((server.bucket / key).read_bytes().count(b"\n") for key in keys)


@pytest.mark.usefixtures("server")
def test_what_a_stage_left_is_fetched_elsewhere(tmp_path: Path) -> None:
    """Another machine gets what it asks for, and refuses what was changed."""
    put_output(tmp_path / "one", "data/d", train="t\n", eval="e\n")
    other = Mirror(Bucket(STORE), tmp_path / "two")
    other.fetch("data/d/eval.jsonl")

    assert (tmp_path / "two/data/d/eval.jsonl").read_text() == "e\n"
    assert not (tmp_path / "two/data/d/train.jsonl").exists()

    other.bucket.put("data/d/train.jsonl", b"changed\n")

    with pytest.raises(RetryableError, match=r"data/d/train\.jsonl.*SHA-256"):
        other.fetch("data/d")


@pytest.mark.usefixtures("server")
def test_a_run_takes_its_artefacts_out_of_the_bucket(tmp_path: Path) -> None:
    """What is older than the run stays, and what is not there is no error."""
    mine, old = "data/00000000000000aa", "data/00000000000000bb"
    for output, finished in ((mine, "2026-02-01T00:00:00Z"), (old, "2026-01-01T00:00:00Z")):
        put_output(tmp_path / "one", output, finished=finished, eval="e\n")
    config = CleanupConfig(
        since="2026-01-15T00:00:00Z", outputs=(mine, old, "judge/00000000000000cc")
    )

    code = run_stage(make_document(tmp_path, "two", config))

    assert code == 0
    assert Bucket(STORE).list(mine) == {}
    assert len(Bucket(STORE).list(old)) == 2


def test_artefacts_without_a_result_are_no_result(tmp_path: Path, server: BucketServer) -> None:
    """A stage that was killed before its `result.json` is done again, and refused as an input."""
    put_output(tmp_path / "one", "data/d", eval=dump_jsonl(TASKS))
    Bucket(STORE).put("baseline/x/completions.jsonl", b"half of i")
    config = BaselineConfig(
        data="data/d", baseline=BaselineSpec(name="template", model="tunebench/template")
    )
    with pytest.raises(InputError, match="must hold a finished result"):
        Mirror(Bucket(STORE), tmp_path / "two").fetch("baseline/x")

    code = run_stage(make_document(tmp_path, "two", config))
    text = (server.bucket / "runs/baseline/x/completions.jsonl").read_text()

    assert code == 0
    assert text.count("\n") == len(TASKS)
    assert f"runs/baseline/x/{RESULT_FILE}" in server.list_keys()


def test_a_finished_result_of_another_machine_is_used(tmp_path: Path, server: BucketServer) -> None:
    """A stage whose result lies in the bucket computes nothing, whatever this machine has."""
    put_output(tmp_path / "one", "baseline/x", completions="theirs\n")
    config = BaselineConfig(
        data="data/none", baseline=BaselineSpec(name="template", model="tunebench/template")
    )

    assert run_stage(make_document(tmp_path, "two", config)) == 0
    assert (server.bucket / "runs/baseline/x/completions.jsonl").read_text() == "theirs\n"


def test_a_copy_that_the_bucket_lost_does_not_count(tmp_path: Path, server: BucketServer) -> None:
    """The bucket is the store: what was removed there is gone."""
    put_output(tmp_path / "one", "data/d", eval="e\n")
    shutil.rmtree(server.bucket / "runs/data")

    assert Mirror(Bucket(STORE), tmp_path / "one").load_result("data/d") is None


@pytest.mark.parametrize(
    ("how", "fresh"),
    [
        pytest.param(signal.SIGKILL, False, id="killed and restarted on the same machine"),
        pytest.param(signal.SIGTERM, True, id="told to end, and started elsewhere"),
    ],
)
def test_no_completion_is_made_twice(
    tmp_path: Path, server: BucketServer, how: int, *, fresh: bool
) -> None:
    """Whatever was answered before the end is not asked for again."""
    put_output(tmp_path / "one", "data/d", eval=dump_jsonl(TASKS))
    model = Model("an answer")
    model.limit = 3
    config = GenerateConfig(
        data="data/d",
        base=Base(base="tiny"),
        checkpoint=None,
        generation=GenerationSpec(concurrency=1),
        seed=1,
    )
    document = make_document(tmp_path, "one", config, endpoint=model.url, served_name="tiny")
    process = start(tmp_path, document)
    wait_until(lambda: len(model.asked) == 4, process, 120)
    process.send_signal(how)
    process.wait(60)
    # What was under way is no answer.
    model.limit = sys.maxsize
    before = len(model.asked)
    if fresh:
        assert count_lines(server, "runs/generate/x/partial") == 3
        runtime = document.runtime.model_copy(update={"scratch": str(tmp_path / "two")})
        document = document.model_copy(update={"runtime": runtime})

    code = run_stage(document)
    rows = (server.bucket / "runs/generate/x/completions.jsonl").read_text().splitlines()

    assert code == 0
    assert sorted(model.asked[before:]) == ["Diff 3", "Diff 4", "Diff 5"]
    assert [Completion.model_validate_json(row).task for row in rows] == [t.id for t in TASKS]
    model.close()


def test_no_verdict_is_bought_twice(tmp_path: Path, server: BucketServer) -> None:
    """After `kill -9` and the loss of the machine, what the bucket had is not asked again."""
    put_output(tmp_path / "one", "data/d", eval=dump_jsonl(TASKS))
    for stage, text in (("generate", "ours"), ("baseline", "theirs")):
        rows = [Completion(task=t.id, completion=text, finish_reason="stop") for t in TASKS]
        put_output(tmp_path / "one", f"{stage}/g", completions=dump_jsonl(rows))
    judge = Model(VERDICT)
    judge.limit = 5
    config = JudgeConfig.model_validate(
        {
            "data": "data/d",
            "baseline": "baseline/g",
            "completions": "generate/g",
            "prompts": PromptsSpec(builtin="compact"),
            "judges": [
                {"name": "fake", "model": "openai/fake", "apiBase": judge.url, "concurrency": 1}
            ],
            "judging": JudgingSpec(),
        }
    )
    process = start(tmp_path, make_document(tmp_path, "one", config))
    wait_until(lambda: count_lines(server, "runs/verdicts/") == 5, process, 240)
    process.kill()
    process.wait(60)
    shutil.rmtree(tmp_path / "one")
    judge.limit = sys.maxsize
    before = len(judge.asked)

    process = start(tmp_path, make_document(tmp_path, "two", config))
    process.wait(300)
    verdicts = (server.bucket / "runs/judge/x/verdicts.jsonl").read_text()

    assert process.returncode == 0, (tmp_path / "log").read_text()[-2000:]
    assert len(judge.asked) - before == 2 * len(TASKS) - 5
    assert verdicts.count("\n") == 2 * len(TASKS)
    judge.close()


def _train(tmp_path: Path, machine: str, **tuning: Any) -> StageDocument:
    config = TrainConfig.model_validate(
        {
            "data": "data/tiny",
            "base": {"base": str(tmp_path / "base")},
            "tuning": TUNING | {"maxLength": 512} | tuning,
            "seed": 7,
            "tracking": {"run": "r", "model": "m", "tracking": {"tensorBoard": "Enabled"}},
        }
    )
    return make_document(tmp_path, machine, config)


def _put_train_set(tmp_path: Path) -> None:
    store = make_store(tmp_path, [make_train_row(number) for number in range(12)])
    path = store / "data/tiny/train.parquet"
    artefact = Artefact(path=path.name, sha256=build_file_digest(path), bytes=path.stat().st_size)
    result = StageResult(**DONE, artefacts=(artefact,))
    content = result.model_dump_json(by_alias=True).encode()
    Mirror(Bucket(STORE), store).publish("data/tiny", result, content, set())


def _run_train(tmp_path: Path, document: StageDocument) -> StageResult:
    process = start(tmp_path, document)
    try:
        process.wait(400)
    finally:
        stop_all([process, *find_processes(process)])
    assert process.returncode == 0, (tmp_path / "log").read_text()[-4000:]
    return load_report(tmp_path)


# TensorBoard's reader imports old libraries.
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_training_goes_on_from_the_bucket(tmp_path: Path, server: BucketServer) -> None:
    """Killed with its machine, training goes on at a complete resume point: the same adapter."""
    _put_train_set(tmp_path)
    whole = _run_train(tmp_path, _train(tmp_path, "whole", epochs=30))
    output = server.bucket / "runs/train/x"
    expected = build_file_digest(output / "checkpoint/adapter_model.safetensors")
    shutil.rmtree(output)

    def points() -> list[str]:
        return sorted(
            key for key in server.list_keys("runs/train/x/") if "/worker-00000.json" in key
        )

    process = start(tmp_path, _train(tmp_path, "one", epochs=30))
    children: list[psutil.Process] = []
    try:
        wait_until(
            lambda: points() and points()[-1] > f"runs/train/x/{WORK_FOLDER}/step-00000003",
            process,
            400,
        )
        children = find_processes(process)
    finally:
        stop_all([process, *children])
        process.wait(60)
    shutil.rmtree(tmp_path / "one")
    # One with a damaged file is passed over.
    newest = (server.bucket / points()[-1]).parent
    (newest / "worker-00000.safetensors").write_bytes(b"half")

    assert len(points()) in {2, 3}
    assert not (output / RESULT_FILE).exists()

    result = _run_train(tmp_path, _train(tmp_path, "two", epochs=30))
    log = (tmp_path / "log").read_text()

    assert result.summary["train_loss"] == whole.summary["train_loss"]
    assert build_file_digest(output / "checkpoint/adapter_model.safetensors") == expected
    assert not (output / "work").exists()
    assert "Traceback" not in log
    # What the first machine logged is gone with it, but the resume point has its curve.
    (events,) = server.list_keys("runs/train/x/tensorboard/")
    scalars = load_scalars((server.bucket / events).parent)
    assert [step for step, _ in scalars["train/loss"]] == list(range(1, 91))
    assert {each.path for each in result.artefacts} == {
        "canaries.json",
        events.removeprefix("runs/train/x/"),
        "curve.jsonl",
        *(
            key.removeprefix("runs/train/x/")
            for key in server.list_keys("runs/train/x/checkpoint/")
        ),
    }
    assert "runs/train/x/curve.jsonl" in server.list_keys("runs/train/x/")


def test_whoever_trains_the_same_later_sends_nothing(tmp_path: Path, server: BucketServer) -> None:
    """The checkpoint of the first machine stays under its result, which names its digests."""
    from tunebench_jobs.train.session import send_checkpoint  # noqa: PLC0415 - imports torch

    put_output(tmp_path / "one", "train/x", **{"checkpoint/adapter": "first\n"})
    mine = tmp_path / "two/train/x/checkpoint"
    mine.mkdir(parents=True)
    (mine / "adapter.jsonl").write_text("second\n")
    send_checkpoint(Mirror(Bucket(STORE), tmp_path / "two"), "train/x")

    assert server.list_keys("runs/train/x/checkpoint") == {"runs/train/x/checkpoint/adapter.jsonl"}
    assert (server.bucket / "runs/train/x/checkpoint/adapter.jsonl").read_text() == "first\n"


def test_two_workers_share_no_folder(tmp_path: Path, server: BucketServer) -> None:
    """ZeRO-2: each worker sends its part of a resume point, and another machine has the model."""
    _put_train_set(tmp_path)
    document = _train(tmp_path, "one", method="Full", workers=2, deepspeed="ZeRO2", epochs=1)

    result = _run_train(tmp_path, document)
    Mirror(Bucket(STORE), tmp_path / "two").fetch("train/x/checkpoint")

    assert result.summary["train_loss"]["last"] < result.summary["train_loss"]["first"]
    assert (tmp_path / "two/train/x/checkpoint/model.safetensors").is_file()
    assert f"runs/train/x/{RESULT_FILE}" in server.list_keys()


def test_sources_are_fetched_and_fetched_anew_when_changed(
    tmp_path: Path, server: BucketServer
) -> None:
    """Files and folders of a bucket are sources; content decides."""
    bucket = Bucket("s3://bench")
    for key in ("data/rows.jsonl", "prompts/one.toml", "prompts/deep/two.toml"):
        bucket.put(key, key.encode())
    first = fetch_source("s3://bench/data/rows.jsonl", "spec.dataset.train.uri")
    again = fetch_source("s3://bench/data/rows.jsonl", "spec.dataset.train.uri")
    folder = fetch_source("s3://bench/prompts", "spec.prompts.uri")
    bucket.put("data/rows.jsonl", b"data/sown.jsonl")
    changed = fetch_source("s3://bench/data/rows.jsonl", "spec.dataset.train.uri")

    assert first == again
    assert first.name == "rows.jsonl"
    assert (folder / "deep/two.toml").read_text() == "prompts/deep/two.toml"
    assert changed.read_text() == "data/sown.jsonl"
    assert tmp_path in changed.parents
    assert server.list_keys("data/") == {"data/rows.jsonl"}
    with pytest.raises(InputError, match=r"`spec.prompts.uri` must name a file or folder"):
        fetch_source("s3://bench/nothing", "spec.prompts.uri")


@pytest.mark.parametrize(
    ("change", "code", "words"),
    [
        pytest.param({"uri": "s3://absent/runs"}, 2, ["`spec.storage.uri`", "exists"], id="bucket"),
        pytest.param({"AWS_SECRET_ACCESS_KEY": "x"}, 2, ["denied", "secretRef"], id="wrong key"),
        pytest.param({"AWS_ACCESS_KEY_ID": "x"}, 2, ["denied", "secretRef"], id="unknown key"),
        pytest.param({"endpoint": "http://127.0.0.1:9"}, 1, ["`spec.storage.endpoint`"], id="away"),
    ],
)
def test_a_store_that_cannot_be_used_is_found_at_once(  # noqa: PLR0913, PLR0917 - fixtures too
    tmp_path: Path,
    server: BucketServer,
    monkeypatch: pytest.MonkeyPatch,
    change: dict[str, str],
    code: int,
    words: list[str],
) -> None:
    """The message names field and remedy, and the exit code tells whether waiting may help."""
    variables = {name: value for name, value in change.items() if name.startswith("AWS")}
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    storage = {"uri": STORE} | {k: v for k, v in change.items() if k not in variables}
    file = make_tiny_run(tmp_path / "run", storage=storage)
    done = run_tunebench("run", str(file))

    assert done.returncode == code, done.stderr
    assert all(word in done.stderr for word in words), done.stderr
    assert "Traceback" not in done.stderr
    assert server.list_keys() == set()


def test_a_full_bucket_stops_the_stage(tmp_path: Path, server: BucketServer) -> None:
    """What cannot be kept is an error that may be retried, and no result is left."""
    put_output(tmp_path / "one", "data/d", eval=dump_jsonl(TASKS))
    config = BaselineConfig(
        data="data/d", baseline=BaselineSpec(name="template", model="tunebench/template")
    )
    server.stop()
    server.start(largest=1000)

    code = run_stage(make_document(tmp_path, "two", config))
    result = load_report(tmp_path)

    assert code == 1
    assert result.retryable
    assert STORE in result.message
    assert f"runs/baseline/x/{RESULT_FILE}" not in server.list_keys()


def test_the_check_uses_what_a_run_uses(server: BucketServer) -> None:
    """A bucket that takes, lists, gives and removes objects passes, and nothing is left in it."""
    check_bucket(Bucket(STORE))

    assert server.list_keys() == set()


def test_a_server_that_went_away_is_told_in_time(tmp_path: Path, server: BucketServer) -> None:
    """A file that cannot be sent is an error when the stage ends, and sent when it can be."""
    (tmp_path / "shard.jsonl").write_text("one\ntorn")
    uploads = Uploads(Bucket(STORE).put)
    server.stop()
    uploads.touch(tmp_path / "shard.jsonl", "verdicts/j/shard.jsonl")

    with pytest.raises(RetryableError, match="does not answer"):
        uploads.flush()

    server.start()
    uploads.close()

    assert (server.bucket / "runs/verdicts/j/shard.jsonl").read_text() == "one\n"
    assert os.environ["AWS_ACCESS_KEY_ID"] == "tunebench"
