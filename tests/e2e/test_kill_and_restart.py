"""A run that is killed again and again ends with the leaderboard of one that was left alone."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import time
from pathlib import Path

import psutil
import pytest
from make_tiny_run import COMMAND, make_tiny_run, run_tunebench

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1800)]

KILLS = 10
SEED = 20_26


def load_results(store: Path) -> dict[str, bytes]:
    """Return every finished stage's result by its path; the preflight looks anew each time."""
    return {
        str(path.relative_to(store)): path.read_bytes()
        for path in store.glob("*/*/result.json")
        if path.parts[-3] != "preflight"
    }


def wait_until_quiet(run_dir: Path) -> None:
    """Poll until no process of the run lives, or fail after 30 seconds."""
    deadline = time.monotonic() + 30
    while left := list(find_processes(run_dir)):
        assert time.monotonic() < deadline, f"these processes must end: {left}"
        time.sleep(0.1)


def find_processes(run_dir: Path) -> list[str]:
    """Return the processes that name the run's folder in command line or environment."""
    found = []
    for process in psutil.process_iter():
        try:
            text = " ".join(process.cmdline()) + " ".join(process.environ().values())
        except (psutil.Error, OSError):
            continue
        if str(run_dir) in text and process.status() != psutil.STATUS_ZOMBIE:
            found.append(f"{process.pid} {process.name()}")
    return found


def run_and_kill(file: Path, store: Path, seconds: float) -> bool:
    """Start the run, kill it after some seconds, and return whether it had ended before."""
    command = [*COMMAND, "run", str(file), "--store", str(store)]
    with subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as supervisor:
        try:
            supervisor.wait(seconds)
        except subprocess.TimeoutExpired:
            os.kill(supervisor.pid, signal.SIGKILL)
            return False
    return True


def test_kill_nine_at_ten_moments(tmp_path: Path) -> None:
    """Same leaderboard, no finished stage repeated, and no process left behind."""
    file = make_tiny_run(tmp_path / "run", models=2)
    whole, torn = tmp_path / "whole", tmp_path / "torn"
    began = time.monotonic()
    reference = run_tunebench("run", str(file), "--store", str(whole), "-o", "json", timeout=900)
    duration = time.monotonic() - began
    assert reference.returncode == 0, reference.stderr
    moments = random.Random(SEED)  # noqa: S311 - moments of a test, no secret
    results: dict[str, bytes] = {}
    killed = 0
    while killed < KILLS:
        # Half of the kills come early in whatever stage is next, the others anywhere.
        longest = duration / 4 if killed % 2 else duration / 2
        if run_and_kill(file, torn, moments.uniform(1, longest)):
            break
        killed += 1
        wait_until_quiet(torn / "runs" / "tiny")
        after = load_results(torn)
        assert {name: after[name] for name in results} == results
        results = after

    final = run_tunebench("run", str(file), "--store", str(torn), "-o", "json", timeout=900)

    assert final.returncode == 0, final.stderr
    assert killed >= KILLS // 2
    left, right = json.loads(final.stdout), json.loads(reference.stdout)
    assert left["leaderboard"] == right["leaderboard"]
    assert set(load_results(torn)) == set(load_results(whole))
    wait_until_quiet(torn / "runs" / "tiny")


def test_ctrl_c_stops_cleanly_and_continues(tmp_path: Path) -> None:
    """Ctrl-C ends with code 130 and no process left; the next start finishes the run."""
    file = make_tiny_run(tmp_path / "run")
    store = tmp_path / "store"
    command = [*COMMAND, "run", str(file), "--store", str(store)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as supervisor:
        assert supervisor.stderr is not None
        for line in supervisor.stderr:
            if "train/tiny-1: Running" in line:
                break
        supervisor.send_signal(signal.SIGINT)
        rest = supervisor.stderr.read()
        code = supervisor.wait(60)
    quiet = find_processes(store / "runs" / "tiny")

    again = run_tunebench("run", str(file), "--store", str(store))

    assert code == 130
    assert "start again to continue" in rest
    assert quiet == []
    assert again.returncode == 0, again.stderr


def test_a_second_start_does_no_finished_work(tmp_path: Path) -> None:
    """The second start of a finished run starts no child and takes seconds."""
    file = make_tiny_run(tmp_path / "run")
    store = tmp_path / "store"
    first = run_tunebench("run", str(file), "--store", str(store))
    children = set((store / "runs" / "tiny" / "children").iterdir())
    began = time.monotonic()

    second = run_tunebench("run", str(file), "--store", str(store))

    assert first.returncode == second.returncode == 0, first.stderr
    assert set((store / "runs" / "tiny" / "children").iterdir()) == children
    assert second.stdout == first.stdout
    assert time.monotonic() - began < 30
