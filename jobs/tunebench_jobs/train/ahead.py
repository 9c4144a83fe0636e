"""Work that is done by a thread before it is asked for."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

ItemT = TypeVar("ItemT")

# Items that are ready: the thread is never far ahead, nor late.
_AHEAD = 2


@contextmanager
def read_ahead(items: Iterator[ItemT]) -> Iterator[Iterator[ItemT]]:
    """Yield the same items in the same order; what making one raises, asking for it raises."""
    with ThreadPoolExecutor(1, "ahead") as pool:
        coming: deque[Future[ItemT | None]] = deque()
        try:
            yield _take(items, pool, coming)
        finally:
            for each in coming:
                each.cancel()


def _take(
    items: Iterator[ItemT], pool: ThreadPoolExecutor, coming: deque[Future[ItemT | None]]
) -> Iterator[ItemT]:
    coming.extend(pool.submit(next, items, None) for _ in range(_AHEAD))
    while (item := coming.popleft().result()) is not None:
        coming.append(pool.submit(next, items, None))
        yield item
