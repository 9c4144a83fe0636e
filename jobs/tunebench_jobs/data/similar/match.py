"""In which way two pull requests are the same."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class MatchKind(StrEnum):
    """What two pull requests share, the strictest first."""

    SAME_ID = "SameId"
    # The same lines in the same files; context, line numbers and spaces aside.
    SAME_PATCH = "SamePatch"
    # The names of the files aside, too.
    NORMALISED_PATCH = "NormalisedPatch"
    # Most runs of five words.
    NEAR_DUPLICATE = "NearDuplicate"
    # A fifth of the evaluation's runs of 13 words.
    WORD_RUNS = "WordRuns"


@dataclass(frozen=True)
class Match:
    """`key` names what was found; `similarity` is 1 for what is the same."""

    key: str
    kind: MatchKind
    similarity: float = 1.0

    @property
    def detail(self) -> str:
        """What a dropped row says of it."""
        likeness = "" if self.similarity == 1 else f" {self.similarity:.2f}"
        return f"of {self.key} ({self.kind}{likeness})"
