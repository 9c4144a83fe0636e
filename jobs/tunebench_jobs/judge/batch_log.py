"""Which batches a judge was sent, so that a process that ends leaves none that is bought again.

The log lies beside the judge's ledger, a journal of steps. A batch is prepared before it is begun:
one that was begun by a process that ended at that moment is found again by its file.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

from pydantic import Field, ValidationError

from tunebench_jobs.errors import InputError
from tunebench_jobs.journal import Journal, Journaled
from tunebench_jobs.records import Record, describe_validation_error

logger = logging.getLogger(__name__)

LOG_FOLDER = "batches"


class Step(StrEnum):
    """What happened to a batch."""

    PREPARED = "Prepared"
    BEGUN = "Begun"
    ENDED = "Ended"


class LogEntry(Record):
    """One step of one batch."""

    token: str
    step: Step
    # Of a batch that is prepared: its file at the vendor, and what it asks: for each question, the
    # replies that were paid for before.
    file: str = ""
    questions: dict[str, int] = Field(default_factory=dict)
    # Of one that is begun: the vendor's name for it.
    batch: str = ""


@dataclass(frozen=True)
class Pending:
    """A batch whose replies are not in the ledger yet; `batch` is empty until it is known."""

    token: str
    file: str
    questions: Mapping[str, int]
    batch: str = ""


class BatchLog(Journaled):
    """The batches of one judge."""

    def __init__(self, journal: Journal) -> None:
        """Read what every process wrote."""
        super().__init__(journal)
        self._pending = _fold(_load(journal))

    @property
    def pending(self) -> tuple[Pending, ...]:
        """The batches that have not ended."""
        return tuple(self._pending.values())

    def prepare(self, file: str, questions: Mapping[str, int]) -> Pending:
        """Keep what a batch will ask, before it is begun."""
        pending = Pending(uuid.uuid4().hex, file, dict(questions))
        self._append(
            LogEntry(token=pending.token, step=Step.PREPARED, file=file, questions=dict(questions))
        )
        self._pending[pending.token] = pending
        return pending

    def begin(self, pending: Pending, batch: str) -> Pending:
        """Keep the vendor's name for a batch."""
        begun = replace(pending, batch=batch)
        self._append(LogEntry(token=pending.token, step=Step.BEGUN, batch=batch))
        self._pending[pending.token] = begun
        return begun

    def end(self, pending: Pending) -> None:
        """Keep that all replies of a batch are in the ledger, or that it never began."""
        self._append(LogEntry(token=pending.token, step=Step.ENDED))
        del self._pending[pending.token]

    def _append(self, entry: LogEntry) -> None:
        self._journal.append(entry.model_dump_json(exclude_defaults=True).encode())
        # What a power cut takes here is paid for twice.
        self._journal.sync()


def _fold(entries: Iterable[LogEntry]) -> dict[str, Pending]:
    """Return the batches that have not ended; shards, and so steps, have no order."""
    by_step: dict[Step, dict[str, LogEntry]] = {step: {} for step in Step}
    for entry in entries:
        by_step[entry.step][entry.token] = entry
    begun, ended = by_step[Step.BEGUN], by_step[Step.ENDED]
    return {
        token: Pending(
            token, entry.file, entry.questions, begun[token].batch if token in begun else ""
        )
        for token, entry in by_step[Step.PREPARED].items()
        if token not in ended
    }


def _load(journal: Journal) -> list[LogEntry]:
    entries = []
    for path, number, line in journal.load():
        try:
            entries.append(LogEntry.model_validate_json(line))
        except ValidationError as error:
            if error.errors()[0]["type"] == "json_invalid":
                logger.warning("%s:%d is no JSON and passed over", path, number)
                continue
            msg = (
                f"{path}:{number}: broken step of a batch ({describe_validation_error(error)}); "
                "delete this line, and what the batch asked is asked again"
            )
            raise InputError(msg, reason="BrokenLedger") from error
    return entries
