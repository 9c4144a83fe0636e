"""Apply what people decided to the pull requests that it was decided about."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter

from tunebench_jobs.data.decisions import Choice, Decision, Edits
from tunebench_jobs.data.drops import DETAIL_CHARACTERS, DroppedRow, RowDrop
from tunebench_jobs.data.opened import Row, RowLike
from tunebench_jobs.rows import ChangedFile, PullRequest


@dataclass(frozen=True)
class Subject:
    """What the decision about a pull request is found by."""

    id: str
    patch: str


@dataclass(frozen=True)
class Matched:
    """Decisions with the subjects that they hold for, by place in their list.

    The pull request of a stale decision changes something else by now; that of an unknown one is
    gone. Neither is applied.
    """

    by_place: Mapping[int, Decision]
    stale: tuple[Decision, ...]
    unknown: tuple[Decision, ...]


@dataclass(frozen=True)
class Applied:
    """Rows after the decisions; `accepted` and `edited` are ids of kept rows."""

    kept: tuple[RowLike, ...]
    dropped: tuple[DroppedRow, ...]
    accepted: tuple[str, ...]
    edited: tuple[str, ...]
    stale: tuple[Decision, ...]
    unknown: tuple[Decision, ...]


def build_subject(pr: PullRequest) -> Subject:
    """Return what decisions about a pull request are found by."""
    return Subject(pr.id, build_patch_key(pr.files, pr.id))


def build_patch_key(files: Iterable[ChangedFile], identity: str) -> str:
    """Return the digest by which decisions know what a pull request changes.

    The order of its files, the place and context of its hunks, and white space make no difference.
    Decisions are kept for years, so that this must never give another digest than it did. Where no
    line tells the change, as with binary files, `identity` stands for it.
    """
    blocks, has_lines = [], False
    for file in files:
        squeezed = ("".join(line.split()) for line in file.patch.split("\n"))
        lines = [line for line in squeezed if line[:1] in {"+", "-"} and len(line) > 1]
        has_lines = has_lines or bool(lines)
        blocks.append("\n".join([file.status, file.previous_path or "", file.path, *lines]))
    text = "\0".join(sorted(blocks)) if has_lines else f"id\0{identity}"
    return hashlib.sha256(text.encode()).hexdigest()


def match_decisions(subjects: Sequence[Subject], decisions: Iterable[Decision]) -> Matched:
    """Find the decision of each subject.

    That about the same id and change goes first. What is left is found by the change alone, the
    newest first, because a set that is built anew may name its pull requests differently.
    """
    by_key = {decision.key: decision for decision in decisions}
    exact = {(each.id, each.patch) for each in subjects} & by_key.keys()
    left = [decision for key, decision in by_key.items() if key not in exact]
    by_patch = {each.patch: each for each in sorted(left, key=attrgetter("rank"))}
    found = {
        place: decision
        for place, each in enumerate(subjects)
        if (decision := by_key.get((each.id, each.patch)) or by_patch.get(each.patch))
    }
    used = {decision.key for decision in found.values()}
    ids = {each.id for each in subjects}
    unused = [by_key[key] for key in sorted(by_key.keys() - used)]
    return Matched(
        found,
        stale=tuple(each for each in unused if each.pr in ids),
        unknown=tuple(each for each in unused if each.pr not in ids),
    )


def apply_decisions(rows: Sequence[RowLike], decisions: Iterable[Decision]) -> Applied:
    """Leave out what was rejected, and replace what was edited; all else stays as it is."""
    matched = match_decisions([build_subject(row.pr) for row in rows], decisions)
    kept: list[RowLike] = []
    dropped: list[DroppedRow] = []
    accepted: list[str] = []
    edited: list[str] = []
    for place, row in enumerate(rows):
        decision = matched.by_place.get(place)
        if decision is None:
            kept.append(row)
        elif decision.decision is Choice.REJECTED:
            dropped.append(build_rejection(row, decision))
        else:
            kept.append(edit_row(row, decision.edits))
            accepted.append(row.pr.id)
            edited += [row.pr.id] if decision.edits else []
    return Applied(
        tuple(kept), tuple(dropped), tuple(accepted), tuple(edited), matched.stale, matched.unknown
    )


def build_rejection(row: RowLike, decision: Decision) -> DroppedRow:
    """Return why a row is left out, in the words of who rejected it."""
    who = f"by {decision.by or 'a person'}"
    detail = ": ".join(each for each in (who, decision.reason, decision.note) if each)
    return DroppedRow(
        "eval", row.origin, row.pr.id, RowDrop.REJECTED, detail=detail[:DETAIL_CHARACTERS]
    )


def edit_row(row: RowLike, edits: Edits) -> RowLike:
    """Return a row with a person's words in the place of its own."""
    if not edits:
        return row
    title = row.pr.title if edits.title is None else edits.title
    answers = {**row.pr.answers, **edits.answers}
    pr = row.pr.model_copy(update={"title": title, "answers": answers})
    return Row(pr, row.origin, edited_tools=frozenset(edits.answers))
