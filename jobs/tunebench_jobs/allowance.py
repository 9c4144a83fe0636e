"""What a server lets through in a minute: a bucket that fills with time. Pure.

The limit is known from the run, from what the server says with each reply, or, where neither says
it, guessed from how many were answered before one was refused.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

_MINUTE_SECONDS = 60.0
# Of a limit, so much is used: clocks differ, and servers count in windows that shift.
_SHARE = 0.99
# Of what a server says is left, so much is taken at once: others may use the same key.
_LEFT_SHARE = 0.9
# A guess is below what was answered. It grows slowly at first and then fast: twice after so long.
_GUESS_SHARE = 0.95
_GUESS_DOUBLED_SECONDS = 30.0


@dataclass(frozen=True)
class Taken:
    """When something was taken, and how much had been by then."""

    at: float
    in_all: float


class Allowance:
    """How much of one kind may be sent now; `stated` is the user's own limit in a minute."""

    def __init__(self, stated: int | None = None) -> None:
        """Begin with what a minute of this limit leaves over for a burst."""
        self._stated = stated
        self._limit: float | None = None
        self._guess: float | None = None
        self._guessed = (0.0, -math.inf)
        self._in_all = 0.0
        self._level = 0.0
        self._at = -math.inf
        if stated is not None:
            self._keep_to(stated)
            self._level = self._size

    @property
    def is_known(self) -> bool:
        """Whether anybody has stated a limit."""
        return self._limit is not None

    @property
    def per_minute(self) -> float | None:
        """The limit that is kept to; absent: none."""
        return self._limit if self._limit is not None else self._guess

    def find_wait(self, amount: float, now: float) -> float:
        """Return the seconds until so much may go; more than a burst may go when it is full."""
        if self.per_minute is None:
            return 0.0
        self._fill(now)
        return max(0.0, min(amount, self._size) - self._level) / self._rate

    def take(self, amount: float, now: float) -> Taken:
        """Take so much, which may leave a debt."""
        self._fill(now)
        self._level -= amount
        self._in_all += amount
        return Taken(now, self._in_all)

    def give_back(self, amount: float) -> None:
        """Return what was taken and not used."""
        self._level += amount

    def learn(self, limit: float | None, left: float | None, taken: Taken, now: float) -> None:
        """Hear what a server said of its limit when something had just been taken.

        A user who states less than the vendor allows has the last word, bursts included.
        """
        is_own = self._stated is not None and limit is not None and limit > self._stated
        if limit and not is_own and limit != self._limit:
            self._fill(now)
            self._keep_to(limit)
            self._level = min(self._level, self._size)
        if left is None or self._limit is None:
            return
        self._fill(now)
        since = self._in_all - taken.in_all
        if not is_own:
            self._level = max(self._level, _LEFT_SHARE * left - since)
        filled = (now - taken.at) * self._rate
        self._level = min(self._level, left - since + filled)

    def guess(self, per_minute: float, now: float) -> None:
        """Keep to a little less than was answered when the server first had too much."""
        if self.is_known:
            return
        self._fill(now)
        self._guess = _GUESS_SHARE * per_minute
        self._guessed = (self._guess, now)
        self._level = min(self._level, 0.0)

    @property
    def _rate(self) -> float:
        return _SHARE * (self.per_minute or math.inf) / _MINUTE_SECONDS

    @property
    def _size(self) -> float:
        """What may be sent at once after a pause, so that no minute holds more than the limit."""
        return max(1.0, (1.0 - _SHARE) * (self.per_minute or 0.0) - 1.0)

    def _keep_to(self, limit: float) -> None:
        self._limit = limit
        self._guess = None

    def _fill(self, now: float) -> None:
        passed, self._at = now - self._at, max(self._at, now)
        if self.per_minute is None or not math.isfinite(passed):
            return
        if self._guess is not None:
            guess, at = self._guessed
            self._guess = guess * (1 + ((now - at) / _GUESS_DOUBLED_SECONDS) ** 3)
        # What the server itself said is left may be more than a burst of ours.
        self._level = max(self._level, min(self._size, self._level + passed * self._rate))
