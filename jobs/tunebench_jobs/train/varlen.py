"""One kernel for all examples of a packed row, on hardware that has it.

PyTorch's own variable-length attention (FlashAttention or cuDNN, whichever PyTorch prefers there)
takes the whole row at once, where `segments` calls a kernel for each example. It is used where the
device is of a kind that has it and where, tried out on that device, it gives what the other gives.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch

from tunebench_jobs.train.anatomy import find_head_size
from tunebench_jobs.train.segments import attend_by_segments

logger = logging.getLogger(__name__)

# NVIDIA Ampere, the first with FlashAttention.
_FIRST_CAPABILITY = (8, 0)
_LARGEST_HEAD = 256
_TRIED_LENGTHS = (37, 5, 64)
# Both round to bfloat16, each in its own order.
_TOLERANCE = 0.05


@dataclass(frozen=True)
class AttentionFacts:
    """What decides which kernel may attend."""

    device: str
    capability: tuple[int, int] | None
    dtype: torch.dtype
    head_size: int
    dropout: float = 0.0


def can_take_rows(facts: AttentionFacts) -> bool:
    """Return whether hardware, format and model are such that one kernel may take whole rows."""
    return (
        facts.device == "cuda"
        and facts.capability is not None
        and facts.capability >= _FIRST_CAPABILITY
        and facts.dtype in {torch.bfloat16, torch.float16}
        and facts.head_size % 8 == 0
        and facts.head_size <= _LARGEST_HEAD
        # The kernel drops no attention weights.
        and facts.dropout == 0.0
    )


def find_facts(model: Any, device: torch.device, dtype: torch.dtype) -> AttentionFacts:
    """Return what is known of a model that goes to a device, to compute in a format."""
    config = model.config
    cuda = device.type == "cuda"
    return AttentionFacts(
        device=device.type,
        capability=torch.cuda.get_device_capability(device) if cuda else None,
        dtype=dtype,
        head_size=find_head_size(config),
        dropout=max(
            float(getattr(config, name, 0.0) or 0.0) for name in ("attention_dropout", "attn_pdrop")
        ),
    )


def try_rows(model: Any, device: torch.device, dtype: torch.dtype) -> bool:
    """Return whether, for numbers of the shape of the model's, both ways give the same."""
    config = model.config
    heads = config.num_attention_heads
    shared = getattr(config, "num_key_value_heads", None) or heads
    size = find_head_size(config)
    window = getattr(config, "sliding_window", None) and 16
    generator = torch.Generator().manual_seed(0)
    shapes = ((1, count, sum(_TRIED_LENGTHS), size) for count in (heads, shared, shared))
    query, key, value = (
        torch.randn(shape, generator=generator).to(device, dtype) for shape in shapes
    )
    layer = _Layer(heads // shared)
    settings: dict[str, Any] = {"segments": _TRIED_LENGTHS, "sliding_window": window}
    try:
        found, _ = attend_to_rows(layer, query, key, value, None, **settings)
    except (ImportError, RuntimeError, TypeError, ValueError) as error:
        logger.warning("attention goes example by example: %s", error)
        return False
    expected, _ = attend_by_segments(layer, query, key, value, None, **settings)
    if torch.allclose(found.float(), expected.float(), rtol=_TOLERANCE, atol=_TOLERANCE):
        return True
    logger.warning("attention goes example by example: the kernel for rows gives other results")
    return False


def attend_to_rows(  # noqa: PLR0913, PLR0917 - the signature that transformers calls
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
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """Attend within each segment of a row, as `attend_by_segments` does."""
    from torch.nn.attention.varlen import varlen_attn  # noqa: PLC0415 - newer than the oldest torch

    del module, attention_mask, dropout
    bounds, longest = _build_bounds(tuple(segments), query.device), max(segments)
    # One row: its tokens become the first dimension. Turning may have widened queries and keys.
    asking, seen, told = (part[0].transpose(0, 1).to(value.dtype) for part in (query, key, value))
    output = varlen_attn(
        asking,
        seen,
        told,
        bounds,
        bounds,
        longest,
        longest,
        scale=scaling,
        window_size=(-1 if sliding_window is None else sliding_window - 1, 0),
        enable_gqa=query.shape[1] != key.shape[1],
    )
    return output.unsqueeze(0), None


@lru_cache(maxsize=8)
def _build_bounds(segments: tuple[int, ...], device: torch.device) -> torch.Tensor:
    """Return where the segments begin and end; all blocks of a forward pass share it."""
    lengths = torch.tensor((0, *segments), device=device)
    return lengths.cumsum(0).to(torch.int32)


@dataclass(frozen=True)
class _Layer:
    """What the plain way asks of an attention layer."""

    num_key_value_groups: int
    is_causal: bool = True
