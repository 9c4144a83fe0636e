"""Many models in one run, as in the benchmark of 2024: too long for every change."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from make_cluster_run import Bench
from space import Space

pytestmark = [pytest.mark.nightly, pytest.mark.timeout(3600)]

MODELS = 14
PARALLELISM = 2
MAX_STATUS_BYTES = 64 << 10


def test_fourteen_models(make_space: Callable[[str], Space], bench: Bench) -> None:
    """All are ranked, two at a time, and the status stays small."""
    space = make_space("many")
    manifest = json.loads(bench.place(space, "many", parallelism=PARALLELISM))
    (model,) = manifest["spec"]["models"]
    # As many steps as it takes to differ; and one base, so that one server has them all.
    tuning = {"learningRate": "1e-2", "maxLength": 1024, "batchSize": 2}
    manifest["spec"]["models"] = [
        {"name": f"model-{number:02}", "base": model["base"], "tuning": tuning | {"epochs": number}}
        for number in range(1, MODELS + 1)
    ]
    most = 0

    space.kubectl("apply", "--filename=-", text=json.dumps(manifest))

    def watch() -> bool:
        nonlocal most
        stages = space.list_stages("many")
        running = [
            name
            for name, stage in stages.items()
            if name.startswith("train/") and stage["state"] == "Running"
        ]
        most = max(most, len(running))
        return space.has_ended("many")

    space.wait(watch, "the end", run="many", seconds=3000)
    status = space.load("many")["status"]

    assert space.find_reason("many") == "Succeeded"
    assert most == PARALLELISM
    assert status["summary"]["models"] == f"{MODELS}/{MODELS}"
    # The un-tuned base and the control stand beside them.
    assert len(status["leaderboard"]) == MODELS + 2
    assert len(json.dumps(status)) < MAX_STATUS_BYTES
