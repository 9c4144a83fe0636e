"""What people decided about pull requests of the evaluation set, kept apart from the set.

One decision per pull request, one line per decision, in the order of ids: a file that git compares
and merges by lines. A decision is known by the id of its pull request and by a digest of what the
pull request changes, so that it holds for a set that is built anew.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from operator import attrgetter
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError, field_validator, model_validator

from tunebench_api.v1alpha1 import Tool
from tunebench_jobs.data.parse_row import parse_moment
from tunebench_jobs.errors import InputError
from tunebench_jobs.records import Record, describe_validation_error

VERSION: Literal[1] = 1
# Of who decides.
MAX_NAME = 200
# How lines begin that git leaves in a file that it could not merge.
_MARKERS = (b"<<<<<<<", b"=======", b">>>>>>>", b"|||||||")


class Choice(StrEnum):
    """What a person decided."""

    ACCEPTED = "Accepted"
    REJECTED = "Rejected"


class Edits(Record):
    """What a person wrote in place of what was there."""

    title: str | None = Field(default=None, max_length=1000)
    # As long as a completion may be.
    answers: Mapping[Tool, Annotated[str, Field(max_length=65_536)]] = Field(default_factory=dict)

    def __bool__(self) -> bool:
        """Whether anything was edited."""
        return self.title is not None or bool(self.answers)


class Decision(Record):
    """What one person decided about one pull request; `patch` is the digest of its change."""

    version: Literal[1] = VERSION
    pr: str = Field(min_length=1, max_length=512)
    patch: str = Field(pattern=r"^[0-9a-f]{64}$")
    decision: Choice
    # Why it was rejected.
    reason: str = Field(default="", max_length=200)
    note: str = Field(default="", max_length=4000)
    edits: Edits = Edits()
    by: str = Field(default="", max_length=MAX_NAME)
    at: str

    @property
    def key(self) -> tuple[str, str]:
        """Return what a file has one decision for, and by what it is ordered."""
        return self.pr, self.patch

    @property
    def rank(self) -> tuple[datetime, bool, str]:
        """Return which of two decisions counts: the newer one, else the rejection."""
        rejected = self.decision is Choice.REJECTED
        return parse_moment(self.at), rejected, self.model_dump_json()

    @field_validator("at")
    @classmethod
    def _check_moment(cls, text: str) -> str:
        try:
            # A moment at the end of time has none in UTC to be compared by.
            parse_moment(text).astimezone(UTC)
        except (ValueError, OverflowError) as error:
            msg = f"must be an RFC 3339 time, got {text!r}"
            raise ValueError(msg) from error
        return text

    @model_validator(mode="after")
    def _check_edits(self) -> Decision:
        if self.edits and self.decision is Choice.REJECTED:
            raise ValueError("must have no `edits` where `decision` is Rejected")
        return self


@dataclass(frozen=True)
class Conflict:
    """Two decisions about one pull request that come to different things."""

    kept: Decision
    overruled: Decision

    def __str__(self) -> str:
        """Return a line for people, with nothing in it that a terminal would obey."""
        kept, other = _describe(self.kept), _describe(self.overruled)
        line = f"{self.kept.pr}: {kept} counts, not {other}"
        return "".join(each if each.isprintable() else "?" for each in line)


@dataclass(frozen=True)
class Merged:
    """One decision per pull request, in the order of a file."""

    decisions: tuple[Decision, ...]
    conflicts: tuple[Conflict, ...] = ()


def merge_decisions(*files: Iterable[Decision]) -> Merged:
    """Bring several files together; of two decisions about one pull request, the newer counts.

    The order of files and lines makes no difference.
    """
    groups: dict[tuple[str, str], list[Decision]] = {}
    for decision in (each for file in files for each in file):
        groups.setdefault(decision.key, []).append(decision)
    kept = {key: max(group, key=attrgetter("rank")) for key, group in groups.items()}
    conflicts = [
        Conflict(kept[key], other)
        for key, group in sorted(groups.items())
        for _, other in sorted({each.rank: each for each in group}.items())
        if _says(other) != _says(kept[key])
    ]
    return Merged(tuple(kept[key] for key in sorted(kept)), tuple(conflicts))


def dump_decisions(decisions: Iterable[Decision]) -> str:
    """Return the text of a file: one line per decision, in the order of ids."""
    lines = (
        decision.model_dump_json(exclude_defaults=True)
        for decision in sorted(decisions, key=attrgetter("key"))
    )
    return "".join(f'{{"version":{VERSION},{line[1:]}\n' for line in lines)


def load_decisions(paths: Iterable[Path], field: str) -> Merged:
    """Read and merge files of decisions; `field` names them in errors.

    Raises:
        InputError: A file is absent, or a line of it is no decision.
    """
    return merge_decisions(*(parse_decisions(_read(path, field), path) for path in paths))


def parse_decisions(content: bytes, path: Path) -> Iterator[Decision]:
    """Yield the decisions of a file.

    Raises:
        InputError: Names the line that is none.
    """
    for number, line in enumerate(content.split(b"\n"), 1):
        if line.strip():
            yield _parse_line(line, f"{path}:{number}")


def _parse_line(line: bytes, origin: str) -> Decision:
    if line.startswith(_MARKERS):
        msg = (
            f"{origin}: must be a decision, got a conflict that git left; bring both versions "
            "together with `tunebench dataset merge-decisions`"
        )
        raise InputError(msg, reason="InvalidDecision")
    try:
        return Decision.model_validate_json(line)
    except ValidationError as error:
        msg = f"{origin}: must be a decision: {describe_validation_error(error)}"
        raise InputError(msg, reason="InvalidDecision") from error


def _read(path: Path, field: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        msg = f"`{field}` must name a file of decisions that can be read, got `{path}`: {error}"
        raise InputError(msg, reason="FileNotFound") from error


def _says(decision: Decision) -> tuple[Choice, Edits]:
    """Return what a decision comes to, whoever wrote it in whichever words."""
    return decision.decision, decision.edits


def _describe(decision: Decision) -> str:
    edits = " with edits" if decision.edits else ""
    return f"{decision.decision}{edits} by {decision.by or 'somebody'} at {decision.at}"
