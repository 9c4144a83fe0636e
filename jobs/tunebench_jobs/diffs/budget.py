"""How many tokens a prompt may have, and what a diff lost for it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from tunebench_jobs.diffs.options import PromptFormat, find_encoding
from tunebench_jobs.rows import ChangedFile
from tunebench_jobs.tokens import Encoding, count_bytes, count_tokens

# A file with the block that the whole diff has of it; the files of one language together.
Blocks = Sequence[tuple[ChangedFile, str]]


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


def sort_by_length(groups: Sequence[Blocks], budget: Budget) -> list[ChangedFile]:
    """Return the files with the longest of each language first."""
    ranked: list[ChangedFile] = []
    for group in groups:
        longest_first = sorted(group, key=lambda each: -budget.count(each[1]))
        ranked += [file for file, _ in longest_first]
    return ranked


def list_paths(files: Iterable[ChangedFile]) -> tuple[str, ...]:
    """Return the path of each file, each once."""
    return tuple(dict.fromkeys(file.path for file in files))
