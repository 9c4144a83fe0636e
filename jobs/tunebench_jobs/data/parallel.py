"""Work on batches of rows in several processes; results come in the order of the batches."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sized
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any, Protocol, TypeVar

from tunebench_jobs.errors import RetryableError

# More bring nothing: then the process that reads and writes is the slow one.
MAX_WORKERS = 8
# What a process is given at once: worth the way to it, and small enough to be many in flight.
BATCH_ROWS = 256
BATCH_BYTES = 4 << 20
# Starting processes takes a second, which fewer batches are not worth.
_ALONE_BATCHES = 1
# For each process: one at work, one waiting.
_IN_FLIGHT = 2


class Weighed(Protocol):
    """What has a size in bytes."""

    @property
    def weight(self) -> int:
        """Bytes that it takes."""


WeighedT = TypeVar("WeighedT", bound=Weighed)
BatchT = TypeVar("BatchT", bound=Sized)
ResultT = TypeVar("ResultT")
# Makes, in each process once, what works on a batch; pickled, so a function of a module.
Prepare = Callable[[], Callable[[BatchT], ResultT]]


def count_workers(limit: int | None) -> int:
    """Return how many processes to work in; `limit` is what the stage was given."""
    allowed = len(os.sched_getaffinity(0))
    return max(1, min(limit or allowed, allowed, MAX_WORKERS))


def batch_rows(rows: Iterable[WeighedT]) -> Iterator[list[WeighedT]]:
    """Cut a stream into batches that are bounded in rows and in bytes."""
    batch: list[WeighedT] = []
    weight = 0
    for row in rows:
        batch.append(row)
        weight += row.weight
        if len(batch) >= BATCH_ROWS or weight >= BATCH_BYTES:
            yield batch
            batch, weight = [], 0
    if batch:
        yield batch


def map_batches(
    prepare: Prepare[BatchT, ResultT], batches: Iterable[BatchT], *, workers: int
) -> Iterator[tuple[BatchT, ResultT]]:
    """Yield each batch with its result, in order, however many processes there are.

    Raises:
        RetryableError: A process was killed, such as for want of memory.
    """
    stream = iter(batches)
    first = list(itertools.islice(stream, _ALONE_BATCHES + 1))
    if workers == 1 or len(first) <= _ALONE_BATCHES:
        work = prepare()
        for batch in itertools.chain(first, stream):
            yield batch, work(batch)
        return
    pool = ProcessPoolExecutor(
        workers,
        # Never fork: libraries have threads by now.
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_start,
        initargs=(prepare,),
    )
    try:
        yield from _map_in(pool, itertools.chain(first, stream), workers * _IN_FLIGHT)
    except BrokenProcessPool as error:
        msg = "a process that prepares data was killed; give it more memory and start again"
        raise RetryableError(msg, reason="WorkerKilled") from error
    finally:
        pool.shutdown(cancel_futures=True)


def _map_in(
    pool: ProcessPoolExecutor, batches: Iterable[BatchT], in_flight: int
) -> Iterator[tuple[BatchT, Any]]:
    waiting: deque[tuple[BatchT, Future[Any]]] = deque()
    for batch in batches:
        waiting.append((batch, pool.submit(_run, batch)))
        if len(waiting) >= in_flight:
            done, future = waiting.popleft()
            yield done, future.result()
    while waiting:
        done, future = waiting.popleft()
        yield done, future.result()


class _Worker:
    """What one process works with."""

    prepare: Prepare[Any, Any]
    work: Callable[[Any], Any] | None = None


def _start(prepare: Prepare[Any, Any]) -> None:
    _Worker.prepare = staticmethod(prepare)
    # Ctrl-C reaches all processes of a terminal; the first one decides what ends.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _run(batch: Any) -> Any:
    # Not at the start, where an error would only break the pool.
    if _Worker.work is None:
        _Worker.work = staticmethod(_Worker.prepare())
    return _Worker.work(batch)


def _end_with_parent() -> None:
    """End this process when the one that started it is gone, however that one ended."""
    parent = multiprocessing.parent_process()
    assert parent is not None  # noqa: S101 - this runs in started processes only
    parent.join()
    os._exit(1)
