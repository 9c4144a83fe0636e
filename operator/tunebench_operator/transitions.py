"""What changed between two statuses, as Kubernetes Events tell it. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from tunebench_api.v1alpha1 import BenchmarkRunStatus, ConditionStatus, StageStatus
from tunebench_operator import names, reasons
from tunebench_operator.stage_state import State

NORMAL = "Normal"
WARNING = "Warning"

_TOLD = {State.RUNNING, State.SUCCEEDED, State.FAILED}


@dataclass(frozen=True)
class Transition:
    """One Event: Normal or Warning, a word for machines, a sentence."""

    kind: str
    reason: str
    note: str


def build_transitions(
    before: BenchmarkRunStatus | None, after: BenchmarkRunStatus
) -> list[Transition]:
    """Build an Event for each stage and for the run, where its state changed."""
    earlier = {stage.name: stage for stage in before.stages} if before else {}
    stages = [
        transition
        for stage in after.stages
        for transition in _stage_transitions(earlier.get(stage.name), stage)
    ]
    return [*stages, *_run_transitions(before, after)]


def _stage_transitions(before: StageStatus | None, after: StageStatus) -> Iterator[Transition]:
    now = (after.state, after.attempt, after.reason)
    if before is not None and (before.state, before.attempt, before.reason) == now:
        return
    if after.reason == reasons.RETRYING:
        # Waiting for the next attempt, and then being ready for it, is one piece of news.
        if before is not None and (before.reason, before.message) == (after.reason, after.message):
            return
        yield Transition(WARNING, reasons.RETRYING, f"{after.name}: {after.message}")
    elif after.state in _TOLD:
        troubled = after.state == State.RUNNING and after.reason != reasons.RUNNING
        bad = troubled or after.state == State.FAILED
        kind = WARNING if bad else NORMAL
        reason = after.reason if bad else str(after.state)
        attempt = f" (attempt {after.attempt})" if after.attempt > 1 else ""
        yield Transition(kind, reason, f"{after.name}{attempt}: {after.message or after.state}")


def _run_transitions(
    before: BenchmarkRunStatus | None, after: BenchmarkRunStatus
) -> Iterator[Transition]:
    earlier = _find_summary(before)
    summary = _find_summary(after)
    if summary is None or (earlier and earlier[:2] == summary[:2]):
        return
    status, reason, message = summary
    if status == ConditionStatus.UNKNOWN and reason != reasons.SUSPENDED:
        return
    kind = WARNING if status == ConditionStatus.FALSE else NORMAL
    yield Transition(kind, reason, message or reason)


def _find_summary(status: BenchmarkRunStatus | None) -> tuple[str, str, str] | None:
    conditions = status.conditions if status else ()
    return next(
        (
            (each.status, each.reason, each.message)
            for each in conditions
            if each.type == names.SUCCEEDED
        ),
        None,
    )
