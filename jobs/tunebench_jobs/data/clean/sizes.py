"""Files that are no text, diffs that are too large, and pull requests that change nothing."""

from __future__ import annotations

from tunebench_jobs.data.clean.changes import has_changes
from tunebench_jobs.data.drops import Finding, RowDrop
from tunebench_jobs.rows import ChangedFile, PullRequest
from tunebench_jobs.tokens import count_bytes

_NOTES = ("Binary files ", "GIT binary patch", "Binary file ")
_SUBMODULE = "Subproject commit "


def is_binary(file: ChangedFile) -> bool:
    """Whether a file is no text: the row says so, git does, or it has a NUL as git's rule is."""
    patch = file.patch
    return file.is_binary or patch.startswith(_NOTES) or "\0" in patch


def is_submodule(file: ChangedFile) -> bool:
    """Whether a file is a pointer to a commit of another repository."""
    patch = file.patch
    return f"+{_SUBMODULE}" in patch or f"-{_SUBMODULE}" in patch


def find_size_problem(pr: PullRequest, *, max_kib: int, max_files: int) -> Finding | None:
    """Return why a diff is too large to be read as one change, or nothing."""
    if len(pr.files) > max_files:
        return Finding(RowDrop.TOO_LARGE, f"{len(pr.files)} files, {max_files} are allowed")
    size = sum(count_bytes(file.patch) for file in pr.files)
    if size > max_kib * 1024:
        return Finding(
            RowDrop.TOO_LARGE, f"{(size + 1023) // 1024} KiB of diff, {max_kib} are allowed"
        )
    return None


def find_no_change(pr: PullRequest) -> Finding | None:
    """Say so if no line of text changes: moves and modes only, or space at line ends."""
    return None if has_changes(pr.files) else Finding(RowDrop.NO_CHANGE)
