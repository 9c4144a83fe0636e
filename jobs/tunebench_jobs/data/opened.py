"""What a source is once it is open: a stream of rows, broken ones among them, with facts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

from tunebench_api.v1alpha1 import Tool
from tunebench_jobs.data.git_pulls import DroppedCommit
from tunebench_jobs.errors import InputError
from tunebench_jobs.rows import PullRequest


@dataclass(frozen=True)
class Row:
    """A pull request and where it came from: `file:line`, `file:row` or `repository@commit`."""

    pr: PullRequest
    origin: str
    # Whose answer a person wrote in place of any other.
    edited_tools: frozenset[Tool] = frozenset()


class RowLike(Protocol):
    """A row, wherever its pull request lies."""

    @property
    def pr(self) -> PullRequest:
        """The pull request."""

    @property
    def origin(self) -> str:
        """Where it came from."""

    @property
    def edited_tools(self) -> frozenset[Tool]:
        """Whose answer a person wrote in place of any other."""


@dataclass(frozen=True)
class BrokenRow:
    """What should be a row and cannot be one; both texts can be printed to a terminal."""

    origin: str
    detail: str

    def build_error(self) -> InputError:
        """Build the error for callers that take no broken row."""
        return InputError(f"{self.origin}: broken row: {self.detail}", reason="BrokenRow")


@dataclass(frozen=True)
class OpenedSource:
    """A source that is read once, row by row; who reads decides what a broken row means."""

    dataset: str
    rows: Iterator[Row | BrokenRow]
    # What the manifest keeps; complete when all rows are read, as is `dropped`.
    facts: dict[str, Any]
    # Commits of git repositories that give no row.
    dropped: list[DroppedCommit] = field(default_factory=list)
