"""A run whose store is a bucket: killed on machine after machine, it loses nothing that counts."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from bucket_server import BucketServer, leading_to_server
from make_tiny_run import COMMAND, make_tiny_run, run_tunebench

from tunebench_jobs.train.layout import WORK_FOLDER

pytestmark = [pytest.mark.nightly, pytest.mark.timeout(1800)]

STORE = "s3://bench/runs"


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[BucketServer]:
    """Run an S3 server that this environment leads to."""
    with leading_to_server(tmp_path, monkeypatch) as running:
        yield running


def run_until(file: Path, near: Path, condition: Callable[[], object]) -> None:
    """Start the run, kill it with `kill -9` once the condition holds, and lose its machine."""
    command = [*COMMAND, "run", str(file)]
    environment = os.environ | {"TUNEBENCH_STORE": str(near)}
    with subprocess.Popen(command, stderr=subprocess.DEVNULL, env=environment) as supervisor:
        deadline = time.monotonic() + 400
        try:
            while not condition():
                assert supervisor.poll() is None, "the run must not end yet"
                assert time.monotonic() < deadline, "the run must come so far"
                time.sleep(0.02)
        finally:
            supervisor.send_signal(signal.SIGKILL)
    # The guard ends what the supervisor started; until then files come back.
    deadline = time.monotonic() + 60
    while near.exists():
        assert time.monotonic() < deadline, "the machine must be lost"
        shutil.rmtree(near, ignore_errors=True)
        time.sleep(0.5)


def test_a_killed_run_goes_on_elsewhere(
    tmp_path: Path, server: BucketServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed in train, generate and judge, each time on another machine: same leaderboard."""
    file = make_tiny_run(tmp_path / "run", storage={"uri": STORE})
    local = run_tunebench("run", str(file), "--store", str(tmp_path / "local"), "-o", "json")

    def reached(prefix: str, mark: str) -> Callable[[], bool]:
        return lambda: any(mark in key for key in server.list_keys(f"runs/{prefix}/"))

    run_until(file, tmp_path / "first", reached("train", "/worker-00000.json"))
    run_until(file, tmp_path / "second", reached("generate", "/partial-"))
    kept = {key: (server.bucket / key).read_bytes() for key in server.list_keys("runs/generate/")}
    # The control was judged before.
    judged = len(server.list_keys("runs/verdicts/"))
    run_until(
        file,
        tmp_path / "third",
        lambda: len(server.list_keys("runs/verdicts/")) > judged,
    )
    trained = [key for key in server.list_keys("runs/train/") if key.endswith("/result.json")]
    monkeypatch.setenv("TUNEBENCH_STORE", str(tmp_path / "fourth"))
    final = run_tunebench("run", str(file), "-o", "json")
    text = run_tunebench("report", str(file))

    assert local.returncode == final.returncode == 0, final.stderr
    assert len(trained) == 1
    assert {key: (server.bucket / key).read_bytes() for key in kept} == kept
    assert json.loads(final.stdout)["leaderboard"] == json.loads(local.stdout)["leaderboard"]
    assert not [key for key in server.list_keys() if {WORK_FOLDER, ".probes"} & {*key.split("/")}]
    assert "tiny-1" in text.stdout
