"""Knows whether a judge answers at all, so that one that is away is not asked by every question."""

from __future__ import annotations

from collections.abc import Callable

from tunebench_jobs.throttle import tell_time

# After so many failures in a row nothing is asked until the judge is back.
MOST_FAILURES = 32
# Without one answer for so long, a judge is away.
PATIENCE_SECONDS = 240.0
# The same for one that was away a moment ago.
SHORT_PATIENCE_SECONDS = 10.0


class Breaker:
    """Counts what a judge fails at since it answered last."""

    def __init__(self, clock: Callable[[], float] = tell_time) -> None:
        """Begin with a judge that is there."""
        self._clock = clock
        self._answered_at = float("-inf")
        self._silent_since: float | None = None
        self._failures = 0
        self._patience = PATIENCE_SECONDS

    def doubt(self) -> None:
        """Expect no answer, so that a judge which was away is given up soon, until it answers."""
        self._patience = SHORT_PATIENCE_SECONDS
        self.put_off()

    @property
    def patience_seconds(self) -> float:
        """How long a judge may answer nothing."""
        return self._patience

    @property
    def is_open(self) -> bool:
        """Whether the judge fails at everything."""
        return self._failures >= MOST_FAILURES

    @property
    def is_away(self) -> bool:
        """Whether the judge has answered nothing for too long, though it was asked."""
        since = self._silent_since
        return since is not None and self._clock() - since >= self._patience

    def answered(self) -> None:
        """Note that the judge is there."""
        self._answered_at = self._clock()
        self._silent_since = None
        self._failures = 0
        self._patience = PATIENCE_SECONDS

    def has_answered_since(self, moment: float) -> bool:
        """Whether the judge was there after a question had failed, so that this is its own."""
        return self._answered_at > moment

    def put_off(self) -> None:
        """Note that the judge has too much to do, which is no failure."""
        if self._silent_since is None:
            self._silent_since = self._clock()

    def failed(self) -> None:
        """Note that the judge did not answer."""
        self.put_off()
        self._failures += 1
