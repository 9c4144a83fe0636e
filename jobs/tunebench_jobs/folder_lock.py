"""One process of a machine at a time in a folder, for as long as a block runs."""

from __future__ import annotations

import asyncio
import fcntl
import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import IO

from tunebench_jobs.files import disk_errors

_POLL_SECONDS = 0.2

# Told once, where there is somebody to wait for.
OnWait = Callable[[], object]


def _say_nothing() -> None:
    return


@asynccontextmanager
async def locked_folder(folder: Path, on_wait: OnWait = _say_nothing) -> AsyncIterator[None]:
    """Make a folder if need be, and wait until no other process holds it."""
    with _open_lock(folder) as lock:
        if not _try_lock(lock.fileno()):
            on_wait()
            while not _try_lock(lock.fileno()):  # noqa: ASYNC110 - another process holds it
                await asyncio.sleep(_POLL_SECONDS)
        yield


@contextmanager
def hold_folder(folder: Path, on_wait: OnWait = _say_nothing) -> Iterator[None]:
    """Do the same where nothing else goes on meanwhile."""
    with _open_lock(folder) as lock:
        if not _try_lock(lock.fileno()):
            on_wait()
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextmanager
def hold_shown_folder(folder: Path, *, wait: bool) -> Iterator[int]:
    """Hold a folder into which people look, without a file of its own; yield its descriptor.

    Raises:
        BlockingIOError: Another process holds it, and `wait` is false.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        yield descriptor
    finally:
        os.close(descriptor)


def _open_lock(folder: Path) -> IO[str]:
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        return (folder / ".lock").open("w")


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
