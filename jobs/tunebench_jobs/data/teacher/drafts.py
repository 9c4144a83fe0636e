"""A training prompt on its way to an example."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Generic, Self, TypeVar

from tunebench_api.v1alpha1 import Tool
from tunebench_jobs.data.drops import DETAIL_CHARACTERS, Finding, RowDrop
from tunebench_jobs.prompts import Messages

ItemT = TypeVar("ItemT")
OtherT = TypeVar("OtherT")

# What is wrong with an answer, beyond its schema.
Check = Callable[[str], Finding | None]


@dataclass(frozen=True)
class Draft(Generic[ItemT]):
    """A prompt for one tool with its answer, or why it will have none; `item` is the caller's.

    With neither answer nor finding it is open, and a teacher may write the answer.
    """

    item: ItemT
    tool: Tool
    messages: Messages
    answer: str | None = None
    finding: Finding | None = None
    # Whether Describe was asked for `pr_files`.
    semantic_files: bool = True
    check: Check | None = None
    # Of the messages, if they are known.
    tokens: int | None = None

    @property
    def is_open(self) -> bool:
        """Whether somebody has to write the answer."""
        return self.answer is None and self.finding is None

    def carry(self, item: OtherT) -> Draft[OtherT]:
        """Return the same draft for another item."""
        return Draft(
            item=item,
            tool=self.tool,
            messages=self.messages,
            answer=self.answer,
            finding=self.finding,
            semantic_files=self.semantic_files,
            check=self.check,
            tokens=self.tokens,
        )

    def drop(self, reason: RowDrop, detail: str = "") -> Self:
        """Return the draft with the reason why it is not used."""
        return replace(self, finding=Finding(reason, detail[:DETAIL_CHARACTERS]))
