"""What GitHub states is kept to, whatever order its answers come in."""

from __future__ import annotations

import asyncio

import pytest

from tunebench_jobs.data.github.limits import Budget, find_pause
from tunebench_jobs.data.github.pace import Pace

DATE = "Tue, 02 Jan 2024 00:00:00 GMT"
NOW = 1704153600


class Time:
    """A clock that moves when someone sleeps."""

    def __init__(self) -> None:
        """Begin at some moment."""
        self.now = 100.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        """Tell the time."""
        return self.now

    async def sleep(self, seconds: float) -> None:
        """Let time pass."""
        self.slept.append(seconds)
        self.now += seconds


def make_headers(remaining: int, *, reset: int = NOW + 600, limit: int = 5000) -> dict[str, str]:
    """Return the headers of an answer."""
    return {
        "x-ratelimit-limit": str(limit),
        "x-ratelimit-remaining": str(remaining),
        "x-ratelimit-reset": str(reset),
        "date": DATE,
    }


def ignore(_: float) -> None:
    """Take note of no wait."""


@pytest.mark.parametrize(
    ("status", "headers", "message", "seconds"),
    [
        pytest.param(403, {"retry-after": "7"}, "", 7.0, id="said in seconds"),
        pytest.param(429, {"retry-after": "7"}, "", 7.0, id="too many"),
        pytest.param(403, make_headers(0), "", 601.0, id="until the reset by the server's clock"),
        pytest.param(403, make_headers(0, reset=NOW - 5), "", 1.0, id="reset already"),
        pytest.param(403, {}, "You have exceeded a secondary rate limit", 60.0, id="secondary"),
        pytest.param(403, {}, "You triggered an ABUSE detection", 60.0, id="older words"),
        pytest.param(429, {"retry-after": "soon"}, "", 60.0, id="no number"),
        pytest.param(403, make_headers(10), "Resource not accessible", None, id="forbidden"),
        pytest.param(404, {"retry-after": "7"}, "", None, id="another refusal"),
    ],
)
def test_pauses(status: int, headers: dict[str, str], message: str, seconds: float | None) -> None:
    """What GitHub asks for goes before what we would guess."""
    assert find_pause(status, headers, message) == seconds


def test_a_pause_of_no_stated_length_doubles() -> None:
    """Only where GitHub does not say how long."""
    assert find_pause(429, {}, "", tried=2) == 240.0
    assert find_pause(429, {"retry-after": "7"}, "", tried=2) == 7.0


async def test_requests_stop_at_the_limit_and_go_on_after_the_reset() -> None:
    """Three are left, so the fourth waits for the window to end."""
    time = Time()
    budget = Budget(time, time.sleep)
    budget.learn(make_headers(3))
    for left in (2, 1, 0):
        await budget.take(ignore)
        budget.give_back(make_headers(left))
    assert time.slept == []
    await budget.take(ignore)

    assert time.slept == [601.0]


async def test_requests_in_flight_count_before_they_are_answered() -> None:
    """Two are left and two are under way, so the third waits."""
    time = Time()
    budget = Budget(time, time.sleep)
    budget.learn(make_headers(2))
    await budget.take(ignore)
    await budget.take(ignore)
    waited: list[float] = []
    third = asyncio.create_task(budget.take(waited.append))
    await asyncio.sleep(0)
    budget.give_back(None)
    budget.give_back(None)
    await third

    assert waited == [601.0]


async def test_an_older_answer_does_not_give_requests_back() -> None:
    """Answers overtake each other; the lowest number of a window is the true one."""
    time = Time()
    budget = Budget(time, time.sleep)
    budget.learn(make_headers(10))
    for _ in range(3):
        await budget.take(ignore)
    budget.give_back(make_headers(1))
    budget.give_back(make_headers(9))
    budget.give_back(make_headers(5000, reset=NOW - 3000))
    await budget.take(ignore)
    budget.give_back(None)
    await budget.take(ignore)

    assert time.slept == [601.0]


async def test_what_is_not_modified_is_free() -> None:
    """A thousand answers 304 leave the one request that is left."""
    time = Time()
    budget = Budget(time, time.sleep)
    budget.learn(make_headers(1))
    for _ in range(1000):
        await budget.take(ignore)
        budget.give_back(make_headers(1), free=True)

    assert time.slept == []


async def test_without_a_stated_limit_requests_go_one_by_one_until_the_first_answer() -> None:
    """Nobody knows whether a second one is allowed."""
    budget = Budget()
    await budget.take(ignore)
    second = asyncio.create_task(budget.take(ignore))
    await asyncio.sleep(0)
    waits = not second.done()
    # A server of one's own states no limit.
    budget.give_back({})
    await second
    await budget.take(ignore)

    assert waits


async def test_a_request_without_an_answer_lets_the_next_one_go() -> None:
    """A connection that breaks tells nothing, and holds up nobody."""
    budget = Budget()
    await budget.take(ignore)
    budget.give_back(None)

    await asyncio.wait_for(budget.take(ignore), 1)


@pytest.mark.parametrize("value", ["", "soon", "1e400", "-", "9" * 40])
async def test_limits_that_are_no_numbers_are_no_limits(value: str) -> None:
    """A proxy that garbles the headers ends nothing."""
    budget = Budget()
    await budget.take(ignore)
    budget.give_back(make_headers(5) | {"x-ratelimit-reset": value})

    await asyncio.wait_for(budget.take(ignore), 1)


def test_requests_wait_for_their_turn() -> None:
    """No window of a minute holds more than the limit, and none is refused."""
    now = 0.0
    sent: list[float] = []

    async def sleep(seconds: float) -> None:
        nonlocal now
        now += seconds

    async def send() -> None:
        pace = Pace(30, clock=lambda: now, sleep=sleep)
        for _ in range(100):
            await pace.wait()
            sent.append(now)

    asyncio.run(send())

    assert sent[-1] == pytest.approx(99 * 2.0)
    assert all(later - sooner >= 60 for sooner, later in zip(sent, sent[30:], strict=False))


def test_without_a_limit_nothing_waits() -> None:
    """An absent limit is no limit."""

    async def refuse(_: float) -> None:
        pytest.fail("waited")

    async def send() -> None:
        pace = Pace(None, sleep=refuse)
        for _ in range(100):
            await pace.wait()

    asyncio.run(send())
