"""A server's limits are kept to and used; a busy one slows everyone down, no longer than needed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from virtual_time import run_virtually

from tunebench_jobs.llm import Endpoint, NoAnswerError, Reply, ask_in_place
from tunebench_jobs.throttle import Limits, Throttle, tell_time


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


@dataclass
class Server:
    """Lets so many through in a minute, after a burst; each reply takes its time."""

    per_minute: float
    burst: float
    seconds: Callable[[int], float] = lambda number: 0.5 + number % 16 / 10
    says_limits: bool = False
    # Of each request; with it, `per_minute` counts tokens.
    tokens: int | None = None
    answered: list[float] = field(default_factory=list)
    refused: int = 0
    level: float = 0.0
    at: float | None = None

    async def ask(self, _endpoint: Endpoint, _messages: object) -> Reply:
        """Answer, or refuse at once."""
        now = tell_time()
        rate = self.per_minute / 60
        amount = self.tokens or 1
        if self.at is None:
            self.level, self.at = self.burst, now
        self.level, self.at = min(self.burst, self.level + (now - self.at) * rate), now
        if self.level < amount - 1e-9:
            self.refused += 1
            wait = (amount - self.level) / rate
            raise NoAnswerError("slow down", busy=True, seconds=wait, limits=self._limits())
        self.level -= amount
        limits = self._limits()
        await asyncio.sleep(self.seconds(len(self.answered)))
        self.answered.append(tell_time())
        return Reply("yes", None, "stop", amount - 10, 10, limits)

    def _limits(self) -> Limits | None:
        if not self.says_limits:
            return None
        left = float(int(self.level))
        return (
            Limits(tokens=self.per_minute, tokens_left=left)
            if self.tokens
            else Limits(requests=self.per_minute, requests_left=left)
        )


def ask_all(server: Server, throttle: Throttle, count: int, tokens: float = 0.0) -> float:
    """Ask so many times, each until there is an answer; return the seconds."""

    async def ask() -> None:
        while True:
            async with throttle.place(tokens) as ticket:
                try:
                    await ask_in_place(throttle, ticket, server.ask, Endpoint("m"), ())
                except NoAnswerError:
                    continue
            return

    async def work() -> float:
        await asyncio.gather(*(ask() for _ in range(count)))
        return tell_time()

    return run_virtually(work())


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


def test_limit_shrinks_when_busy_and_comes_back_step_by_step() -> None:
    """Failures of one moment count once; a round of answers brings one place back."""
    clock = Clock()
    throttle = Throttle(16, clock=clock, sleep=clock.sleep)
    for _ in range(5):
        throttle.busy(1.0)
    shrunk = throttle.limit
    for _ in range(12):
        throttle.answered()
    after_a_round = throttle.limit
    for _ in range(1000):
        throttle.answered()

    assert (shrunk, after_a_round, throttle.limit) == (11, 12, 16)


def test_limit_doubles_each_round_until_the_first_refusal() -> None:
    """What a server takes is found within a few rounds."""
    clock = Clock()
    throttle = Throttle(128, first=16, clock=clock)
    limits = []
    for _ in range(3):
        for _ in range(throttle.limit):
            throttle.answered()
        limits.append(throttle.limit)

    assert limits == [32, 64, 128]


def test_one_may_always_go() -> None:
    """However busy the server is, the limit never reaches zero."""
    clock = Clock()
    throttle = Throttle(2, clock=clock, sleep=clock.sleep)
    for _ in range(9):
        throttle.busy(1.0)
        clock.now += 2.0

    assert throttle.limit == 1


def test_a_wait_has_an_end() -> None:
    """A server may ask for a day; after a minute it is asked again."""
    clock = Clock()
    throttle = Throttle(2, clock=clock, sleep=clock.sleep)
    throttle.busy(86_400.0)

    async def go() -> None:
        async with throttle.place():
            pass

    asyncio.run(go())

    assert clock.now == 60.0


@pytest.mark.parametrize("burst", [8, 60, 600])
@pytest.mark.parametrize("says_limits", [True, False])
def test_a_stated_limit_is_kept_and_used(burst: int, *, says_limits: bool) -> None:
    """600 in a minute: within 2 % of the limit, and hardly any is refused."""
    server = Server(600, burst, says_limits=says_limits)
    seconds = ask_all(server, Throttle(128, first=16, requests_per_minute=600), 1200)

    assert len(server.answered) == 1200
    assert server.refused <= 12
    # The last replies are under way for up to 2 s.
    assert 1200 / (seconds - 2.0) >= 0.98 * 10


def test_a_limit_that_only_the_server_states_is_kept() -> None:
    """Nobody has to look up the limits of a vendor that sends them along."""
    server = Server(600, 60, says_limits=True)
    seconds = ask_all(server, Throttle(128, first=16), 1200)

    assert server.refused <= 12
    assert 1200 / (seconds - 2.0) >= 0.98 * 10


def test_a_server_that_states_nothing_is_found_out() -> None:
    """Few are refused, and most of what it takes is used."""
    server = Server(600, 60)
    seconds = ask_all(server, Throttle(128, first=16), 1200)

    assert server.refused <= 60
    assert 1200 / (seconds - 2.0) >= 0.85 * 10


def test_no_minute_holds_more_than_the_user_states() -> None:
    """A user who leaves something to others has the last word, also where the vendor has more."""
    server = Server(6000, 1000, seconds=lambda _: 0.0, says_limits=True)
    ask_all(server, Throttle(64, requests_per_minute=300), 900)
    sent = server.answered

    assert all(later - sooner >= 60 for sooner, later in zip(sent, sent[300:], strict=False))


@pytest.mark.parametrize("says_limits", [True, False])
def test_a_limit_of_tokens_is_kept_and_used(*, says_limits: bool) -> None:
    """What was counted beforehand and not used comes back."""
    server = Server(600_000, 60_000, tokens=1000, says_limits=says_limits)
    throttle = Throttle(128, first=16, tokens_per_minute=600_000)
    seconds = ask_all(server, throttle, 1200, tokens=1900)

    assert server.refused <= 12
    assert 1200 / (seconds - 2.0) >= 0.97 * 10


def test_held_requests_go_when_something_was_answered() -> None:
    """Nobody asks a server that fails at everything, until it is back."""
    throttle = Throttle(8)
    went: list[float] = []

    async def go() -> None:
        async with throttle.place():
            went.append(tell_time())

    async def work() -> None:
        throttle.hold()
        waiting = [asyncio.create_task(go()) for _ in range(3)]
        await asyncio.sleep(5.0)
        throttle.answered()
        await asyncio.gather(*waiting)

    run_virtually(work())

    assert went == [5.0] * 3


async def test_nobody_waits_for_what_will_not_come() -> None:
    """When all is over, those in line pass at once."""
    clock = Clock()
    throttle = Throttle(1, requests_per_minute=1, clock=clock, sleep=clock.sleep)
    throttle.open()
    for _ in range(5):
        async with throttle.place():
            pass

    assert clock.now == 0.0
