"""What the engine is asked for, and what it gives back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Sampling:
    """How the tokens of one completion are chosen; temperature 0 takes the likeliest."""

    max_tokens: int
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0
    stop: tuple[str, ...] = ()


@dataclass(frozen=True)
class Piece:
    """New text of a completion; `finish_reason` is set in the last piece.

    It is `stop`, `length`, or `error` where the engine broke down.
    """

    text: str
    completion_tokens: int
    finish_reason: str | None = None


@dataclass(frozen=True, eq=False)
class Request:
    """A completion to compute; `emit` is called from the engine's thread."""

    adapter: int | None
    prompt_ids: Sequence[int]
    sampling: Sampling
    emit: Callable[[Piece], None]
    # Without it, one piece comes at the end.
    stream: bool = False

    @property
    def most_tokens(self) -> int:
        """Return how long prompt and completion can get."""
        return len(self.prompt_ids) + self.sampling.max_tokens
