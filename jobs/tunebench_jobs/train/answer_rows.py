"""The last block computes the positions that predict an answer, and of the others what these see.

Behind the last block nothing looks at a prompt's positions: only their keys and values count. Its
queries, its output projection and its feed-forward part are computed where an answer is predicted.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import torch
from torch import nn
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.models.gemma.modeling_gemma import GemmaDecoderLayer
from transformers.models.llama.modeling_llama import LlamaDecoderLayer
from transformers.models.mistral.modeling_mistral import MistralDecoderLayer
from transformers.models.qwen2.modeling_qwen2 import Qwen2DecoderLayer

from tunebench_jobs.train.anatomy import find_inner

# How far back a token of such a block looks; absent: to the beginning.
_WINDOWS: Mapping[type, Callable[[Any], int | None]] = MappingProxyType(
    {
        LlamaDecoderLayer: lambda _: None,
        GemmaDecoderLayer: lambda _: None,
        MistralDecoderLayer: lambda attention: attention.config.sliding_window,
        Qwen2DecoderLayer: lambda attention: attention.sliding_window,
    }
)


def use_answer_rows(model: Any) -> bool:
    """Let the last block of a model compute chosen positions; return whether it can.

    A forward pass that is given `answer_rows` then returns these positions only.
    """
    inner = find_inner(model)
    layers = getattr(getattr(inner, "model", None), "layers", None)
    if not isinstance(layers, nn.ModuleList) or type(layers[-1]) not in _WINDOWS:
        return False
    block = layers[-1]
    if not block.self_attn.is_causal:
        return False
    block.forward = _build_forward(block)
    return True


def _build_forward(block: Any) -> Callable[..., torch.Tensor]:
    whole = block.forward

    def forward(
        hidden_states: torch.Tensor, *args: Any, answer_rows: Any = None, **kwargs: Any
    ) -> torch.Tensor:
        if answer_rows is None:
            result: torch.Tensor = whole(hidden_states, *args, **kwargs)
            return result
        attended = _attend(
            block.self_attn,
            block.input_layernorm(hidden_states),
            answer_rows,
            kwargs["position_embeddings"],
            segments=kwargs.get("segments"),
            window=_WINDOWS[type(block)](block.self_attn),
        )
        chosen = hidden_states[:, answer_rows] + attended
        return chosen + block.mlp(block.post_attention_layernorm(chosen))

    return forward


def _attend(  # noqa: PLR0913 - what attention depends on
    attention: Any,
    hidden: torch.Tensor,
    rows: torch.Tensor,
    angles: tuple[torch.Tensor, torch.Tensor],
    *,
    segments: Sequence[int] | None,
    window: int | None,
) -> torch.Tensor:
    """Return what the attention layer gives for some rows, of shape (batch, rows, hidden size)."""
    rotate = inspect.getmodule(type(attention)).apply_rotary_pos_emb  # type: ignore[union-attr] # it has one
    query = _project(attention.q_proj, hidden[:, rows], attention.head_dim)
    key = _project(attention.k_proj, hidden, attention.head_dim)
    value = _project(attention.v_proj, hidden, attention.head_dim)
    cosine, sine = angles
    # It rotates two at once, and here they have different places: the other one is left empty.
    query, _ = rotate(query, query[:, :0], cosine[:, rows], sine[:, rows])
    key, _ = rotate(key, key[:, :0], cosine, sine)
    lengths = [hidden.shape[1]] if segments is None else list(segments)
    ends = torch.tensor(lengths, device=rows.device).cumsum(0)
    counts = torch.searchsorted(rows, ends).diff(prepend=ends.new_zeros(1)).tolist()
    outputs, start = [], 0
    parts = zip(rows.split(counts), query.split(counts, 2), strict=True)
    for (places, asking), length in zip(parts, lengths, strict=True):
        seen = slice(start, start + length)
        start += length
        if not len(places):
            continue
        output, _ = sdpa_attention_forward(
            attention,
            asking,
            key[:, :, seen],
            value[:, :, seen],
            _build_mask(places - seen.start, length, window),
            attention.attention_dropout if attention.training else 0.0,
            attention.scaling,
        )
        outputs.append(output)
    result: torch.Tensor = attention.o_proj(torch.cat(outputs, dim=1).flatten(2))
    return result


def _project(layer: Any, hidden: torch.Tensor, size: int) -> torch.Tensor:
    """Return the heads of a projection, of shape (batch, heads, tokens, head size)."""
    return layer(hidden).view(*hidden.shape[:-1], -1, size).transpose(1, 2)


def _build_mask(places: torch.Tensor, length: int, window: int | None) -> torch.Tensor:
    """Return what each place sees of its example, of shape (1, 1, places, tokens)."""
    back = places[:, None] - torch.arange(length, device=places.device)[None, :]
    seen = back >= 0 if window is None else (back >= 0) & (back < window)
    return seen[None, None]
