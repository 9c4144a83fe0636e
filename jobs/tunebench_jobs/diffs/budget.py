"""Diffs that are longer than a model may read: what PR-Agent then shows of them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from tunebench_jobs.diffs.blocks import build_block, build_compressed_block
from tunebench_jobs.diffs.clipping import clip_text
from tunebench_jobs.diffs.deletions import is_gone, omit_deletion_hunks
from tunebench_jobs.diffs.options import DiffOptions, PromptFormat, find_encoding
from tunebench_jobs.rows import ChangedFile
from tunebench_jobs.tokens import Encoding, count_bytes, count_tokens

# As many requests PR-Agent makes for Improve.
MAX_CHUNKS = 3

# A list of names gets room only if more tokens than these are left.
_LEAST_FOR_A_LIST = 10


@dataclass(frozen=True)
class DiffFacts:
    """What a prompt does not show of a pull request.

    Attributes:
        compressed: The diff was over the budget, so context and hunks that only remove are gone.
        clipped: Files, or lists of files, that were cut in the middle.
        left_out: Files of which no line is shown.
        chunks: Requests that PR-Agent would spread the diff over; a prompt has the first.
    """

    compressed: bool = False
    clipped: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    chunks: int = 1

    @property
    def is_whole(self) -> bool:
        """Whether nothing was taken away for want of room."""
        return not self.compressed and self.chunks == 1


@dataclass(frozen=True)
class RenderedDiff:
    """The text of a diff, and what it does not show."""

    text: str
    facts: DiffFacts


@dataclass(frozen=True)
class Budget:
    """Tokens that a prompt with its answer may have.

    Attributes:
        limit: All of them; 0 is no limit.
        build_prompt: Renders the texts of the prompt without the diff, the one that other prompts
            share first; asked only where there is a limit.
        style: Whose buffers for the answer and whose tokenizer to use.
    """

    limit: int
    build_prompt: Callable[[], Sequence[str]]
    style: PromptFormat
    # What was counted before: compressing asks again.
    _counts: dict[str, int] = field(default_factory=dict, repr=False, compare=False)

    @property
    def encoding(self) -> Encoding:
        """The tokenizer that PR-Agent counts with."""
        return find_encoding(self.style)

    @property
    def soft_limit(self) -> int:
        """What leaves a comfortable room for the answer."""
        return self.limit - (1000 if self.style == "2024" else 1500)

    @property
    def hard_limit(self) -> int:
        """What leaves some room for the answer."""
        return self.limit - (600 if self.style == "2024" else 1000)

    def count(self, text: str) -> int:
        """Count the tokens of a text."""
        if text not in self._counts:
            self._counts[text] = count_tokens(text, self.encoding)
        return self._counts[text]

    def holds(self, blocks: Sequence[str]) -> bool:
        """Whether the whole diff fits; counts only where the length of the texts leaves it open."""
        if not self.limit:
            return True
        # A token stands for one byte or more.
        if sum(map(count_bytes, (*self.build_prompt(), *blocks))) < self.soft_limit:
            return True
        return sum(map(self.count, blocks)) < self.soft_limit - self.prompt_tokens()

    def prompt_tokens(self) -> int:
        """Count the prompt without the diff."""
        shared, *others = self.build_prompt()
        return _count_again(shared, self.encoding) + sum(map(self.count, others))


@lru_cache(maxsize=64)
def _count_again(text: str, encoding: Encoding) -> int:
    """Count a text that many prompts share."""
    return count_tokens(text, encoding)


@dataclass
class _Lists:
    """Names of the files that are not shown."""

    added: list[str] = field(default_factory=list)
    modified: list[str] = field(default_factory=list)
    deleted: list[str] = field(default_factory=list)

    def titled(self) -> list[tuple[str, list[str]]]:
        """Return the lists in their order, each with its title."""
        more = "(insufficient token budget to process):\n"
        return [
            (f"Additional added files {more}", self.added),
            (f"Additional modified files {more}", self.modified),
            ("Deleted files:\n", self.deleted),
        ]


def compress_diff(
    groups: Sequence[Sequence[tuple[ChangedFile, str]]],
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
    files = _sort_by_length(groups, budget)
    for file in files:
        if is_gone(file, budget.style):
            _add_once(lists.deleted, file.path)
            continue
        patch = omit_deletion_hunks(file.patch)
        counted = patch
        if numbered:
            counted = build_block(file, patch, numbered=True, style=budget.style)
        if total > budget.hard_limit:
            continue
        if total + budget.count(counted) > budget.soft_limit:
            _add_once(lists.added if file.status == "added" else lists.modified, file.path)
        elif counted:
            block = build_compressed_block(file, patch, numbered=numbered, style=budget.style)
            total += budget.count(block)
            blocks.append(block)
            shown.add(file.path)
    if budget.style == "HEAD":
        lists = _list_unshown(files, shown)
    text, clipped = _add_lists("\n".join(blocks), lists, total, budget)
    left_out = _list_paths(file for group in groups for file, _ in group if file.path not in shown)
    return RenderedDiff(text, DiffFacts(compressed=True, clipped=clipped, left_out=left_out))


def chunk_diff(
    groups: Sequence[Sequence[tuple[ChangedFile, str]]],
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
    files = ordered if budget.style == "2024" else _sort_by_length(groups, budget)
    clipped: dict[str, None] = {}
    for file in files:
        if len(chunks) > MAX_CHUNKS:
            break
        if is_gone(file, budget.style):
            continue
        patch = omit_deletion_hunks(file.patch)
        block = (build_block if numbered else build_compressed_block)(
            file, patch, numbered=numbered, style=budget.style
        )
        room = budget.soft_limit - prompt
        if budget.count(block) > room:
            block = _clip_block(block, room, budget, options)
            clipped[file.path] = None
        tokens = budget.count(block)
        if not block:
            continue
        if total + tokens > budget.soft_limit:
            chunks.append([])
            total = prompt
        chunks[-1].append((file, block))
        total += tokens
    shown = {file.path for file, _ in chunks[0]}
    left_out = _list_paths(file for file in files if file.path not in shown)
    cut = tuple(path for path in clipped if path in shown)
    text = "\n".join(block for _, block in chunks[0])
    return RenderedDiff(
        text, DiffFacts(compressed=True, clipped=cut, left_out=left_out, chunks=len(chunks))
    )


def _clip_block(block: str, room: int, budget: Budget, options: DiffOptions) -> str:
    if options.large_patch_policy == "skip":
        return ""
    clipped = clip_text(block, room, budget.encoding, delete_last_line=True)
    return clipped if budget.count(clipped) <= room else ""


def _sort_by_length(
    groups: Sequence[Sequence[tuple[ChangedFile, str]]], budget: Budget
) -> list[ChangedFile]:
    ranked = []
    for group in groups:
        lengths = {id(file): budget.count(block) for file, block in group}
        ranked += sorted((file for file, _ in group), key=lambda file: -lengths[id(file)])
    return ranked


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
            _add_once(lists.added if file.status == "added" else lists.modified, file.path)
    return lists


def _add_once(paths: list[str], path: str) -> None:
    if path not in paths:
        paths.append(path)


def _list_paths(files: Iterable[ChangedFile]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(file.path for file in files))
