"""BenchmarkRuns for tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tunebench_api.unsupported import Backend
from tunebench_api.v1alpha1 import BenchmarkRun

# The others run on a laptop, too.
_CLUSTER_SAMPLES = frozenset({"qodo-2024"})


def make_body(**spec: Any) -> dict[str, Any]:
    """Return the smallest valid object, with some of its spec replaced."""
    return {
        "apiVersion": "tunebench.dev/v1alpha1",
        "kind": "BenchmarkRun",
        "metadata": {"name": "test"},
        "spec": {
            "dataset": {"train": {"uri": "/data/train.jsonl"}, "eval": {"uri": "/data/eval.jsonl"}},
            "baseline": {"name": "stored", "completions": {"uri": "/data/baseline.jsonl"}},
            "models": [{"name": "one", "base": "acme/one"}],
            "judges": [{"name": "reference", "model": "tunebench/reference"}],
            **spec,
        },
    }


def find_sample_backend(path: Path) -> Backend:
    """Return where a sample is to be carried out."""
    return Backend.KUBERNETES if path.stem in _CLUSTER_SAMPLES else Backend.LOCAL


def make_run(**spec: Any) -> BenchmarkRun:
    """Return the smallest valid run, with some of its spec replaced."""
    return BenchmarkRun.from_wire(make_body(**spec))
