"""Training killed at random moments ends with the very weights of one that was left alone."""

from __future__ import annotations

import itertools
import random
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from worker_group import finish_workers, kill_workers, start_workers

pytestmark = [pytest.mark.jobs, pytest.mark.timeout(600)]

WORKERS = 2
EPOCHS = 30
# 14 examples make 3 steps.
STEPS = 3 * EPOCHS
INTERVAL = 5
KILLS = 2
SEED = 20_26
DEADLINE_SECONDS = 200


def build_case(folder: Path, name: str) -> dict[str, Any]:
    """Return a training over two workers, which leaves a line for each step."""
    return {
        "tuning": {
            "method": "Full",
            "workers": WORKERS,
            "deepspeed": "ZeRO2",
            "batchSize": 5,
            "microBatchSize": 2,
            "epochs": EPOCHS,
            "learningRate": "1e-3",
            "checkpointSteps": INTERVAL,
            "precision": "Float32",
        },
        "folder": str(folder / f"{name}-points"),
        "steps": STEPS,
        "result": str(folder / name),
        "trace": str(folder / f"{name}-trace"),
    }


def load_trace(case: dict[str, Any]) -> list[int]:
    """Return the steps that were taken, in order."""
    path = Path(case["trace"])
    return [int(line) for line in path.read_text().splitlines()] if path.exists() else []


def kill_soon(folder: Path, case: dict[str, Any], moments: random.Random) -> None:
    """Train for some steps, and kill one worker or both at once."""
    before = len(load_trace(case))
    goal = before + moments.randint(1, STEPS // KILLS - INTERVAL)
    started = start_workers(folder, WORKERS, [case])
    try:
        deadline = time.monotonic() + DEADLINE_SECONDS
        while len(load_trace(case)) < goal:
            assert time.monotonic() < deadline, "training must come so far"
            assert all(process.poll() is None for process in started), "workers must live"
            time.sleep(0.001)
        time.sleep(moments.uniform(0, 0.05))
        moments.choice(started).kill()
    finally:
        kill_workers(started)


def test_killed_training_ends_as_if_nothing_had_happened(tmp_path: Path) -> None:
    """Bit for bit, and only what was done since the last resume point is repeated."""
    whole, killed = build_case(tmp_path, "whole"), build_case(tmp_path, "killed")
    finish_workers(start_workers(tmp_path, WORKERS, [whole]), DEADLINE_SECONDS)
    moments = random.Random(SEED)  # noqa: S311 - moments, not secrets
    for _ in range(KILLS):
        kill_soon(tmp_path, killed, moments)
    finish_workers(start_workers(tmp_path, WORKERS, [killed]), DEADLINE_SECONDS)
    trace = load_trace(killed)
    turns = [(last, next_) for last, next_ in itertools.pairwise(trace) if next_ <= last]
    weights, expected = load_file(tmp_path / "killed"), load_file(tmp_path / "whole")

    assert load_trace(whole) == list(range(1, STEPS + 1))
    assert sorted(set(trace)) == load_trace(whole)
    assert 0 < len(turns) <= KILLS
    assert set(weights) == set(expected)
    assert all(torch.equal(weights[name], expected[name]) for name in expected)
    # A point is being written for some milliseconds, which are some steps of so small a model.
    assert all(last - next_ + 1 <= 2 * INTERVAL for last, next_ in turns)
