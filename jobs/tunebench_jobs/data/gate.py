"""Keep training and evaluation apart: no pull request may be in both."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence

from tunebench_jobs.data.load import Row
from tunebench_jobs.errors import InputError
from tunebench_jobs.rows import PullRequest

_SHOWN = 5


def build_patch_digest(pr: PullRequest) -> str:
    """Return a name for what a pull request changes, whatever its context and spaces."""
    # Without changed lines, as in a renaming, there is nothing to recognise but the id.
    changed = any(file.patch for file in pr.files)
    text = "\0".join(_list_changes(pr)) if changed else pr.id
    return hashlib.sha256(text.encode()).hexdigest()


def check_unique(rows: Sequence[Row], field: str) -> None:
    """Refuse a set in which two rows have one id.

    Raises:
        InputError: Names both rows.
    """
    seen: dict[str, Row] = {}
    for row in rows:
        earlier = seen.setdefault(row.pr.id, row)
        if earlier is not row:
            msg = (
                f"`id` must be unique in `{field}`, got `{row.pr.id}` in {earlier.origin} and "
                f"{row.origin}; remove one of them"
            )
            raise InputError(msg, reason="DuplicateId")


def check_contamination(train: Sequence[Row], evaluation: Sequence[Row]) -> None:
    """Refuse training on what the evaluation asks.

    Raises:
        InputError: Names the rows that are in both sets.
    """
    shared = [f"{row.origin} and {held.origin}" for row, held in find_shared(train, evaluation)]
    if shared:
        shown = "; ".join(shared[:_SHOWN])
        msg = (
            f"`spec.dataset.train` must not hold pull requests of `spec.dataset.eval`, got "
            f"{len(shared)} with the same id or the same patch: {shown}; remove them from one"
        )
        raise InputError(msg, reason="Contaminated")


def find_shared(train: Sequence[Row], evaluation: Sequence[Row]) -> list[tuple[Row, Row]]:
    """Return the training rows whose id or patch an evaluation row has, each with that row."""
    ids = {row.pr.id: row for row in evaluation}
    patches = {build_patch_digest(row.pr): row for row in evaluation}
    found = ((row, ids.get(row.pr.id) or patches.get(build_patch_digest(row.pr))) for row in train)
    return [(row, held) for row, held in found if held is not None]


def _list_changes(pr: PullRequest) -> Iterator[str]:
    for file in sorted(pr.files, key=lambda file: file.path):
        yield f"{file.status} {file.previous_path or ''} {file.path}"
        for line in file.patch.split("\n"):
            changed = "".join(line.split())
            if changed[:1] in {"+", "-"} and len(changed) > 1:
                yield changed
