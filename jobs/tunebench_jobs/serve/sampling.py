"""The choice of the next token, for each request by its own settings and random numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from tunebench_jobs.serve.request import Sampling


class Chooser:
    """Chooses one completion's tokens; its random numbers depend on no other completion."""

    def __init__(self, sampling: Sampling) -> None:
        """Start the random numbers from the seed."""
        self._sampling = sampling
        self._generator = torch.Generator().manual_seed(sampling.seed)

    @property
    def greedy(self) -> bool:
        """Whether no random number is needed."""
        return self._sampling.temperature == 0

    def choose(self, logits: Any) -> int:
        """Draw a token from one row of logits."""
        # Scaled after the maximum is taken off, so that tiny temperatures stay finite.
        scaled = (logits.float() - logits.max()).double() / self._sampling.temperature
        weights = scaled.softmax(-1)
        if self._sampling.top_p < 1:
            weights = _keep_likeliest(weights, self._sampling.top_p)
        return int(torch.multinomial(weights, 1, generator=self._generator))


def choose_tokens(logits: Any, choosers: Sequence[Chooser]) -> list[int]:
    """Choose the next token of each row; `logits` has a row for each chooser."""
    tokens: list[int] = logits.argmax(-1).tolist()
    for index, chooser in enumerate(choosers):
        if not chooser.greedy:
            tokens[index] = chooser.choose(logits[index])
    return tokens


def _keep_likeliest(weights: Any, top_p: float) -> Any:
    """Drop the tokens beyond the smallest set that has probability `top_p` together."""
    ordered, indices = weights.sort(descending=True)
    dropped = ordered.cumsum(-1) - ordered >= top_p
    # The likeliest one stays, whatever `top_p` is.
    dropped[0] = False
    return torch.zeros_like(weights).scatter(0, indices, ordered.masked_fill(dropped, 0))
