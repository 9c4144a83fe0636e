"""A limit on requests in flight that gives way to a busy server, and finds its way back."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager


class Throttle:
    """Halves the requests in flight when the server is busy, and adds one with each round.

    A wait that the server asks for is for all requests, not only for the one that was told.
    """

    def __init__(
        self,
        most: int,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """Start with as many as there may ever be."""
        self._most = most
        self._limit = float(most)
        self._under_way = 0
        self._paused_until = float("-inf")
        self._changed = asyncio.Condition()
        self._clock = clock
        self._sleep = sleep

    @property
    def limit(self) -> int:
        """Requests that may be in flight now."""
        return int(self._limit)

    @asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        """Hold one of the places while the block runs."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._under_way < self.limit)
            self._under_way += 1
        try:
            while (seconds := self._paused_until - self._clock()) > 0:
                await self._sleep(seconds)
            yield
        finally:
            self._under_way -= 1
            async with self._changed:
                self._changed.notify_all()

    def answered(self) -> None:
        """Let one more in flight when a whole round of them was answered."""
        self._limit = min(self._most, self._limit + 1 / self._limit)

    def busy(self, seconds: float) -> None:
        """Let half as many in flight, and none before so many seconds have passed.

        What fails while all wait already was sent before, and says nothing new of the limit.
        """
        now = self._clock()
        if now >= self._paused_until:
            self._limit = max(1.0, self._limit / 2)
        self._paused_until = max(self._paused_until, now + seconds)
