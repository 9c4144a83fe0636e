"""Whoever is slow to take reports gets the newest, and holds nobody up."""

from __future__ import annotations

import threading

import pytest

from tunebench_jobs.train.latest import Latest

DEADLINE_SECONDS = 30


def test_a_slow_taker_gets_the_newest() -> None:
    """What came while it was busy is passed over, but for the last; closing waits for that."""
    busy, allowed = threading.Event(), threading.Event()
    taken: list[int] = []

    def take(value: int) -> None:
        busy.set()
        assert allowed.wait(DEADLINE_SECONDS)
        taken.append(value)

    latest = Latest(take)
    latest.put(1)
    assert busy.wait(DEADLINE_SECONDS)
    for value in (2, 3, 4):
        latest.put(value)
    before = list(taken)
    allowed.set()
    latest.close()

    assert before == []
    assert taken == [1, 4]


def test_what_a_taker_runs_into_is_raised() -> None:
    """Once, at the end at the latest."""

    def take(value: int) -> None:
        msg = f"no room for {value}"
        raise OSError(msg)

    latest = Latest(take)
    latest.put(1)

    with pytest.raises(OSError, match="no room for 1"):
        latest.close()
    latest.close()
