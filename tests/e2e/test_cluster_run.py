"""Runs in a real cluster: KubeRay trains and serves, Jobs judge, and the status has the winner."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from make_cluster_run import load_local_leaderboard, place_run
from space import Space

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(2400)]

MakeSpace = Callable[[str], Space]


def test_apply_to_leaderboard(make_space: MakeSpace, tmp_path: Path) -> None:
    """Two models are trained in pods of their own; the leaderboard is that of a laptop."""
    space = make_space("apply")
    manifest = place_run(space, "tiny", models=2, parallelism=2)
    workers: set[str] = set()

    space.kubectl("apply", "--filename=-", text=manifest)

    def watch() -> bool:
        workers.update(
            pod["metadata"]["name"]
            for pod in space.list_pods("train", "tiny")
            if pod["metadata"]["labels"].get("ray.io/node-type") == "worker"
        )
        return space.has_ended("tiny")

    space.wait(watch, "the end", run="tiny", seconds=1500)
    run = space.load("tiny")
    shown = space.kubectl("get", "benchmarkruns")
    local = load_local_leaderboard(space, tmp_path / "local")

    assert space.find_reason("tiny") == "Succeeded"
    assert run["status"]["leaderboard"] == local
    assert len(workers) == 2
    best = run["status"]["summary"]["best"]
    assert best in shown
    assert run["status"]["summary"]["winRate"] in shown
    # What used GPUs is gone; what says how it went is there.
    left = space.list_children("tiny")
    assert not [each for each in left if each.startswith(("raycluster", "rayservice"))]
