"""Where one stage stands, decided from its attempts, its stored result and what it needs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum

from tunebench_api.contract import Progress, StageKind, StageResult
from tunebench_operator import reasons
from tunebench_operator.graph import Node
from tunebench_operator.observed import Attempt, Observed

FIRST_RETRY_DELAY = timedelta(seconds=5)
LONGEST_RETRY_DELAY = timedelta(minutes=5)


class State(StrEnum):
    """Where a stage stands."""

    PENDING = "Pending"
    READY = "Ready"
    RUNNING = "Running"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"
    SKIPPED = "Skipped"

    @property
    def ended(self) -> bool:
        """Whether the stage will not change any more."""
        return self in {State.SUCCEEDED, State.FAILED, State.SKIPPED}


@dataclass(frozen=True)
class Allowed:
    """How often a stage is started again after it failed, and after it lost its node."""

    retries: int
    preemptions: int


@dataclass(frozen=True)
class StageState:
    """A stage with the decision about it."""

    node: Node
    state: State
    reason: str
    message: str = ""
    # Number of the attempt that runs, ran last, or is to be started.
    attempt: int = 0
    progress: Progress = field(default_factory=Progress)
    result: StageResult | None = None
    wake_at: datetime | None = None


def decide_stage(
    node: Node,
    observed: Observed,
    needed: Sequence[StageState],
    *,
    allowed: Allowed,
    now: datetime,
) -> StageState:
    """Decide where a stage stands; `needed` are the stages that must have succeeded."""
    attempts = observed.attempts_of(node.key, node.digest)
    last = attempts[-1] if attempts else None
    stored = observed.stored.get(node.output)
    number = last.number if last else 0
    if stored is not None and node.kind is not StageKind.PREFLIGHT:
        return StageState(
            node, State.SUCCEEDED, stored.reason, stored.message, number, result=stored
        )
    if last is not None and last.running:
        reason, message = reasons.RUNNING, last.progress.message
        if last.trouble is not None:
            reason, message = last.trouble.reason, last.trouble.message
        return StageState(node, State.RUNNING, reason, message, number, last.progress)
    if last is not None and last.succeeded and node.kind is not StageKind.SERVE:
        return _ended(node, State.SUCCEEDED, last)
    blocked = _decide_blocked(node, needed, number)
    if blocked is not None:
        return blocked
    return _decide_retry(node, attempts, allowed=allowed, now=now)


def build_retry_delay(failures: int) -> timedelta:
    """Return how long to wait after so many failures: 5 s, doubled each time, 5 min at most."""
    return min(LONGEST_RETRY_DELAY, FIRST_RETRY_DELAY * (1 << min(failures - 1, 16)))


def skip(node: Node, cause: StageState) -> StageState:
    """Decide that a stage cannot run because another one failed."""
    origin = cause.message if cause.state is State.SKIPPED else f"{cause.node.key}: {cause.message}"
    return StageState(node, State.SKIPPED, reasons.UPSTREAM_FAILED, origin)


def _decide_blocked(node: Node, needed: Sequence[StageState], number: int) -> StageState | None:
    for upstream in needed:
        if upstream.state in {State.FAILED, State.SKIPPED}:
            return skip(node, upstream)
    waiting = [upstream.node.key for upstream in needed if upstream.state is not State.SUCCEEDED]
    if waiting:
        message = f"waits for {', '.join(waiting)}"
        return StageState(node, State.PENDING, reasons.WAITING, message, number)
    return None


def _decide_retry(
    node: Node, attempts: Sequence[Attempt], *, allowed: Allowed, now: datetime
) -> StageState:
    """Decide on the next attempt: at once, after a delay, or never."""
    following = attempts[-1].number + 1 if attempts else 1
    if not attempts or not attempts[-1].failed:
        return StageState(node, State.READY, reasons.PENDING, attempt=following)
    last = attempts[-1]
    result = last.result
    # Each kind has a budget of its own.
    alike = [each for each in attempts if each.failed and each.displaced == last.displaced]
    limit = allowed.preemptions if last.displaced else allowed.retries
    if result is None or not result.retryable or len(alike) > limit:
        return _give_up(node, last, len(alike))
    # The scheduler makes a stage wait for another node; a failure may come of what is overloaded.
    delay = FIRST_RETRY_DELAY if last.displaced else build_retry_delay(len(alike))
    wake_at = (last.finished_at or now) + delay
    message = f"attempt {last.number} failed: {result.reason}: {result.message}"
    state = State.PENDING if now < wake_at else State.READY
    number = last.number if now < wake_at else following
    return StageState(node, state, reasons.RETRYING, message, number, wake_at=wake_at)


def _give_up(node: Node, last: Attempt, times: int) -> StageState:
    ended = _ended(node, State.FAILED, last)
    if not last.displaced:
        return ended
    message = f"{ended.message}; lost its node {times} times, raise `spec.preemptions` to go on"
    return replace(ended, message=message)


def _ended(node: Node, state: State, attempt: Attempt) -> StageState:
    result = attempt.result
    return StageState(
        node,
        state,
        result.reason if result else state,
        result.message if result else "",
        attempt.number,
        attempt.progress,
        result,
    )
