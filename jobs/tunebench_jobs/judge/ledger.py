"""Every answer that a judge gave, so that none is paid twice.

One folder holds one judge: `verdicts/<judge digest>/`. An entry is named by the SHA-256 of all that
the judge was sent, so that it serves every order, run and variant that sends the same. Each
process appends to a shard of its own, and reads all shards when it opens the ledger. A lock keeps
other stages of this machine off the judge meanwhile: its limits hold across processes, and none
asks what another is asking already.

Where machines that share no locks asked the same, the first verdict counts, so that a later one
changes no result. A line that is no JSON is what a power cut left: it is passed over, and asked
again.
"""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator, ValidationError

from tunebench_jobs.errors import InputError
from tunebench_jobs.files import save_text
from tunebench_jobs.folder_lock import locked_folder
from tunebench_jobs.journal import Journal, Journaled
from tunebench_jobs.judge.verdicts import find_problem
from tunebench_jobs.records import Record, describe_validation_error

logger = logging.getLogger(__name__)

LEDGER_FOLDER = "verdicts"
JUDGE_FILE = "judge.json"
# Entries between two calls of fsync; a killed process loses none, a power cut at most these.
BATCH = 32


class MissingCause(StrEnum):
    """Why a comparison has no verdict."""

    UNREADABLE = "Unreadable"
    CONTEXT_EXCEEDED = "ContextWindowExceeded"
    REFUSED = "ContentRefused"
    # Of a verdict that another tool published.
    JUDGE_FAILED = "JudgeFailed"
    # These three say nothing of the judge's answer, and never stand in a ledger.
    NO_ANSWER = "NoAnswer"
    BUDGET_SPENT = "BudgetSpent"
    UNAVAILABLE = "JudgeUnavailable"


def mend_text(text: object) -> object:
    """Replace halves of characters, which a text that was cut off may end with."""
    return text.encode(errors="replace").decode() if isinstance(text, str) else text


class LedgerEntry(Record):
    """What a judge said last to one question; `missing` says why that is no verdict."""

    key: str
    reply: Annotated[str, BeforeValidator(mend_text)]
    missing: MissingCause | None = None
    # Replies that were paid for, the unreadable ones included.
    replies: int
    cost_usd: float | None = None
    # Of a verdict that another tool published: from 1, the first completion is surely better, to
    # 2, the second is. Absent: `reply` says it.
    preference: float | None = None
    # Of all its replies; 0 where the server did not say.
    prompt_tokens: int = 0
    completion_tokens: int = 0


class Ledger(Journaled):
    """The entries of one judge, in memory and on disk."""

    def __init__(self, journal: Journal) -> None:
        """Read every shard; nothing is written before the first new entry."""
        super().__init__(journal)
        self._entries: dict[str, LedgerEntry] = {}
        for entry in _load_entries(journal):
            self._note(entry)

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: str) -> LedgerEntry | None:
        """Return the entry of a question that was asked before."""
        return self._entries.get(key)

    def append(self, entry: LedgerEntry) -> None:
        """Keep an entry: when this returns, it survives the end of this process."""
        self._journal.append(entry.model_dump_json(exclude_none=True).encode())
        self._note(entry)

    def _note(self, entry: LedgerEntry) -> None:
        known = self._entries.get(entry.key)
        if known is None or _replaces(entry, known):
            self._entries[entry.key] = entry


def _replaces(entry: LedgerEntry, known: LedgerEntry) -> bool:
    """Whether a later entry counts: the first verdict does, else the attempt with most replies."""
    if known.missing is None and entry.missing is None:
        return not _is_verdict(known)
    if known.missing is None or entry.missing is None:
        return entry.missing is None
    return entry.replies >= known.replies


def _is_verdict(entry: LedgerEntry) -> bool:
    """Whether a verdict can be read, which earlier versions may have seen otherwise."""
    return entry.preference is not None or find_problem(entry.reply) is None


def open_local_journal(folder: Path) -> Journal:
    """Open the shards of a ledger on this machine."""
    return Journal(folder, batch=BATCH)


@asynccontextmanager
async def open_ledger(
    folder: Path,
    description: str,
    open_journal: Callable[[Path], Journal] = open_local_journal,
) -> AsyncIterator[Ledger]:
    """Open a judge's ledger once no other stage holds it; `description` says whose it is."""
    async with locked_folder(folder):
        # A file of an earlier version says less.
        if not _is_described(folder / JUDGE_FILE, description):
            save_text(folder / JUDGE_FILE, description)
        with Ledger(open_journal(folder)) as ledger:
            yield ledger


def _is_described(path: Path, description: str) -> bool:
    return path.is_file() and path.read_text(encoding="utf-8") == description


def _load_entries(journal: Journal) -> Iterator[LedgerEntry]:
    for path, number, line in journal.load():
        try:
            yield LedgerEntry.model_validate_json(line)
        except ValidationError as error:
            if error.errors()[0]["type"] == "json_invalid":
                logger.warning("%s:%d is no JSON; its comparison is judged again", path, number)
                continue
            msg = (
                f"{path}:{number}: broken ledger entry ({describe_validation_error(error)}); "
                "use the version that wrote it, or delete this line, and its comparison is judged "
                "again"
            )
            raise InputError(msg, reason="BrokenLedger") from error


def build_judge_file(judge: dict[str, object]) -> str:
    """Return the text that says whose verdicts a ledger holds."""
    return json.dumps(judge, indent=1, sort_keys=True) + "\n"
