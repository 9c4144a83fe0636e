"""In which way two pull requests are the same."""

from __future__ import annotations

from dataclasses import dataclass

from tunebench_api.contamination import MatchKind

_TO_THE_WORD = frozenset({MatchKind.SAME_ID, MatchKind.SAME_PATCH, MatchKind.NORMALISED_PATCH})


@dataclass(frozen=True)
class Match:
    """`key` names what was found; `similarity` is 1 for what is the same to the word."""

    key: str
    kind: MatchKind
    similarity: float = 1.0

    @property
    def is_exact(self) -> bool:
        """Whether it is the same change to the word."""
        return self.kind in _TO_THE_WORD

    @property
    def detail(self) -> str:
        """What a dropped row says of it, such as `of acme/shop#1 (NearDuplicate, 0.91)`."""
        return f"of {self.key} ({self.kind}{'' if self.is_exact else f', {self.similarity:.2f}'})"
