"""Who is looked at next: a run in trouble is tried again, and keeps no other one from its turn."""

from __future__ import annotations

import asyncio
from collections.abc import Hashable
from contextlib import suppress
from datetime import datetime

import pytest

from tunebench_operator.worklist import SETTLE_SECONDS, Worklist


@pytest.mark.parametrize("error", [ConnectionError("away"), KeyError("annotations")])
async def test_a_step_that_fails_stops_no_other_run(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    """The run is tried again until it works, and others meanwhile; only a surprise has a trace."""
    steps: list[Hashable] = []
    done = asyncio.Event()

    async def step(key: Hashable) -> datetime | None:
        steps.append(key)
        if key == "broken" and steps.count(key) == 1:
            raise error
        if {"broken", "fine"} <= set(steps[1:]):
            done.set()
        return None

    worklist = Worklist(step, foreseen=(ConnectionError,))
    worklist.wake("broken")
    worklist.wake("fine")
    task = asyncio.create_task(worklist.work(1))
    await asyncio.wait({task, asyncio.create_task(done.wait())}, timeout=5)
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task

    assert steps == ["broken", "fine", "broken"]
    assert any(each.exc_info for each in caplog.records) is isinstance(error, KeyError)


async def test_a_burst_is_one_step() -> None:
    """What wakes a run many times in a moment makes it looked at once, afterwards."""
    steps: list[Hashable] = []

    async def step(key: Hashable) -> datetime | None:
        steps.append(key)
        return None

    worklist = Worklist(step, foreseen=())
    task = asyncio.create_task(worklist.work(2))
    for _ in range(10):
        worklist.wake_soon("run")
        await asyncio.sleep(0)
    early = list(steps)
    await asyncio.sleep(5 * SETTLE_SECONDS)
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task

    assert early == []
    assert steps == ["run"]
