"""What the lines of a patch say: how many change, and whether they are lines of a diff at all."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from tunebench_jobs.rows import ChangedFile

# Context, added, removed, hunk header, git's note on a missing newline.
_PREFIXES = frozenset(" +-@\\")


@dataclass(frozen=True)
class Changes:
    """Changed lines of a patch without their marks and the space at their ends."""

    added: tuple[str, ...]
    removed: tuple[str, ...]

    @property
    def count(self) -> int:
        """How many lines change."""
        return len(self.added) + len(self.removed)

    @property
    def are_empty(self) -> bool:
        """Whether nothing but space at line ends changes."""
        return self.added == self.removed


def parse_changes(patch: str) -> Changes:
    """Take the changed lines out of a patch."""
    added, removed = [], []
    for line in patch.split("\n"):
        mark = line[:1]
        if mark == "+":
            added.append(line[1:].rstrip())
        elif mark == "-":
            removed.append(line[1:].rstrip())
    return Changes(tuple(added), tuple(removed))


def count_changes(patch: str) -> int:
    """Count changed lines, without a look at them."""
    start = patch[:1] in {"+", "-"}
    return patch.count("\n+") + patch.count("\n-") + start


def find_stray_line(patch: str) -> int | None:
    """Return the number, from 1, of the first line that no diff can have, or nothing."""
    for number, line in enumerate(patch.split("\n"), 1):
        if line and line[0] not in _PREFIXES and line != "\r":
            return number
    return None


def has_changes(files: Iterable[ChangedFile]) -> bool:
    """Whether a line of text changes in one of the files."""
    return any(not parse_changes(file.patch).are_empty for file in files if file.patch)
