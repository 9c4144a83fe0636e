"""Golden YAML pairs: `make goldens` writes the outputs anew from the inputs.

An input is a BenchmarkRun as the API server holds it; its output is every object that the operator
applies until the run has ended, each as it was applied last. All work succeeds.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from make_installation import make_installation
from memory_cluster import MemoryCluster

from tunebench_api.unsupported import Backend
from tunebench_api.validation import parse_run
from tunebench_operator.builders.metadata import Manifest
from tunebench_operator.reconcile import find_storage
from tunebench_operator.yaml_text import build_yaml, parse_yaml

GOLDEN = Path(__file__).parents[1] / "golden"
INPUTS = sorted((GOLDEN / "input").glob("*.yaml"))
_MAX_STEPS = 60


def find_output(path: Path) -> Path:
    """Return the output that belongs to an input."""
    return GOLDEN / "output" / path.name


def build_output(path: Path) -> str:
    """Return what the output of an input must be, in the order in which objects come about."""
    return "".join(f"---\n{build_yaml(each)}" for each in build_children(path))


def load_output(path: Path) -> list[Manifest]:
    """Return the objects that an output holds."""
    return list(yaml.safe_load_all(find_output(path).read_text(encoding="utf-8")))


def build_children(path: Path) -> list[Manifest]:
    """Return every object of a run, each as it was applied last."""
    run = parse_run(parse_yaml(path.read_text(encoding="utf-8")), Backend.KUBERNETES)
    cluster = MemoryCluster(run, find_storage(run, make_installation()))
    for _ in range(_MAX_STEPS):
        if cluster.step().finished and not cluster.list_work_in_progress():
            break
        for work in cluster.list_work():
            cluster.succeed(work)
    else:
        raise AssertionError(cluster.run.status)
    children: dict[tuple[Any, Any], Manifest] = {}
    for each in cluster.applied:
        children[each["kind"], each["metadata"]["name"]] = each
    # Copies, because YAML would write anchors for what two places share.
    return [json.loads(json.dumps(each)) for each in children.values()]


def list_stale() -> Iterator[str]:
    """Yield the names of outputs that belong to no input."""
    kept = {path.name for path in INPUTS}
    for path in sorted((GOLDEN / "output").glob("*.yaml")):
        if path.name not in kept:
            yield path.name


if __name__ == "__main__":
    (GOLDEN / "output").mkdir(exist_ok=True)
    for name in list_stale():
        (GOLDEN / "output" / name).unlink()
    for each in INPUTS:
        find_output(each).write_text(build_output(each), encoding="utf-8")
