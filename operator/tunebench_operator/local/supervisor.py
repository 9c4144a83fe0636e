"""The local loop: observe, plan, apply, report, until the plan says that the run is over."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from types import FrameType

from tunebench_api.v1alpha1 import BenchmarkRun, BenchmarkRunStatus
from tunebench_operator.local.cluster import LocalCluster
from tunebench_operator.plan import plan

POLL_SECONDS = 0.2


@dataclass(frozen=True)
class Ending:
    """How the loop ended."""

    status: BenchmarkRunStatus
    interrupted: bool


def drive(
    run: BenchmarkRun,
    cluster: LocalCluster,
    sources: dict[str, str],
    show: Callable[[BenchmarkRunStatus], None],
) -> Ending:
    """Drive a run until it is over, suspended or interrupted; every child is stopped then."""
    with _interruption() as interrupted:
        try:
            while True:
                result = plan(run, cluster.observe(sources), now=datetime.now(UTC))
                cluster.apply(result.desired)
                cluster.save_status(result.status)
                show(result.status)
                if result.finished or run.spec.suspend or interrupted.wait(POLL_SECONDS):
                    return Ending(result.status, interrupted.is_set())
        finally:
            cluster.close()


@contextmanager
def _interruption() -> Iterator[threading.Event]:
    """Yield an event that Ctrl-C and SIGTERM set, so that a step is never cut in two."""
    event = threading.Event()

    def note(_signal: int, _frame: FrameType | None) -> None:
        event.set()

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    earlier = {number: signal.signal(number, note) for number in numbers}
    try:
        yield event
    finally:
        for number, handler in earlier.items():
            signal.signal(number, handler)
