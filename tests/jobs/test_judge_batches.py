"""A judge is asked through a batch API over real HTTP, and no process that dies pays twice."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from batch_server import KEY, VERDICT, BatchVendor, expire, refuse, say, serving_batches
from judge_store import (
    make_document,
    make_judge_config,
    make_tasks,
    run_document,
    save_completions,
    save_data,
)

from tunebench_api.contract import StageDocument, StageResult
from tunebench_api.v1alpha1 import Tool
from tunebench_jobs.judge.records import VerdictRow
from tunebench_jobs.records import load_jsonl

pytestmark = pytest.mark.jobs

PROMPTS = Path(__file__).parents[2] / "prompts"
TASKS = 10
DEADLINE_SECONDS = 120


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    """Set the right key."""
    monkeypatch.setenv("VENDOR_KEY", KEY)


@pytest.fixture
def vendor() -> Iterator[tuple[str, BatchVendor]]:
    """Start a vendor."""
    served = BatchVendor()
    with serving_batches(served) as address:
        yield address, served


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Write tasks, and the completions of baseline and model."""
    tasks = make_tasks(TASKS, [Tool.DESCRIBE])
    save_data(tmp_path / "data/one", tasks)
    for name in ("baseline", "model"):
        save_completions(tmp_path / "generate" / name, tasks, f"title: {name}")
    return tmp_path


def write_stage(store: Path, address: str, **judge: Any) -> StageDocument:
    """Write the document of the judge stage."""
    secret = {"name": "keys", "key": "VENDOR_KEY"}
    spec = {"name": "vendor", "model": "openai/gpt-4o-2024-11-20", "batch": "Enabled", **judge}
    judges = [{**spec, "apiBase": address, "secretRef": secret}]
    document = make_document(store, make_judge_config("generate/model", judges), "judge/one")
    (store / "stage.json").write_text(document.model_dump_json(by_alias=True))
    return document


def start(store: Path, address: str) -> subprocess.Popen[bytes]:
    """Start the judge stage as a job."""
    write_stage(store, address)
    command = [sys.executable, "-P", "-m", "tunebench_jobs", "stage", "--config"]
    return subprocess.Popen(
        [*command, str(store / "stage.json")],
        env={**os.environ, "VENDOR_KEY": KEY},
        stderr=subprocess.PIPE,
    )


def finish(store: Path, address: str, **judge: Any) -> StageResult:
    """Run the stage to its end here, and return what it reported."""
    return run_document(write_stage(store, address, **judge))


def kill_when(process: subprocess.Popen[bytes], happened: Callable[[], bool]) -> None:
    """Kill a stage as soon as something has happened."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not happened():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=DEADLINE_SECONDS)


def load_verdicts(store: Path) -> list[VerdictRow]:
    """Return the rows that the stage left."""
    return list(load_jsonl(store / "judge/one/verdicts.jsonl", VerdictRow))


def test_a_killed_stage_takes_up_its_batch(store: Path, vendor: tuple[str, BatchVendor]) -> None:
    """SIGKILL between request and reply: the next process waits for the same batch."""
    address, served = vendor
    served.hold.set()
    served.script = lambda turn, _: expire() if turn == 3 else say(VERDICT)
    served.ends = {0: "expired"}
    log = store / "verdicts"
    kill_when(start(store, address), lambda: any(b"Begun" in each for each in read_all(log)))
    served.hold.clear()
    result = finish(store, address)
    judge = result.summary["judges"][0]
    rows = load_verdicts(store)

    assert result.state == "Succeeded", result.message
    assert len(served.batches) == 2
    assert set(served.sold.values()) == {1}
    assert served.sold.total() == len(rows) == 2 * TASKS
    assert all(row.winner for row in rows)
    # Half of what LiteLLM's list says for single requests: 1,000 tokens in and 10 out.
    assert float(judge["costUsd"]) == pytest.approx(2 * TASKS * 0.0026 / 2, abs=1e-4)
    assert judge["sent"] == {"max_tokens": 1024, "temperature": 0.0}
    (described,) = store.glob("verdicts/*/judge.json")
    assert json.loads(described.read_text())["sent"] == judge["sent"]
    assert KEY.encode() not in b"".join(read_all(store))


def test_a_batch_that_began_unseen_is_found(store: Path, vendor: tuple[str, BatchVendor]) -> None:
    """The vendor's answer to the request for a batch is lost, and then the process, too."""
    address, served = vendor
    served.hold.set()
    served.deaf = 1
    kill_when(start(store, address), lambda: bool(served.batches))
    served.hold.clear()
    result = finish(store, address)

    assert result.state == "Succeeded", result.message
    assert len(served.batches) == 1
    assert set(served.sold.values()) == {1}
    assert len(load_verdicts(store)) == 2 * TASKS


def test_parts_of_a_batch_may_fail(store: Path, vendor: tuple[str, BatchVendor]) -> None:
    """Each error has its place, and what cannot be read is asked again with what is wrong."""
    address, served = vendor
    outcomes = {
        0: refuse(400, "context_length_exceeded"),
        1: refuse(500, "server_error"),
        2: say("no idea"),
    }
    served.script = lambda turn, _: outcomes.get(turn, say(VERDICT))
    result = finish(store, address, model="openai/o3-mini")
    rows = load_verdicts(store)
    bodies = [line["body"] for line in served.asked]

    assert result.state == "Succeeded", result.message
    assert [row.missing for row in rows if row.missing] == ["ContextWindowExceeded"]
    assert sorted(row.replies for row in rows) == [0, *[1] * (2 * TASKS - 2), 2]
    assert len(served.batches) == 2
    assert set(served.fetched.values()) == {1}
    assert not any("temperature" in body or "max_tokens" in body for body in bodies)
    assert {body["max_completion_tokens"] for body in bodies} == {1024}


def test_a_wrong_key_is_named_and_not_shown(
    store: Path, vendor: tuple[str, BatchVendor], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The stage fails for good."""
    address, served = vendor
    monkeypatch.setenv("VENDOR_KEY", "sk-some-wrong-key")
    result = finish(store, address)

    assert (result.state, result.reason) == ("Failed", "AuthenticationFailed")
    assert not result.retryable
    assert "`spec.judges[vendor].secretRef`" in result.message
    assert "sk-some-wrong-key" not in result.message
    assert not served.batches


def read_all(folder: Path) -> Iterator[bytes]:
    """Yield the content of every file below a folder."""
    return (path.read_bytes() for path in folder.rglob("*") if path.is_file())
