"""What a diff over its budget no longer shows: deleted files, and hunks that only remove."""

from __future__ import annotations

from tunebench_jobs.diffs.hunks import parse_header
from tunebench_jobs.diffs.options import PromptFormat
from tunebench_jobs.rows import ChangedFile


def is_gone(file: ChangedFile, style: PromptFormat) -> bool:
    """Whether PR-Agent calls a file deleted; in 2024 it did so of emptied ones too."""
    if file.new_text or file.status == "added":
        return False
    return file.status == "removed" or (style == "2024" and file.new_text is not None)


def omit_deletion_hunks(patch: str) -> str:
    """Leave out hunks that add nothing, as the original does.

    It keeps those that a hunk with added lines follows, so that only trailing ones vanish.
    """
    kept: list[str] = []
    pending: list[str] = []
    inside = adds = False
    for line in patch.splitlines():
        if parse_header(line):
            if inside and adds:
                kept += pending
                pending, adds = [], False
            inside = True
        elif line.startswith("@@"):
            continue
        adds = adds or line.startswith("+")
        pending.append(line)
    if inside and adds:
        kept += pending
    return "\n".join(kept)
