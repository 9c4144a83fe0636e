"""One model with its adapters, as a machine that reads prompts and steps all sequences at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from transformers import DynamicCache

from tunebench_jobs.errors import InputError
from tunebench_jobs.serve.adapters import Route
from tunebench_jobs.serve.prefixes import Prefixes
from tunebench_jobs.serve.slots import LayerState, Slots

_PREFIX_BYTES = 256 << 20
_ATTENTION_KINDS = frozenset({"full_attention", "sliding_attention"})


class Decoder:
    """Reads prompts one by one (a prompt alone keeps a CPU busy), decodes all sequences together.

    Sequences are numbered from 0 without a gap: when one leaves, the last one takes its number.
    """

    def __init__(self, model: Any, route: Route, *, batch_size: int) -> None:
        """Take a model in eval mode, with the route of its adapters."""
        self._model = model
        self._route = route
        self._adapters: list[int | None] = []
        self._slots = Slots(batch_size)
        self._window = find_window(model)
        self._prefixes = Prefixes(_PREFIX_BYTES)
        self.batch_size = batch_size

    def read_prompt(self, adapter: int | None, ids: Sequence[int]) -> Any:
        """Add a sequence at the end and return the logits [1, vocabulary] of its next token."""
        known = self._prefixes.find(adapter, ids)
        cache = DynamicCache()
        for index, (keys, values) in enumerate(known or ()):
            cache.update(keys, values, index)
        start = cache.get_seq_length()
        self._route.choose([adapter], self._model.dtype, self._model.device)
        logits = self._compute(
            torch.tensor([ids[start:]]), torch.arange(start, len(ids))[None], cache
        )
        states: list[LayerState] = [(layer.keys, layer.values) for layer in cache.layers]
        self._prefixes.add(adapter, ids, states)
        self._slots.add(states)
        self._adapters.append(adapter)
        return logits

    def step(self, tokens: Sequence[int]) -> Any:
        """Append a token to each sequence and return the logits of the next ones."""
        cache = self._slots.begin_step()
        self._route.choose(self._adapters, self._model.dtype, self._model.device)
        mask = self._slots.build_mask(self._model.dtype, self._window)
        logits = self._compute(
            torch.tensor(tokens)[:, None], self._slots.ends[:, None], cache, mask
        )
        self._slots.end_step()
        return logits

    def remove(self, index: int) -> None:
        """Forget a sequence; the last one takes its number."""
        self._slots.remove(index)
        last = self._adapters.pop()
        if index < len(self._adapters):
            self._adapters[index] = last

    def _compute(self, ids: Any, positions: Any, cache: Any, mask: Any = None) -> Any:
        """Return the logits behind the last of `ids`; without a mask, attention is causal."""
        device = self._model.device
        with torch.inference_mode():
            logits = self._model(
                input_ids=ids.to(device),
                attention_mask=mask,
                position_ids=positions.to(device),
                past_key_values=cache,
                use_cache=True,
                logits_to_keep=1,
            ).logits[:, -1]
            # Sampling is done on the CPU; there, this copies nothing.
            return logits.float().cpu()


def find_context_limit(model: Any) -> int:
    """Return how many tokens a prompt and its completion may have together.

    Raises:
        InputError: The model keeps a memory other than keys and values.
    """
    config = model.config.get_text_config()
    kinds = set(getattr(config, "layer_types", None) or ()) - _ATTENTION_KINDS
    if kinds or getattr(model, "_is_stateful", False):
        msg = (
            f"models of type `{config.model_type}` are not supported yet by the transformers "
            f"engine: layers must be full or sliding attention, got {sorted(kinds) or 'a state'}"
        )
        raise InputError(msg, reason="ModelNotSupported")
    limits = [config.max_position_embeddings]
    if find_window(model) is None:
        # Where only some layers slide: within its window, sliding attention is full attention.
        limits.append(getattr(config, "sliding_window", None))
    return min(int(limit) for limit in limits if limit)


def find_window(model: Any) -> int | None:
    """Return how far back all layers look, the token itself included; None: not one for all."""
    config = model.config.get_text_config()
    window = getattr(config, "sliding_window", None)
    kinds = set(getattr(config, "layer_types", None) or ["sliding_attention"])
    return int(window) if window and kinds == {"sliding_attention"} else None


def count_token_bytes(model: Any) -> int:
    """Return the size of one token's keys and values, at most."""
    config = model.config.get_text_config()
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    if getattr(config, "multi_query", False):
        heads = 1
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return int(2 * config.num_hidden_layers * heads * width * model.dtype.itemsize)
