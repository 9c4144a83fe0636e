"""A tiny run for a namespace of a cluster, and the same one on this machine."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import yaml
from make_tiny_run import make_tiny_run, run_tunebench
from space import CLAIM, Space

from tunebench_api.places import claim_mount


def place_run(space: Space, name: str, *, tuning: dict[str, Any] | None = None, **spec: Any) -> str:
    """Put a tiny run's data into a namespace's volume; return the run's manifest."""
    file = make_tiny_run(space.folder / "in", **spec)
    body = yaml.safe_load(file.read_text(encoding="utf-8"))
    for model in body["spec"]["models"]:
        model["tuning"] |= tuning or {}
    file.write_text(json.dumps(body), encoding="utf-8")
    space.put(file.parent)
    body["metadata"]["name"] = name
    dataset = body["spec"]["dataset"]
    for source in (dataset["train"], dataset["eval"], body["spec"]["baseline"]["completions"]):
        source["uri"] = f"pvc://{CLAIM}/in/{source['uri']}"
    for model in body["spec"]["models"]:
        model["base"] = f"{claim_mount(CLAIM)}/in/base"
    # JSON, because YAML has more than one opinion on what `1e-2` is.
    return json.dumps(body)


def load_local_leaderboard(space: Space, store: Path, *, key: str = "") -> list[dict[str, Any]]:
    """Return what `tunebench run` makes of the run in a namespace's volume."""
    os.environ["KEY"] = key
    file = str(space.folder / "in" / "run.yaml")
    done = run_tunebench("run", file, "--store", str(store), "-o", "json", timeout=900)
    assert done.returncode == 0, done.stderr
    leaderboard: list[dict[str, Any]] = json.loads(done.stdout)["leaderboard"]
    return leaderboard
