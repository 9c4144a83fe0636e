"""Keys and values of prompts seen lately, so that a shared beginning is computed once."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Sequence
from typing import Any

from tunebench_jobs.serve.slots import LayerState

# Below this, looking up and joining costs more than computing.
MIN_SHARED_TOKENS = 32


class Prefixes:
    """The latest prompts, up to a number of bytes; keys and values belong to one adapter each."""

    def __init__(self, limit_bytes: int) -> None:
        """Start empty."""
        self._limit = limit_bytes
        self._bytes = 0
        self._kept: OrderedDict[tuple[Hashable, tuple[int, ...]], list[LayerState]] = OrderedDict()

    def find(self, adapter: Hashable, ids: Sequence[int]) -> list[LayerState] | None:
        """Return the states of the longest known beginning that leaves a token to compute."""
        best, best_key = 0, None
        for key in self._kept:
            if key[0] == adapter and (shared := count_shared(key[1], ids)) > best:
                best, best_key = shared, key
        best = min(best, len(ids) - 1)
        if best_key is None or best < MIN_SHARED_TOKENS:
            return None
        self._kept.move_to_end(best_key)
        return [(keys[:, :, :best], values[:, :, :best]) for keys, values in self._kept[best_key]]

    def add(self, adapter: Hashable, ids: Sequence[int], states: list[LayerState]) -> None:
        """Keep a prompt's states, and forget the ones used longest ago where room is short."""
        key = (adapter, tuple(ids))
        size = _count_bytes(states)
        if key in self._kept or size > self._limit:
            return
        self._kept[key] = states
        self._bytes += size
        while self._bytes > self._limit:
            self._bytes -= _count_bytes(self._kept.popitem(last=False)[1])


def count_shared(left: Sequence[int], right: Sequence[int]) -> int:
    """Return how many tokens two prompts share from the start."""
    for index, (one, other) in enumerate(zip(left, right, strict=False)):
        if one != other:
            return index
    return min(len(left), len(right))


def _count_bytes(states: Sequence[LayerState]) -> int:
    return sum(_count_tensor_bytes(keys) + _count_tensor_bytes(values) for keys, values in states)


def _count_tensor_bytes(tensor: Any) -> int:
    return int(tensor.numel() * tensor.element_size())
