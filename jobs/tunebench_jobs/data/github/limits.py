"""The limits that GitHub states in its answers, and how long each one makes us wait.

The primary limit is a number of requests until a moment, told in each answer; a secondary one shows
only when it is broken, by 403 or 429. https://docs.github.com/rest/using-the-rest-api has both.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from email.utils import parsedate_to_datetime

from gidgethub.sansio import RateLimit

SECONDARY_SECONDS = 60.0
# A limit lasts an hour; a clock that is wrong must not stop us for days.
MAX_WAIT_SECONDS = 3700.0
# The moment of a reset is a whole second, and the server's clock is not ours.
_GRACE_SECONDS = 1.0
_LIMITED = frozenset({403, 429})
_SECONDARY_WORDS = ("secondary rate limit", "abuse")

Clock = Callable[[], float]
Sleep = Callable[[float], Awaitable[None]]


def find_pause(
    status: int, headers: Mapping[str, str], message: str, tried: int = 0
) -> float | None:
    """Return the seconds to wait that a refusal asks for; None where it is about something else.

    Where GitHub does not say how long, its documentation asks for a minute, and for more each time.
    """
    if status not in _LIMITED:
        return None
    asked = headers.get("retry-after", "").strip()
    if asked.isdecimal():
        return float(asked)
    limit = parse_rate_limit(headers)
    if limit is not None and limit.remaining <= 0:
        return find_reset(limit, headers)
    if status == 429 or any(word in message.lower() for word in _SECONDARY_WORDS):  # noqa: PLR2004 - too many requests
        return SECONDARY_SECONDS * 2.0**tried
    return None


def parse_rate_limit(headers: Mapping[str, str]) -> RateLimit | None:
    """Return the primary limit that an answer states, if it does so legibly."""
    try:
        return RateLimit.from_http(headers)
    except (ValueError, OverflowError, OSError):
        return None


def find_reset(limit: RateLimit, headers: Mapping[str, str]) -> float:
    """Return the seconds until the limit's window ends, by the server's own clock."""
    try:
        now = parsedate_to_datetime(headers["date"]).timestamp()
    except (KeyError, ValueError):
        now = time.time()
    return max(limit.reset_datetime.timestamp() - now, 0.0) + _GRACE_SECONDS


class Budget:
    """Requests that one resource, such as the search, has left until its window ends."""

    def __init__(self, clock: Clock = time.monotonic, sleep: Sleep = asyncio.sleep) -> None:
        """Know nothing: requests go one at a time until an answer states the limit."""
        self._clock = clock
        self._sleep = sleep
        self._known = False
        # None: the server states no limit.
        self._remaining: int | None = None
        self._window = 0.0
        self._ends = 0.0
        self._in_flight = 0
        self._turn = asyncio.Lock()
        self._answered = asyncio.Event()

    async def take(self, waiting: Callable[[float], None]) -> None:
        """Wait until one more request is within the limit, and count it; `waiting` is told."""
        async with self._turn:
            while True:
                now = self._clock()
                if self._remaining is not None and now >= self._ends:
                    self._known, self._remaining = False, None
                if not self._known and self._in_flight:
                    self._answered.clear()
                    await self._answered.wait()
                elif self._remaining is not None and self._remaining <= 0:
                    waiting(self._ends - now)
                    await self._sleep(self._ends - now)
                else:
                    break
            self._in_flight += 1
            if self._remaining is not None:
                self._remaining -= 1

    def give_back(self, headers: Mapping[str, str] | None, *, free: bool = False) -> None:
        """End a request, and learn from its answer, if there was one; `free` ones did not count."""
        self._in_flight -= 1
        self._answered.set()
        if headers is not None:
            self.learn(headers, free=free)

    def learn(self, headers: Mapping[str, str], *, free: bool = False) -> None:
        """Take in what an answer states.

        Others may use the same token, and answers overtake each other: the lowest number counts.
        """
        limit = parse_rate_limit(headers)
        if limit is None:
            self._known = True
            return
        window = limit.reset_datetime.timestamp()
        if self._known and window < self._window:
            return
        if not self._known or window > self._window or self._remaining is None:
            self._remaining = limit.remaining - self._in_flight
        else:
            self._remaining = min(self._remaining + int(free), limit.remaining)
        self._known = True
        self._window = window
        self._ends = self._clock() + min(find_reset(limit, headers), MAX_WAIT_SECONDS)
