"""One process of a machine at a time in a folder, for as long as a block runs."""

from __future__ import annotations

import asyncio
import fcntl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tunebench_jobs.files import disk_errors

_POLL_SECONDS = 0.2


@asynccontextmanager
async def locked_folder(folder: Path) -> AsyncIterator[None]:
    """Make a folder if need be, and wait until no other process holds it."""
    _make_folder(folder)
    with (folder / ".lock").open("w") as lock:
        while not _try_lock(lock.fileno()):  # noqa: ASYNC110 - another process holds it
            await asyncio.sleep(_POLL_SECONDS)
        yield


def _make_folder(folder: Path) -> None:
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
