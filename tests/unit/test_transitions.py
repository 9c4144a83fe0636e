"""Events: one for each piece of news."""

from __future__ import annotations

from tunebench_api.v1alpha1 import BenchmarkRunStatus, StageStatus
from tunebench_operator import reasons
from tunebench_operator.stage_state import State
from tunebench_operator.transitions import build_transitions


def make_status(
    attempt: int, message: str, *, state: State = State.PENDING, reason: str = reasons.RETRYING
) -> BenchmarkRunStatus:
    """Return a status with one stage, which waits to be tried again unless told otherwise."""
    stage = StageStatus(
        name="train/one", state=state, reason=reason, message=message, attempt=attempt
    )
    return BenchmarkRunStatus(stages=(stage,))


def test_a_retry_is_told_once() -> None:
    """That the delay is over is no news; another failure is."""
    failed, due = make_status(1, "attempt 1 failed"), make_status(2, "attempt 1 failed")
    running = make_status(2, "", state=State.RUNNING, reason=reasons.RUNNING)
    failed_again = make_status(2, "attempt 2 failed")

    assert [each.reason for each in build_transitions(None, failed)] == [reasons.RETRYING]
    assert build_transitions(failed, due) == []
    assert len(build_transitions(running, failed_again)) == 1
