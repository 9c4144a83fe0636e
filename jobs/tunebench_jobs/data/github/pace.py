"""A limit on requests per minute that waits, because LiteLLM's own rejects."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

_MINUTE_SECONDS = 60.0


def reserve_slot(next_free: float, now: float, interval: float) -> tuple[float, float]:
    """Return when a request may go, and when the one after it may.

    A bucket of one token: requests are spread evenly, because vendors count in windows shorter
    than a minute too.
    """
    slot = max(next_free, now)
    return slot, slot + interval


class Pace:
    """Lets requests through one by one, at most so many in a minute."""

    def __init__(
        self,
        per_minute: int | None,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """Start with a free slot; without a limit nothing ever waits."""
        self._interval = _MINUTE_SECONDS / per_minute if per_minute else 0.0
        self._next_free = float("-inf")
        self._clock = clock
        self._sleep = sleep

    async def wait(self) -> None:
        """Wait for the next free slot and take it."""
        now = self._clock()
        slot, self._next_free = reserve_slot(self._next_free, now, self._interval)
        if slot > now:
            await self._sleep(slot - now)
