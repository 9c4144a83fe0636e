"""What users see while judges work, and what the run's budget is charged with."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from tunebench_api.contract import Progress
from tunebench_jobs.context import StageContext
from tunebench_jobs.judge.tally import Tally, format_cost

_REPORT_SECONDS = 1.0


class ProgressLine:
    """Reports what judges have done, at most once a second."""

    def __init__(
        self,
        context: StageContext,
        tallies: Mapping[str, Tally],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Watch the tallies."""
        self._context = context
        self._tallies = tallies
        self._clock = clock
        self._reported = float("-inf")

    def advance(self) -> None:
        """Report if it is time to."""
        if self._clock() - self._reported >= _REPORT_SECONDS:
            self.report()

    def report(self) -> None:
        """Report now."""
        self._reported = self._clock()
        self._context.report(build_progress(self._tallies))


def build_progress(tallies: Mapping[str, Tally]) -> Progress:
    """Return what judges have done, and what that cost."""
    judges = sorted(tallies.values(), key=lambda tally: tally.name)
    done, total = (sum(getattr(each, what) for each in judges) for what in ("done", "total"))
    costs = [each.cost_usd for each in judges if each.cost_usd is not None]
    cost = sum(costs) if costs else None
    shown = f", {cost:.2f} US dollars" if cost else ""
    return Progress(
        percent=min(99, 100 * done // total) if total else 0,
        message=f"{done:,} of {total:,} questions to judges{shown}",
        cost_usd=format_cost(cost) or None,
        judges=tuple(each.build_progress() for each in judges),
    )
