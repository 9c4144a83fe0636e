"""What a valid run should better say: warnings, which stop nothing."""

from __future__ import annotations

import re

from tunebench_api.errors import Problem
from tunebench_api.v1alpha1 import BenchmarkRun

_COMMIT = re.compile(r"[0-9a-f]{40}")
_ELSEWHERE = (".", "/", "file://", "package://")


def find_warnings(run: BenchmarkRun) -> tuple[Problem, ...]:
    """Return the fields that leave open what the run is made from."""
    return tuple(
        Problem(
            f"spec.models[{index}].revision",
            f"must be a commit to pin `{model.base}`, got {model.revision or 'none'}: the model "
            "hub decides which weights are used, and results are used again though it may have "
            "changed them since",
        )
        for index, model in enumerate(run.spec.models)
        if not is_pinned(model.base, model.revision)
    )


def is_pinned(base: str, revision: str | None) -> bool:
    """Return whether a base model stays the same, or is told apart when it does not."""
    # What lies on this machine has a fingerprint.
    return base.startswith(_ELSEWHERE) or _COMMIT.fullmatch(revision or "") is not None
