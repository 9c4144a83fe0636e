"""Log what a score stage has computed wherever its config says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tunebench_jobs.context import StageContext
from tunebench_jobs.score.outputs import Scored
from tunebench_jobs.tracking.entry import build_tracked_run, list_tracked_files
from tunebench_jobs.tracking.mlflow import log_to_mlflow


@dataclass(frozen=True)
class TrackedOutcome:
    """What a stage's result says of it."""

    messages: tuple[str, ...] = ()
    summary: Mapping[str, Any] = field(default_factory=dict)


def track(scored: Scored, context: StageContext, environment: Mapping[str, str]) -> TrackedOutcome:
    """Log the results once their files are written; what fails is told, and fails nothing else."""
    spec = scored.config.tracking
    if spec is None or spec.mlflow is None:
        return TrackedOutcome()
    digest = context.output.name
    run = build_tracked_run(scored.results, digest, list_tracked_files(context.output))
    tracked = log_to_mlflow(spec.mlflow, run, environment)
    return TrackedOutcome(
        messages=(tracked.message,), summary={"tracking": {"mlflow": tracked.to_summary()}}
    )
