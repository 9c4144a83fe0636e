"""An engine of training whose losses are written down beforehand."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch

from tunebench_jobs.train.loss import Rows
from tunebench_jobs.train.shards import Piece, Shard, Span, Spans, State


class ScriptedEngine:
    """Takes the place of a model; each optimizer step has the next loss of the script."""

    def __init__(self, losses: Sequence[float]) -> None:
        """Begin with the first loss."""
        self._losses = list(losses)

    def accumulate(self, rows: Rows, *, weight: float, last: bool) -> float:
        """Return the loss of the current step, for all tokens of the rows."""
        del weight, last
        return self._losses[0] * rows.count_learnt()

    def evaluate(self, rows: Rows) -> tuple[float, ...]:
        """Return the loss of the current step for each token."""
        return (self._losses[0],) * rows.count_learnt()

    def step(self, learning_rate: float) -> float | None:
        """Go on to the next loss; the last one stays."""
        del learning_rate
        self._losses = self._losses[1:] or self._losses
        return None

    @property
    def shards(self) -> int:
        """There is one script."""
        return 1

    @property
    def spans(self) -> Spans:
        """One number stands for the state."""
        return {"script": Span(0, 1)}

    def copy_state(self) -> Shard:
        """Leave something to go on from."""
        return {"script": Piece(Span(0, 1), *(torch.zeros(1) for _ in range(3)))}

    def restore(self, state: State, step: int) -> None:
        """Go on from there."""
        del state, step

    def trained(self) -> Iterator[tuple[str, torch.Tensor]]:
        """Yield nothing: there are no parameters."""
        yield from ()
