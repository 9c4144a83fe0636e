"""The quickstart's own file in a cluster: a real model, and too long for every change."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from make_tiny_run import run_tunebench
from node import SYSTEM
from space import Space

pytestmark = [pytest.mark.nightly, pytest.mark.timeout(3600)]

REPOSITORY = Path(__file__).parents[2]
FILE = REPOSITORY / "manifests" / "samples" / "quickstart.yaml"
CHART = REPOSITORY / "charts" / "tunebench"


def test_the_quickstart(make_space: Callable[[str], Space], tmp_path: Path) -> None:
    """What `tunebench run` takes, a cluster takes as it is, and comes to the same winner."""
    space = make_space("quickstart")
    # As in charts/tunebench/examples/laptop.yaml; the tests' own values are for tiny models.
    pools = [{"name": "default", "worker": {"cpu": "200m", "memory": "6Gi"}}]
    more = ("--reuse-values", f"--set-json=pools={json.dumps(pools)}", "--wait")
    space.node.helm("upgrade", "tunebench", str(CHART), f"--namespace={SYSTEM}", *more)

    space.kubectl("apply", f"--filename={FILE}")
    status = space.wait_for_end("quickstart", seconds=2400)["status"]
    done = run_tunebench("run", str(FILE), "--store", str(tmp_path), "-o", "json", timeout=1200)
    local = json.loads(done.stdout)

    assert space.find_reason("quickstart") == "Succeeded"
    assert status["summary"]["models"] == "2/2"
    # With its interval.
    assert re.fullmatch(r"[0-9.]+ \([0-9.]+-[0-9.]+\)", status["summary"]["winRate"])
    assert status["leaderboard"] == local["leaderboard"]
