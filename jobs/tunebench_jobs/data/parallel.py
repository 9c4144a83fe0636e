"""Work on batches of rows in several processes; results come in the order of the batches."""

from __future__ import annotations

import gc
import itertools
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sized
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from types import TracebackType
from typing import Any, Protocol, Self, TypeVar

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


class Workers:
    """Processes that are started when there is work for several, and serve until the block ends."""

    def __init__(self, count: int) -> None:
        """Use up to `count` processes; with one, this process does all."""
        self._count = count
        self._pool: ProcessPoolExecutor | None = None
        # What a process prepares once it keeps by a number.
        self._prepared = itertools.count()

    def __enter__(self) -> Self:
        """Return what gives work."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the processes; what they still had to do is of no use."""
        if self._pool:
            self._pool.shutdown(cancel_futures=True)

    def map_batches(
        self, prepare: Prepare[BatchT, ResultT], batches: Iterable[BatchT]
    ) -> Iterator[tuple[BatchT, ResultT]]:
        """Yield each batch with its result, in order, however many processes there are.

        Raises:
            RetryableError: A process was killed, such as for want of memory.
        """
        stream = iter(batches)
        first = list(itertools.islice(stream, _ALONE_BATCHES + 1))
        rest = itertools.chain(first, stream)
        if self._count == 1 or len(first) <= _ALONE_BATCHES:
            work = prepare()
            yield from ((batch, work(batch)) for batch in rest)
            return
        task = partial(_run, next(self._prepared), prepare)
        try:
            yield from self._map_in_pool(task, rest)
        except BrokenProcessPool as error:
            msg = "a process that prepares data was killed; give it more memory and start again"
            raise RetryableError(msg, reason="WorkerKilled") from error

    def _map_in_pool(
        self, task: Callable[[BatchT], ResultT], batches: Iterable[BatchT]
    ) -> Iterator[tuple[BatchT, ResultT]]:
        pool = self._open_pool()
        waiting: deque[tuple[BatchT, Future[ResultT]]] = deque()
        for batch in batches:
            waiting.append((batch, pool.submit(task, batch)))
            if len(waiting) >= self._count * _IN_FLIGHT:
                done, future = waiting.popleft()
                yield done, future.result()
        while waiting:
            done, future = waiting.popleft()
            yield done, future.result()

    def _open_pool(self) -> ProcessPoolExecutor:
        if self._pool is None:
            self._pool = ProcessPoolExecutor(
                self._count,
                # Never fork: libraries have threads by now.
                mp_context=multiprocessing.get_context("spawn"),
                initializer=_start,
            )
        return self._pool


# What this process has prepared, if it is one of those.
_works: dict[int, Callable[[Any], Any]] = {}


def _start() -> None:
    # Rows are many small objects in no cycles; looking for cycles took an eighth of the time.
    gc.set_threshold(50_000, 20, 20)
    # Ctrl-C reaches all processes of a terminal; the first one decides what ends.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _run(number: int, prepare: Prepare[BatchT, ResultT], batch: BatchT) -> ResultT:
    if number not in _works:
        # One at a time: what was there before is not asked for again.
        _works.clear()
        _works[number] = prepare()
    result: ResultT = _works[number](batch)
    return result


def _end_with_parent() -> None:
    """End this process when the one that started it is gone, however that one ended."""
    parent = multiprocessing.parent_process()
    assert parent is not None  # noqa: S101 - this runs in started processes only
    parent.join()
    os._exit(1)
