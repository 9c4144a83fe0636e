"""A diff over its budget in one request: the files that fit, and the names of the others."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from tunebench_jobs.diffs.blocks import build_block, build_compressed_block
from tunebench_jobs.diffs.budget import (
    Blocks,
    Budget,
    DiffFacts,
    RenderedDiff,
    list_paths,
    sort_by_length,
)
from tunebench_jobs.diffs.clipping import clip_text
from tunebench_jobs.diffs.deletions import is_gone, omit_deletion_hunks
from tunebench_jobs.rows import ChangedFile

# A list of names gets room only if more tokens than these are left.
_LEAST_FOR_A_LIST = 10


@dataclass
class _Lists:
    """Names of the files that are not shown."""

    added: dict[str, None] = field(default_factory=dict)
    modified: dict[str, None] = field(default_factory=dict)
    deleted: dict[str, None] = field(default_factory=dict)

    def add(self, file: ChangedFile) -> None:
        """Note a file that is still there, once."""
        paths = self.added if file.status == "added" else self.modified
        paths[file.path] = None

    def titled(self) -> list[tuple[str, Collection[str]]]:
        """Return the lists in their order, each with its title."""
        more = "(insufficient token budget to process):\n"
        return [
            (f"Additional added files {more}", self.added),
            (f"Additional modified files {more}", self.modified),
            ("Deleted files:\n", self.deleted),
        ]


def compress_diff(
    groups: Sequence[Blocks],
    budget: Budget,
    *,
    numbered: bool,
) -> RenderedDiff:
    """Show as many files as fit, the longest of each group first, and list the others.

    Args:
        groups: The files of each language, with the block that the whole diff has of each.
        budget: What they must fit in.
        numbered: Whether hunks are split into new and old lines.
    """
    total = budget.prompt_tokens()
    blocks: list[str] = []
    shown: set[str] = set()
    lists = _Lists()
    files = sort_by_length(groups, budget)
    for file in files:
        if is_gone(file, budget.style):
            lists.deleted[file.path] = None
            continue
        patch = omit_deletion_hunks(file.patch)
        counted = patch
        if numbered:
            counted = build_block(file, patch, numbered=True, style=budget.style)
        if total > budget.hard_limit:
            continue
        if total + budget.count(counted) > budget.soft_limit:
            lists.add(file)
        elif counted:
            block = build_compressed_block(file, patch, numbered=numbered, style=budget.style)
            total += budget.count(block)
            blocks.append(block)
            shown.add(file.path)
    if budget.style == "HEAD":
        lists = _list_unshown(files, shown)
    text, clipped = _add_lists("\n".join(blocks), lists, total, budget)
    left_out = list_paths(file for group in groups for file, _ in group if file.path not in shown)
    return RenderedDiff(text, DiffFacts(compressed=True, clipped=clipped, left_out=left_out))


def _add_lists(text: str, lists: _Lists, total: int, budget: Budget) -> tuple[str, tuple[str, ...]]:
    """Add the names of files that are not shown while there is room; return what was cut too."""
    clipped = []
    for title, paths in lists.titled():
        room = budget.hard_limit - total
        if not paths or room <= _LEAST_FOR_A_LIST:
            continue
        whole = title + ("\n" if budget.style == "HEAD" else "") + "\n".join(paths)
        part = clip_text(whole, room, budget.encoding)
        if part != whole:
            clipped.append(title.strip())
        if part:
            text = f"{text}\n\n{part}"
            total += budget.count(part) + 2
    return text, tuple(clipped)


def _list_unshown(files: Sequence[ChangedFile], shown: Collection[str]) -> _Lists:
    """List as HEAD does: all that is not shown, but deleted files nowhere."""
    lists = _Lists()
    for file in files:
        if file.path not in shown and file.status != "removed":
            lists.add(file)
    return lists
