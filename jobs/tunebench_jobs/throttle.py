"""One pool of requests to one server: what may be in flight, and what may go in a minute.

Judges, those who make training answers and the baseline go through it. It keeps to the limits that
are known, gives way to a busy server, and finds its way back.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from tunebench_jobs.allowance import Allowance, Taken

# Of the requests in flight, so many stay when the server is busy.
_SHRINK = 0.7
# With each round of answers, so many more go, or this share.
_STEP = 1.0
_STEP_SHARE = 0.05
# How long all wait when a busy server does not say it: doubled each time, up to a minute.
_FIRST_PAUSE_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 60.0
# What was answered in this time tells what a server takes that states no limit.
_WINDOW_SECONDS = 10.0
_SHORTEST_WINDOW_SECONDS = 1.0
_MOST_NOTED = 4096
# Sums of shares are not exact.
_INSTANT_SECONDS = 1e-6
# Limits may change while one waits for them.
_LOOK_AGAIN_SECONDS = 1.0


@dataclass(frozen=True)
class Limits:
    """What a server says of its limits in a minute, and what it has left."""

    requests: float | None = None
    requests_left: float | None = None
    tokens: float | None = None
    tokens_left: float | None = None


@dataclass(frozen=True)
class Ticket:
    """One request that was let through."""

    requests: Taken
    tokens: Taken
    # Tokens that were counted for it beforehand.
    reserved: float


def tell_time() -> float:
    """Return the time of the loop that runs, in seconds."""
    return asyncio.get_running_loop().time()


class Throttle:
    """Lets requests through one after the other, as many as the server takes.

    A wait that the server asks for is for all requests, not only for the one that was told.
    """

    def __init__(  # noqa: PLR0913 - each limit is one of the run's
        self,
        most: int,
        *,
        first: int | None = None,
        requests_per_minute: int | None = None,
        tokens_per_minute: int | None = None,
        clock: Callable[[], float] = tell_time,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """Start with `first` in flight, or as many as there may ever be."""
        self._most = most
        self._limit = float(min(first or most, most))
        self._grows_fast = True
        self._requests = Allowance(requests_per_minute)
        self._tokens = Allowance(tokens_per_minute)
        self._under_way = 0
        self._paused_until = float("-inf")
        self._pauses = 0
        self._is_held = False
        self._is_open = False
        self._answers: deque[float] = deque(maxlen=_MOST_NOTED)
        self._first_sent: float | None = None
        self._turn = asyncio.Lock()
        self._changed = asyncio.Event()
        self._clock = clock
        self._sleep = sleep

    @property
    def limit(self) -> int:
        """Requests that may be in flight now."""
        return int(self._limit)

    @property
    def requests_per_minute(self) -> float | None:
        """The limit that is stated, learned or guessed; absent: none."""
        return self._requests.per_minute

    @asynccontextmanager
    async def place(self, tokens: float = 0.0) -> AsyncIterator[Ticket]:
        """Hold one of the places while the block runs; `tokens` is what it will use at most."""
        # Whoever is first in line watches the limits, so that the others cost nothing.
        async with self._turn:
            await self._wait_for_room(tokens)
            now = self._clock()
            self._first_sent = now if self._first_sent is None else self._first_sent
            ticket = Ticket(self._requests.take(1, now), self._tokens.take(tokens, now), tokens)
            self._under_way += 1
        try:
            yield ticket
        finally:
            self._under_way -= 1
            self._changed.set()

    def answered(self, ticket: Ticket | None = None, tokens: int = 0) -> None:
        """Let more in flight: twice as many each round until the server was busy once.

        Tokens that were counted beforehand and not used are given back.
        """
        step = self._limit if self._grows_fast else max(_STEP, _STEP_SHARE * self._limit)
        self._limit = min(self._most, self._limit + step / self._limit)
        self._pauses = 0
        self._is_held = False
        self._answers.append(self._clock())
        if ticket is not None and tokens:
            self._tokens.give_back(ticket.reserved - tokens)
        self._changed.set()

    def busy(self, seconds: float | None = None, ticket: Ticket | None = None) -> None:
        """Let fewer in flight, and none before so many seconds have passed.

        What fails while all wait already was sent before, and says nothing new of the limit.
        """
        now = self._clock()
        if ticket is not None:
            self._tokens.give_back(ticket.reserved)
        is_news = now >= self._paused_until
        if is_news:
            self._limit = max(1.0, self._limit * _SHRINK)
            self._grows_fast = False
            self._guess(now)
            self._pauses += 1
        if seconds is None and is_news:
            pause = min(_FIRST_PAUSE_SECONDS * 2.0 ** (self._pauses - 1), LONGEST_PAUSE_SECONDS)
            seconds = pause * random.uniform(0.5, 1.0)  # noqa: S311 - no secret
        self._paused_until = max(
            self._paused_until, now + min(seconds or 0.0, LONGEST_PAUSE_SECONDS)
        )

    def learn(self, limits: Limits | None, ticket: Ticket) -> None:
        """Hear what the server said of its limits when it had taken this request."""
        if limits is None:
            return
        now = self._clock()
        self._requests.learn(limits.requests, limits.requests_left, ticket.requests, now)
        self._tokens.learn(limits.tokens, limits.tokens_left, ticket.tokens, now)

    def hold(self) -> None:
        """Let none go until something is answered."""
        self._is_held = True

    def open(self) -> None:
        """Let all through at once: there is nothing to wait for any more."""
        self._is_open = True
        self._changed.set()

    async def _wait_for_room(self, tokens: float) -> None:
        while not self._is_open:
            if self._is_held or self._under_way >= self.limit:
                self._changed.clear()
                await self._changed.wait()
                continue
            now = self._clock()
            seconds = max(
                self._paused_until - now,
                self._requests.find_wait(1, now),
                self._tokens.find_wait(tokens, now),
            )
            if seconds <= _INSTANT_SECONDS:
                return
            await self._sleep(min(seconds, _LOOK_AGAIN_SECONDS))

    def _guess(self, now: float) -> None:
        """Guess the limit of a server that states none, once it has answered for a while."""
        since = max(now - _WINDOW_SECONDS, self._first_sent or now)
        answers = sum(moment >= since for moment in self._answers)
        if now - since > _SHORTEST_WINDOW_SECONDS and answers > 1:
            self._requests.guess(60.0 * answers / (now - since), now)
