"""The file of decisions while people change it: whole at any moment, whoever writes."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from tunebench_jobs.data.decisions import (
    Conflict,
    Decision,
    dump_decisions,
    merge_decisions,
    parse_decisions,
)
from tunebench_jobs.files import save_text
from tunebench_jobs.folder_lock import hold_shown_folder

Key = tuple[str, str]


class ChangedMeanwhileError(Exception):
    """Somebody else wrote about the same pull request; nothing was saved."""


class DecisionFile:
    """Decisions by key; each change is on the disk when the call returns.

    The file is read again before each change, so that what git or another page wrote meanwhile is
    kept.
    """

    def __init__(self, path: Path) -> None:
        """Name the file, which need not exist; a link is followed, not replaced."""
        self.path = path.resolve()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        # What lines of the file contradict each other; the next change keeps the newer ones.
        self.conflicts: tuple[Conflict, ...] = ()
        self._read: tuple[tuple[int, int, int], Mapping[Key, Decision]] | None = None

    def load(self) -> Mapping[Key, Decision]:
        """Return what the file says; the same object while it says the same.

        Raises:
            InputError: A line of it is no decision.
        """
        held = self._read
        try:
            with self.path.open("rb") as file:
                facts = os.fstat(file.fileno())
                mark = facts.st_ino, facts.st_size, facts.st_mtime_ns
                if held and held[0] == mark:
                    return held[1]
                content = file.read()
        except FileNotFoundError:
            mark, content = (0, 0, 0), b""
            if held and held[0] == mark:
                return held[1]
        merged = merge_decisions(parse_decisions(content, self.path))
        decisions = MappingProxyType({each.key: each for each in merged.decisions})
        self._read, self.conflicts = (mark, decisions), merged.conflicts
        return decisions

    def change(self, key: Key, new: Decision | None, *, expected: Decision | None) -> None:
        """Write a decision, or remove it.

        Raises:
            ChangedMeanwhileError: The file says something else than `expected`.
            InputError: A line of the file is no decision; the file stays as it is.
            RetryableError: The disk is full; the file stays as it is.
        """
        # The kernel lets go when a process ends.
        with hold_shown_folder(self.path.parent, wait=True) as folder:
            decisions = dict(self.load())
            if decisions.get(key) != expected:
                raise ChangedMeanwhileError
            decisions.pop(key, None)
            if new is not None:
                decisions[key] = new
            save_text(self.path, dump_decisions(decisions.values()))
            # The new name is durable only with its folder.
            os.fsync(folder)
