"""Rows out of what GitHub told."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from tunebench_jobs.data.drops import DETAIL_CHARACTERS
from tunebench_jobs.data.file_languages import find_main_language
from tunebench_jobs.data.git_pulls import CommitDrop
from tunebench_jobs.data.github.errors import Refusal
from tunebench_jobs.data.github.models import PullDetails, PullFile, PullHead, Repository
from tunebench_jobs.data.names import find_path_problem, neutralise_prose
from tunebench_jobs.rows import ChangedFile, PullRequest

_MAX_PATH = 4096
# `changed` is a change of mode; `unchanged` files are not part of a row.
_STATUS: Mapping[str, Literal["added", "modified", "removed", "renamed"]] = {
    "added": "added",
    "changed": "modified",
    "copied": "added",
    "modified": "modified",
    "removed": "removed",
    "renamed": "renamed",
}
# Git's name of a file without content.
_EMPTY = "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391"
UNANSWERED = "Unanswered"


@dataclass(frozen=True)
class DroppedPull:
    """A merged pull request that gives no row."""

    id: str
    reason: str
    detail: str = ""


def build_pull(
    repository: Repository, head: PullHead, details: PullDetails | None, *, texts: bool
) -> PullRequest | DroppedPull:
    """Build the row of a pull request, or say why there is none."""
    name = f"{repository.name}#{head.number}"
    if details is None:
        return DroppedPull(name, UNANSWERED, "GitHub fails at it; start again to ask again")
    if details.refusal is not None:
        return DroppedPull(name, str(details.refusal), details.detail)
    files = [file for file in details.files if file.status in _STATUS]
    if not files:
        return DroppedPull(name, str(CommitDrop.NO_CHANGE))
    if any(len(path) > _MAX_PATH for file in files for path in (file.path, file.previous_path)):
        return DroppedPull(name, str(Refusal.BROKEN), "a path is longer than any file system has")
    if problem := next(_find_path_problems(files), None):
        return DroppedPull(name, str(CommitDrop.UNSAFE_NAME), problem)
    pull = PullRequest(
        id=name,
        repository=repository.name,
        title=head.title,
        description=head.body,
        branch=head.branch,
        language=find_main_language((file.path, file.changes) for file in files),
        merged_at=head.merged_at,
        license=repository.license,
        author=head.author,
        url=head.url,
        commit=head.commit,
        fork_of=repository.fork_of,
        languages=repository.languages,
        commits=details.commits,
        files=tuple(_build_file(file, texts=texts) for file in files),
    )
    return neutralise_prose(pull)


def _find_path_problems(files: Sequence[PullFile]) -> Iterator[str]:
    """Yield what is wrong with names that could deceive a reader or a program."""
    for path in (path for file in files for path in (file.path, file.previous_path) if path):
        if problem := find_path_problem(path):
            yield f"a path {problem}, got {path!a}"[:DETAIL_CHARACTERS]


def _build_file(file: PullFile, *, texts: bool) -> ChangedFile:
    return ChangedFile(
        path=file.path,
        status=_STATUS[file.status],
        previous_path=file.previous_path or None,
        patch=file.patch or "",
        old_text=file.old_text if texts else None,
        new_text=file.new_text if texts else None,
        is_binary=_is_binary(file),
    )


def _is_binary(file: PullFile) -> bool:
    """Whether the content changed without a line; GitHub does not say so in words."""
    if file.patch or file.changes or file.sha == _EMPTY:
        return False
    return file.status in {"added", "modified", "removed"}
