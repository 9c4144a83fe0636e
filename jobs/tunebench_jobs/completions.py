"""Completions as they come, each durable before the next, for the attempt that goes on."""

from __future__ import annotations

import logging

from pydantic import ValidationError

from tunebench_jobs.journal import Journal, Journaled
from tunebench_jobs.records import Completion

logger = logging.getLogger(__name__)


class CompletionJournal(Journaled):
    """The completions of earlier attempts, and those of this one."""

    def __init__(self, journal: Journal) -> None:
        """Read what is whole; a broken line costs its own completion alone."""
        super().__init__(journal)
        self.completions: dict[str, Completion] = {}
        for path, number, line in journal.load():
            try:
                completion = Completion.model_validate_json(line)
            except ValidationError:
                logger.warning("%s:%d is broken, and completed anew", path, number)
                continue
            self.completions[completion.task] = completion

    def add(self, completion: Completion) -> None:
        """Append a completion and wait until the disk has it."""
        self._journal.append(completion.model_dump_json().encode())
        self.completions[completion.task] = completion
