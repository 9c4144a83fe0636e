"""Lines that must outlive the process that writes them, such as answers that were paid for.

A journal is a set of shards `<prefix>*.jsonl` in one folder. Each process appends to shards of its
own and reads all; what follows the last line break of a shard is nothing, or what a crash cut off.

A line that was appended survives the end of its process, however it comes. It survives a power cut
once it is synced: with the line that fills a batch, with the first one after some seconds, and when
the journal is closed. A power cut may leave rubbish in place of lines that were not.
"""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from tunebench_jobs.files import disk_errors

_SUFFIX = ".jsonl"
# A bucket cannot append: a shard is sent whole with each change, so it must stay small.
_MAX_SHARD_BYTES = 1 << 20
# Where lines come slowly, a batch would be long in coming.
_SYNC_SECONDS = 5.0

Keep = Callable[[Path], None]


class Journal:
    """The shards of one folder; `keep` is told of each that has grown."""

    def __init__(
        self, folder: Path, prefix: str = "", *, batch: int = 1, keep: Keep | None = None
    ) -> None:
        """Name the shards; nothing is written before the first line.

        Args:
            folder: Where the shards lie.
            prefix: How their names begin.
            batch: Lines between two calls of fsync; a killed process loses none, a power cut
                at most these.
            keep: Called after each line.
        """
        self._folder = folder
        self._prefix = prefix
        self._batch = batch
        self._keep = keep
        self._path: Path | None = None
        self._shard: int | None = None
        self._bytes = 0
        self._unsynced = 0
        self._synced_at = 0.0

    def load(self) -> Iterator[tuple[Path, int, bytes]]:
        """Yield the whole lines of all shards, the oldest shard first, with file and number."""
        for path in sorted(self._folder.glob(f"{self._prefix}*{_SUFFIX}")):
            # Line by line, because a shard may be larger than the memory.
            with path.open("rb") as lines:
                for number, line in enumerate(lines, 1):
                    if line.endswith(b"\n"):
                        yield path, number, line[:-1]

    def append(self, line: bytes) -> tuple[Path, int]:
        """Keep a line, and return the file and the byte where it begins.

        When this returns, the line survives the end of this process.
        """
        with disk_errors(self._folder):
            if self._shard is None or (self._keep and self._bytes > _MAX_SHARD_BYTES):
                self._open_shard()
            assert self._shard is not None  # noqa: S101 - just opened
            assert self._path is not None  # noqa: S101 - likewise
            start = self._bytes
            try:
                _write_whole(self._shard, line + b"\n")
            except OSError:
                # What follows a half line would be lost with it.
                self._leave_shard()
                raise
            self._bytes += len(line) + 1
            self._unsynced += 1
            self._sync_if_due()
        if self._keep:
            self._keep(self._path)
        return self._path, start

    def sync(self) -> None:
        """Let all lines survive a power cut."""
        if self._shard is not None and self._unsynced:
            with disk_errors(self._folder):
                os.fsync(self._shard)
            self._unsynced = 0

    def close(self) -> None:
        """Close the shard; everything in it is on the disk."""
        if self._shard is not None:
            with disk_errors(self._folder):
                os.fsync(self._shard)
            os.close(self._shard)
            self._shard = None

    def _sync_if_due(self) -> None:
        assert self._shard is not None  # noqa: S101 - the caller has just written to it
        now = time.monotonic()
        if self._unsynced >= self._batch or now - self._synced_at > _SYNC_SECONDS:
            os.fsync(self._shard)
            self._unsynced = 0
            self._synced_at = now

    def _leave_shard(self) -> None:
        assert self._shard is not None  # noqa: S101 - the caller could not write to it
        os.close(self._shard)
        self._shard = None

    def _open_shard(self) -> None:
        self.close()
        self._folder.mkdir(parents=True, exist_ok=True)
        dash = "-" if self._prefix else ""
        self._path = self._folder / f"{self._prefix}{dash}{_build_shard_name()}{_SUFFIX}"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND
        self._shard = os.open(self._path, flags, 0o644)
        self._bytes = 0
        _sync_folder(self._folder)


def _build_shard_name() -> str:
    """Return a name that nobody else takes, and that stands behind all earlier ones."""
    # `t` stands behind the digits of names without a time, as earlier versions gave them, and
    # thousandths of a second behind the same moment with fewer digits.
    return f"t{time.time_ns():019d}-{secrets.token_hex(10)}"


def _sync_folder(folder: Path) -> None:
    """Let the name of a new file survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write_whole(descriptor: int, line: bytes) -> None:
    while line:
        line = line[os.write(descriptor, line) :]


class Journaled:
    """What a journal keeps; a block's end closes it, with everything on the disk."""

    def __init__(self, journal: Journal) -> None:
        """Keep to this journal."""
        self._journal = journal

    def __enter__(self) -> Self:
        """Return what is to be closed."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the shard."""
        self._journal.close()
