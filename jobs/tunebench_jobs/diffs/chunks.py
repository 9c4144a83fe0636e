"""A diff over its budget in several requests, as Improve makes them."""

from __future__ import annotations

from collections.abc import Sequence

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
from tunebench_jobs.diffs.options import DiffOptions
from tunebench_jobs.rows import ChangedFile

# So many requests are filled; what then remains begins one more.
_MAX_FILLED = 3


def chunk_diff(
    groups: Sequence[Blocks],
    budget: Budget,
    *,
    numbered: bool,
    options: DiffOptions,
) -> RenderedDiff:
    """Spread a diff over several requests, and return the first one's.

    Args:
        groups: The files of each language, with the block that the whole diff has of each.
        budget: What each request must fit in.
        numbered: Whether hunks are split into new and old lines.
        options: What becomes of a file that is too long by itself.
    """
    total = prompt = budget.prompt_tokens()
    chunks: list[list[tuple[ChangedFile, str]]] = [[]]
    # In 2024 the order is that of the pull request: the lengths were not known yet.
    ordered = [file for group in groups for file, _ in group]
    files = ordered if budget.style == "2024" else sort_by_length(groups, budget)
    build = build_block if numbered else build_compressed_block
    clipped: list[str] = []
    for file in files:
        if len(chunks) > _MAX_FILLED:
            break
        if is_gone(file, budget.style):
            continue
        patch = omit_deletion_hunks(file.patch)
        whole = build(file, patch, numbered=numbered, style=budget.style)
        block = _clip_block(whole, budget.soft_limit - prompt, budget, options)
        if not block:
            continue
        if block != whole:
            clipped.append(file.path)
        tokens = budget.count(block)
        if total + tokens > budget.soft_limit:
            chunks.append([])
            total = prompt
        chunks[-1].append((file, block))
        total += tokens
    shown = {file.path for file, _ in chunks[0]}
    left_out = list_paths(file for file in files if file.path not in shown)
    cut = tuple(path for path in clipped if path in shown)
    text = "\n".join(block for _, block in chunks[0])
    return RenderedDiff(
        text, DiffFacts(compressed=True, clipped=cut, left_out=left_out, chunks=len(chunks))
    )


def _clip_block(block: str, room: int, budget: Budget, options: DiffOptions) -> str:
    if budget.count(block) <= room:
        return block
    if options.large_patch_policy == "skip":
        return ""
    clipped = clip_text(block, room, budget.encoding, delete_last_line=True)
    return clipped if budget.count(clipped) <= room else ""
