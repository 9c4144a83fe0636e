"""The training loss: how surprised a model is by the tokens of the answers, and by nothing else."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import nn

from tunebench_jobs.chat import IGNORED_LABEL, Example


class AnswerLoss(nn.Module):  # type: ignore[misc] # torch has no types here
    """A model that returns the summed loss of a micro-batch.

    Only the positions that predict an answer's token go through the output layer, which is a fifth
    of the work in a small model with a large vocabulary.
    """

    def __init__(self, model: Any, *, autocast: torch.dtype | None) -> None:
        """Wrap a causal language model; `autocast` is the format of its arithmetic."""
        super().__init__()
        self.model = model
        self.autocast = autocast
        inner = model.get_base_model() if hasattr(model, "get_base_model") else model
        self.sparse = "logits_to_keep" in inspect.signature(inner.forward).parameters

    def forward(self, input_ids: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Return the sum of the cross-entropies of all labelled tokens.

        No attention mask is needed: rows are padded on the right, where causal attention never
        looks, and without a mask the attention kernels take their fast path.
        """
        targets = labels[:, 1:]
        keep = (targets != IGNORED_LABEL).any(dim=0).nonzero().flatten()
        with torch.autocast(input_ids.device.type, self.autocast, enabled=bool(self.autocast)):
            if self.sparse:
                logits = self.model(
                    input_ids=input_ids, use_cache=False, logits_to_keep=keep
                ).logits
            else:
                logits = self.model(input_ids=input_ids, use_cache=False).logits[:, keep]
        targets = targets[:, keep]
        learnt = targets != IGNORED_LABEL
        return nn.functional.cross_entropy(logits[learnt].float(), targets[learnt], reduction="sum")


def build_rows(
    examples: list[Example], padding: int, device: Any
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return ids and labels of a micro-batch, padded on the right to its longest example."""
    longest = max(len(example.input_ids) for example in examples)
    ids = torch.full((len(examples), longest), padding)
    labels = torch.full((len(examples), longest), IGNORED_LABEL)
    for row, example in enumerate(examples):
        ids[row, : len(example.input_ids)] = torch.tensor(example.input_ids)
        labels[row, : len(example.labels)] = torch.tensor(example.labels)
    return ids.to(device), labels.to(device)
