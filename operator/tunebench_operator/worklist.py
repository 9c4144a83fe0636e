"""Who is to be looked at next: one step at a time per run, many runs at once.

A run that is woken while its step goes on is looked at once more afterwards. What failed is tried
again later and later, even if nobody foresaw how: the other runs must go on. What wants to be
looked at again at some time, is.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import Awaitable, Callable, Hashable
from datetime import UTC, datetime

logger = logging.getLogger(__name__)

FIRST_DELAY_SECONDS = 1.0
LONGEST_DELAY_SECONDS = 300.0
# Between keys that come first, beyond which there is time for the others.
CALM_SECONDS = 0.5
LONGEST_HOLD_SECONDS = 5.0
FIRST_WORKERS = 24

# What comes in bursts, such as a run's children, is looked at once.
SETTLE_SECONDS = 0.1

# Carries out one step of a key; returns when to look again if nothing happens.
StepFunction = Callable[[Hashable], Awaitable[datetime | None]]


class Worklist:
    """Keys to be worked on, each by one worker at a time."""

    def __init__(self, step: StepFunction, *, foreseen: tuple[type[Exception], ...]) -> None:
        """Begin with nothing; `foreseen` are the errors that need no traceback in the log."""
        self._step = step
        self._foreseen = foreseen
        self._ready: asyncio.Queue[Hashable] = asyncio.Queue()
        self._first: asyncio.Queue[Hashable] = asyncio.Queue()
        self._last_first = float("-inf")
        self._waiting: set[Hashable] = set()
        self._busy: set[Hashable] = set()
        self._again: set[Hashable] = set()
        self._failures: dict[Hashable, int] = {}
        self._timers: dict[Hashable, asyncio.TimerHandle] = {}
        self._settling: dict[Hashable, asyncio.TimerHandle] = {}

    def wake(self, key: Hashable, *, first: bool = False) -> None:
        """Look at a key as soon as a worker is free; `first`: before all that are not."""
        if first:
            self._last_first = time.monotonic()
        self._cancel_timer(key)
        if key in self._busy:
            self._again.add(key)
        elif key not in self._waiting:
            self._waiting.add(key)
            (self._first if first else self._ready).put_nowait(key)

    def wake_soon(self, key: Hashable) -> None:
        """Look at a key in a moment, with all that is told of it until then."""
        if key not in self._waiting and key not in self._settling:
            loop = asyncio.get_running_loop()
            self._settling[key] = loop.call_later(SETTLE_SECONDS, self._wake_settled, key)

    def _wake_settled(self, key: Hashable) -> None:
        del self._settling[key]
        self.wake(key)

    def forget(self, key: Hashable) -> None:
        """Drop what is kept of a key that is gone."""
        self._cancel_timer(key)
        self._failures.pop(key, None)

    async def work(self, workers: int) -> None:
        """Work until cancelled."""
        async with asyncio.TaskGroup() as group:
            for _ in range(workers):
                group.create_task(self._run(self._ready))
            # Short requests that mostly wait for the API server.
            for _ in range(FIRST_WORKERS):
                group.create_task(self._run(self._first))

    async def _run(self, queue: asyncio.Queue[Hashable]) -> None:
        while True:
            key = await queue.get()
            if queue is not self._first:
                await self._wait_for_calm()
            self._waiting.discard(key)
            self._busy.add(key)
            try:
                await self._try(key)
            finally:
                self._busy.discard(key)
            if key in self._again:
                self._again.discard(key)
                self.wake(key)

    async def _wait_for_calm(self) -> None:
        """Let those that come first pass while they keep coming, but not for ever."""
        deadline = time.monotonic() + LONGEST_HOLD_SECONDS
        while (left := self._last_first + CALM_SECONDS - time.monotonic()) > 0:
            if time.monotonic() > deadline:
                return
            await asyncio.sleep(left)

    async def _try(self, key: Hashable) -> None:
        try:
            wake_at = await self._step(key)
        except self._foreseen as error:
            self._try_later(key, error)
            return
        except Exception as error:
            logger.exception("%s failed in a way that nobody foresaw", key)
            self._try_later(key, error)
            return
        self._failures.pop(key, None)
        if wake_at is not None:
            self._wake_later(key, max(0.0, (wake_at - datetime.now(UTC)).total_seconds()))

    def _try_later(self, key: Hashable, error: Exception) -> None:
        failures = self._failures[key] = self._failures.get(key, 0) + 1
        delay = min(LONGEST_DELAY_SECONDS, FIRST_DELAY_SECONDS * 2.0 ** min(failures - 1, 16))
        # Spread, so that what failed together does not come back together.
        delay *= random.uniform(0.5, 1.0)  # noqa: S311 - no secret
        logger.warning("trying %s again in %.1f s: %s", key, delay, error)
        self._wake_later(key, delay)

    def _wake_later(self, key: Hashable, seconds: float) -> None:
        self._cancel_timer(key)
        self._timers[key] = asyncio.get_running_loop().call_later(seconds, self.wake, key)

    def _cancel_timer(self, key: Hashable) -> None:
        with contextlib.suppress(KeyError):
            self._timers.pop(key).cancel()
