"""Attention in a row of several examples: each example attends to itself alone.

There is no mask of all tokens by all tokens: each example's part of the row goes through
transformers' own scaled dot-product attention, which has fast kernels for the causal case on every
kind of hardware. A row costs what its examples cost alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from tunebench_jobs.errors import InputError
from tunebench_jobs.train.anatomy import find_inner

SEGMENTED = "tunebench_segmented"


def use_segments(model: Any, attend: Callable[..., Any] | None = None) -> None:
    """Let a model attend by segments, whose lengths each forward pass is then given.

    `attend` is another way to do what `attend_by_segments` does.

    Raises:
        InputError: The model's attention cannot be replaced.
    """
    AttentionInterface.register(SEGMENTED, attend or attend_by_segments)
    AttentionMaskInterface.register(SEGMENTED, _build_no_mask)
    inner = find_inner(model)
    inner.set_attn_implementation(SEGMENTED)
    if inner.config._attn_implementation != SEGMENTED:  # noqa: SLF001 - the only place that says it
        msg = (
            f"`tuning.packing` must be None for {type(inner).__name__}, whose attention cannot "
            "be kept apart by example"
        )
        raise InputError(msg, reason="PackingUnsupported")


def attend_by_segments(  # noqa: PLR0913, PLR0917 - the signature that transformers calls
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    *,
    segments: Sequence[int],
    sliding_window: int | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """Attend within each segment of a row.

    Args:
        module: The attention layer.
        query: Of shape (1, heads, tokens, head size).
        key: Of shape (1, key-value heads, tokens, head size).
        value: Likewise.
        attention_mask: None: there is no padding.
        dropout: Share of the attention weights to drop.
        scaling: Factor of the scores; absent: one over the root of the head size.
        segments: Tokens of each example, in the order of the row.
        sliding_window: How far back a token looks, itself included; absent: to the beginning.
        kwargs: What else a model passes on.

    Returns:
        The output of shape (1, tokens, heads, head size), and no weights.
    """
    parts = zip(*(each.split(list(segments), dim=2) for each in (query, key, value)), strict=True)
    outputs = []
    for part_query, part_key, part_value in parts:
        length = part_query.shape[2]
        mask = attention_mask
        if sliding_window is not None and length > sliding_window:
            mask = _build_window(length, sliding_window, query.device)
        output, _ = sdpa_attention_forward(
            module, part_query, part_key, part_value, mask, dropout, scaling, **kwargs
        )
        outputs.append(output)
    return torch.cat(outputs, dim=1), None


def build_positions(segments: Sequence[int], device: Any) -> torch.Tensor:
    """Return each token's place in its example, of shape (1, tokens)."""
    return torch.cat([torch.arange(length, device=device) for length in segments]).unsqueeze(0)


def _build_no_mask(*_: Any, **__: Any) -> None:
    """Spare the mask that transformers builds for other kinds of attention."""


def _build_window(length: int, window: int, device: Any) -> torch.Tensor:
    places = torch.arange(length, device=device)
    back = places[:, None] - places[None, :]
    return ((back >= 0) & (back < window))[None, None]
