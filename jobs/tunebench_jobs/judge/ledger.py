"""Every answer that a judge gave, so that none is paid twice.

One folder holds one judge: `verdicts/<judge digest>/`. An entry is named by the SHA-256 of all that
the judge was sent, so that it serves every order, run and variant that sends the same. Each
process appends to a shard of its own, and reads all shards when it opens the ledger. A lock keeps
other stages off the judge meanwhile: its limits hold across processes, and none asks what another
is asking already.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import Self

from pydantic import ValidationError

from tunebench_jobs.errors import InputError
from tunebench_jobs.files import disk_errors, save_text
from tunebench_jobs.records import Record, describe_validation_error

LEDGER_FOLDER = "verdicts"
JUDGE_FILE = "judge.json"
_SHARD_SUFFIX = ".jsonl"
# Entries between two calls of fsync; a killed process loses none, a power cut at most these.
_BATCH = 32
_LOCK_POLL_SECONDS = 0.2


class MissingCause(StrEnum):
    """Why a comparison has no verdict."""

    UNREADABLE = "Unreadable"
    CONTEXT_EXCEEDED = "ContextWindowExceeded"
    REFUSED = "ContentRefused"


class LedgerEntry(Record):
    """What a judge said last to one question; `missing` says why that is no verdict."""

    key: str
    reply: str
    missing: MissingCause | None = None
    # Replies that were paid for, the unreadable ones included.
    replies: int
    cost_usd: float | None = None


class Ledger:
    """The entries of one judge, in memory and on disk."""

    def __init__(self, folder: Path) -> None:
        """Read every shard in `folder`; nothing is written before the first new entry."""
        self._folder = folder
        # Shards have no order. A verdict stands above an attempt that was given up.
        found = sorted(_load_entries(folder), key=lambda each: (each.missing is None, each.replies))
        self._entries = {entry.key: entry for entry in found}
        self._shard: int | None = None
        self._unsynced = 0

    def __enter__(self) -> Self:
        """Return the ledger, to be closed."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the shard; everything in it is on the disk."""
        if self._shard is not None:
            with disk_errors(self._folder):
                os.fsync(self._shard)
            os.close(self._shard)
            self._shard = None

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: str) -> LedgerEntry | None:
        """Return the entry of a question that was asked before."""
        return self._entries.get(key)

    def append(self, entry: LedgerEntry) -> None:
        """Keep an entry: when this returns, it survives the end of this process."""
        with disk_errors(self._folder):
            if self._shard is None:
                self._shard = _open_shard(self._folder)
            _write_whole(self._shard, entry.model_dump_json().encode() + b"\n")
            self._unsynced += 1
            if self._unsynced >= _BATCH:
                os.fsync(self._shard)
                self._unsynced = 0
        self._entries[entry.key] = entry


@asynccontextmanager
async def open_ledger(store: Path, digest: str, description: str) -> AsyncIterator[Ledger]:
    """Open a judge's ledger once no other stage holds it; `description` says whose it is."""
    folder = store / LEDGER_FOLDER / digest
    with disk_errors(store):
        folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        while not _try_lock(lock.fileno()):  # noqa: ASYNC110 - another process holds it
            await asyncio.sleep(_LOCK_POLL_SECONDS)
        if not (folder / JUDGE_FILE).is_file():
            save_text(folder / JUDGE_FILE, description)
        with Ledger(folder) as ledger:
            yield ledger


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _open_shard(folder: Path) -> int:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{uuid.uuid4().hex}{_SHARD_SUFFIX}"
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o644)


def _write_whole(descriptor: int, line: bytes) -> None:
    while line:
        line = line[os.write(descriptor, line) :]


def _load_entries(folder: Path) -> Iterator[LedgerEntry]:
    for path in sorted(folder.glob(f"*{_SHARD_SUFFIX}")):
        yield from _load_shard(path)


def _load_shard(path: Path) -> Iterator[LedgerEntry]:
    lines = path.read_bytes().split(b"\n")
    # What follows the last line break is empty, or an entry that a crash cut off.
    for number, line in enumerate(lines[:-1], 1):
        try:
            yield LedgerEntry.model_validate_json(line)
        except ValidationError as error:
            msg = (
                f"{path}:{number}: broken ledger entry ({describe_validation_error(error)}); "
                "delete this line, and its comparison is judged again"
            )
            raise InputError(msg, reason="BrokenLedger") from error


def build_judge_file(judge: dict[str, object]) -> str:
    """Return the text that says whose verdicts a ledger holds."""
    return json.dumps(judge, indent=1, sort_keys=True) + "\n"
