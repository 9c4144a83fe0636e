"""Where stages report to in a cluster."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from tunebench_api.contract import Progress, Report, ResultState, StageResult
from tunebench_jobs.errors import RetryableError
from tunebench_jobs.reports import ReportConfigMap, UnreachableError

AWAY = UnreachableError("the API server does not answer", lasting=False)
GONE = UnreachableError("404 Not Found", lasting=True)
RESULT = Report(result=StageResult(state=ResultState.SUCCEEDED, reason="Succeeded"))


class Server:
    """Takes reports, except when it is told to refuse; time passes when somebody sleeps."""

    def __init__(self, refusals: Sequence[UnreachableError | None] = ()) -> None:
        """Refuse the first requests like this."""
        self.refusals = list(refusals)
        self.taken: list[Report] = []
        self.now = 0.0

    def patch(self, text: str) -> None:
        """Take a report."""
        refusal = self.refusals.pop(0) if self.refusals else None
        if refusal:
            raise refusal
        self.taken.append(Report.model_validate_json(text))

    def sleep(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds

    def open(self) -> ReportConfigMap:
        """Return a sink that reports here."""
        return ReportConfigMap(self.patch, clock=lambda: self.now, sleep=self.sleep)


def make_progress(step: int, message: str = "training", **more: str) -> Report:
    """Return a report of a training."""
    return Report(progress=Progress(step=step, message=message, **more))


def test_progress_is_paced_and_news_are_not() -> None:
    """Steps within five seconds are one report; another message or checkpoint goes at once."""
    server = Server()
    sink = server.open()
    for step in range(20):
        sink.save(make_progress(step))
        server.sleep(1)
    sink.save(make_progress(20, checkpoint="step-20"))
    sink.save(make_progress(21, "saving the checkpoint", checkpoint="step-20"))

    assert [report.progress.step for report in server.taken] == [0, 5, 10, 15, 20, 21]


@pytest.mark.parametrize("refusal", [AWAY, GONE], ids=["away", "gone"])
def test_lost_progress_stops_nothing(refusal: UnreachableError) -> None:
    """An API server that is away costs a report of progress, and no training."""
    server = Server([refusal])
    sink = server.open()
    sink.save(make_progress(1))
    server.sleep(6)
    sink.save(make_progress(2))

    assert [report.progress.step for report in server.taken] == [2]


def test_a_result_waits_for_the_server() -> None:
    """A result is sent again until it is taken."""
    server = Server([AWAY] * 8)
    server.open().save(RESULT)

    assert server.taken == [RESULT]
    assert 60 < server.now < 300


@pytest.mark.parametrize("refusals", [[GONE], [AWAY] * 1000], ids=["gone", "away for long"])
def test_a_result_that_nobody_takes_is_an_error(refusals: list[UnreachableError]) -> None:
    """The process fails, so that whoever looks at its pod learns of it."""
    server = Server(refusals)

    with pytest.raises(RetryableError, match="could not be reported") as caught:
        server.open().save(RESULT)
    assert caught.value.reason == "ReportNotTaken"
    assert server.now <= 900
