"""The training loss: how surprised a model is by the tokens of the answers, and by nothing else."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import nn

from tunebench_jobs.chat import IGNORED_LABEL
from tunebench_jobs.train.anatomy import find_inner
from tunebench_jobs.train.segments import build_positions


class Rows(NamedTuple):
    """Ids and labels of a micro-batch, of shape (rows, tokens).

    `segments` are the tokens of each example where all share one row; absent: a row has one.
    """

    ids: torch.Tensor
    labels: torch.Tensor
    segments: tuple[int, ...] | None = None

    def count_learnt(self) -> int:
        """Count the tokens that have a label."""
        return int((self.labels != IGNORED_LABEL).sum())

    def pin(self) -> Rows:
        """Return them in memory from which a GPU copies while it computes."""
        return self._replace(ids=self.ids.pin_memory(), labels=self.labels.pin_memory())

    def to(self, device: Any) -> Rows:
        """Return them on a device; from pinned memory, nobody waits for it."""
        return self._replace(
            ids=self.ids.to(device, non_blocking=True),
            labels=self.labels.to(device, non_blocking=True),
        )


class Tokenized(Protocol):
    """An example as tokens, in whatever holds them."""

    @property
    def input_ids(self) -> Any:
        """All tokens."""
        ...

    @property
    def labels(self) -> Any:
        """As many; what is not learnt is `IGNORED_LABEL`."""
        ...


class AnswerLoss(nn.Module):  # type: ignore[misc] # torch has no types here
    """A model that returns the summed loss of a micro-batch.

    Only the positions that predict an answer's token go through the output layer, which is a fifth
    of the work in a small model with a large vocabulary, and, where the model was prepared for it
    (`use_answer_rows`), through most of the last block.
    """

    def __init__(
        self, model: Any, *, autocast: torch.dtype | None, answer_rows: bool = False
    ) -> None:
        """Wrap a causal language model; `autocast` is the format of its arithmetic."""
        super().__init__()
        self.model = model
        self.autocast = autocast
        self.answer_rows = answer_rows
        inner = find_inner(model)
        self.sparse = "logits_to_keep" in inspect.signature(inner.forward).parameters

    def forward(
        self,
        input_ids: torch.Tensor,
        labels: torch.Tensor,
        segments: Sequence[int] | None = None,
        *,
        each: bool = False,
    ) -> torch.Tensor:
        """Return the sum of the cross-entropies of all labelled tokens, or `each` of them.

        No attention mask is needed: rows are padded on the right, where causal attention never
        looks, and without a mask the attention kernels take their fast path.
        """
        targets = labels[:, 1:]
        keep = (targets != IGNORED_LABEL).any(dim=0).nonzero().flatten()
        apart: dict[str, Any] = {}
        if segments is not None:
            places = build_positions(segments, input_ids.device)
            apart = {"position_ids": places, "segments": segments}
        with torch.autocast(input_ids.device.type, self.autocast, enabled=bool(self.autocast)):
            if self.answer_rows:
                logits = self.model(
                    input_ids=input_ids, use_cache=False, answer_rows=keep, **apart
                ).logits
            elif self.sparse:
                logits = self.model(
                    input_ids=input_ids, use_cache=False, logits_to_keep=keep, **apart
                ).logits
            else:
                logits = self.model(input_ids=input_ids, use_cache=False, **apart).logits[:, keep]
        targets = targets[:, keep]
        learnt = targets != IGNORED_LABEL
        kind = "none" if each else "sum"
        return nn.functional.cross_entropy(logits[learnt].float(), targets[learnt], reduction=kind)


def compute_token_losses(module: Any, rows: Rows) -> tuple[float, ...]:
    """Return the loss of each learnt token, without dropout and without gradients.

    `module` is an `AnswerLoss`, or what an engine made of one.
    """
    module.eval()
    with torch.no_grad():
        losses: list[float] = module(*rows, each=True).tolist()
    module.train()
    return tuple(losses)


def build_rows(examples: Sequence[Tokenized], padding: int, device: Any) -> Rows:
    """Give each example of a micro-batch a row, padded on the right to the longest."""
    longest = max(len(example.input_ids) for example in examples)
    ids = np.full((len(examples), longest), padding, dtype=np.int64)
    labels = np.full_like(ids, IGNORED_LABEL)
    for row, example in enumerate(examples):
        ids[row, : len(example.input_ids)] = example.input_ids
        labels[row, : len(example.labels)] = example.labels
    return Rows(torch.from_numpy(ids), torch.from_numpy(labels)).to(device)


def build_packed_row(examples: Sequence[Tokenized], device: Any) -> Rows:
    """Put all examples of a micro-batch into one row, one behind the other."""
    segments = tuple(len(each.input_ids) for each in examples)
    ids = np.concatenate([each.input_ids for each in examples]).astype(np.int64)
    labels = np.concatenate([each.labels for each in examples]).astype(np.int64)
    # The last token of an example does not predict the first of the next.
    labels[np.cumsum((0, *segments[:-1]))] = IGNORED_LABEL
    return Rows(torch.from_numpy(ids[None]), torch.from_numpy(labels[None]), segments).to(device)
