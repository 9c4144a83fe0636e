"""A busy server slows everyone down, and nobody for longer than needed."""

from __future__ import annotations

import asyncio

from tunebench_jobs.throttle import Throttle


class Clock:
    """A time that passes only while somebody sleeps."""

    def __init__(self) -> None:
        """Begin at no time."""
        self.now = 0.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now

    async def sleep(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds
        await asyncio.sleep(0)


async def test_no_more_are_in_flight_than_may_be() -> None:
    """The limit holds however many want to go, and all of them go in the end."""
    throttle = Throttle(3)
    under_way, most, done = 0, 0, 0

    async def work() -> None:
        nonlocal under_way, most, done
        async with throttle.place():
            under_way += 1
            most = max(most, under_way)
            await asyncio.sleep(0)
            under_way -= 1
            done += 1

    await asyncio.gather(*(work() for _ in range(20)))

    assert (most, done) == (3, 20)


async def test_a_wait_is_for_all() -> None:
    """When one is told to wait, nobody else goes before that."""
    clock = Clock()
    throttle = Throttle(4, clock=clock, sleep=clock.sleep)
    throttle.busy(30.0)
    async with throttle.place():
        went = clock.now

    assert went == 30.0


def test_limit_halves_when_busy_and_comes_back_step_by_step() -> None:
    """Failures of one moment count once; a round of answers brings one place back."""
    clock = Clock()
    throttle = Throttle(16, clock=clock, sleep=clock.sleep)
    for _ in range(5):
        throttle.busy(1.0)
    halved = throttle.limit
    for _ in range(9):
        throttle.answered()
    after_a_round = throttle.limit
    for _ in range(1000):
        throttle.answered()

    assert (halved, after_a_round, throttle.limit) == (8, 9, 16)


def test_one_may_always_go() -> None:
    """However busy the server is, the limit never reaches zero."""
    clock = Clock()
    throttle = Throttle(2, clock=clock, sleep=clock.sleep)
    for _ in range(9):
        throttle.busy(1.0)
        clock.now += 2.0

    assert throttle.limit == 1
