"""Key-value memory for sequences that come and go: one slot each, packed from the front.

Each sequence is written at its own length, so that no step copies what earlier steps wrote, and a
sequence that joins or leaves moves nothing but its own slot (and the last one into the gap).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from transformers.cache_utils import Cache, CacheLayerMixin

_GROWTH_TOKENS = 256

# Keys and values of one layer, each [sequences, heads, tokens, width].
LayerState = tuple[Any, Any]


class SlotLayer(CacheLayerMixin):  # type: ignore[misc]  # transformers has no types
    """One layer's keys and values in all slots."""

    def __init__(self, slots: Slots) -> None:
        """Share the lengths of `slots`; memory comes with the first sequence."""
        super().__init__()
        self._slots = slots

    def lazy_initialization(self, key_states: Any, value_states: Any) -> None:
        """Take memory in the shape of these states; zeros, as masked NaN would still spread."""
        slots = self._slots
        self.keys, self.values = (
            torch.zeros(
                (slots.capacity, state.shape[1], slots.width, state.shape[3]),
                dtype=state.dtype,
                device=state.device,
            )
            for state in (key_states, value_states)
        )
        self.is_initialized = True

    def update(self, key_states: Any, value_states: Any, *_: Any, **__: Any) -> LayerState:
        """Write one token of every sequence at its end, and return all that there is."""
        rows, ends, used = self._slots.rows, self._slots.ends, self._slots.used
        self.keys[rows, :, ends] = key_states[:, :, 0]
        self.values[rows, :, ends] = value_states[:, :, 0]
        return self.keys[: len(rows), :, :used], self.values[: len(rows), :, :used]

    def store(self, slot: int, state: LayerState) -> None:
        """Copy the keys and values of one sequence into a slot."""
        if not self.is_initialized:
            self.lazy_initialization(*state)
        length = state[0].shape[2]
        self.keys[slot, :, :length] = state[0][0]
        self.values[slot, :, :length] = state[1][0]

    def move(self, source: int, target: int, length: int) -> None:
        """Copy one slot over another."""
        self.keys[target, :, :length] = self.keys[source, :, :length]
        self.values[target, :, :length] = self.values[source, :, :length]

    def grow(self) -> None:
        """Widen the memory to the width of `slots`."""
        if self.is_initialized:
            before = self.keys, self.values
            self.lazy_initialization(*before)
            self.keys[:, :, : before[0].shape[2]] = before[0]
            self.values[:, :, : before[1].shape[2]] = before[1]

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Return the width of the mask and its offset."""
        return self._slots.used - 1 + query_length, 0

    def get_seq_length(self) -> int:
        """Return the length of the longest sequence before this step."""
        return self._slots.used - 1

    def get_max_length(self) -> int:
        """Say that there is no limit."""
        return -1


class Slots:
    """The sequences of a batch, with the arguments that a decoding step needs."""

    def __init__(self, capacity: int) -> None:
        """Reserve nothing yet; `capacity` is the most sequences at once."""
        self.capacity = capacity
        self.width = 0
        self.lengths: list[int] = []
        # Of the step at hand.
        self.rows: Any = None
        self.ends: Any = None
        self.used = 0
        self._layers: list[SlotLayer] = []

    def add(self, states: Sequence[LayerState]) -> int:
        """Put a sequence behind the others and return its slot."""
        slot, length = len(self.lengths), states[0][0].shape[2]
        self._reserve(length + 1)
        if not self._layers:
            self._layers = [SlotLayer(self) for _ in states]
        for layer, state in zip(self._layers, states, strict=True):
            layer.store(slot, state)
        self.lengths.append(length)
        return slot

    def remove(self, slot: int) -> None:
        """Give a slot back; the last sequence takes its place."""
        last = len(self.lengths) - 1
        if slot != last:
            for layer in self._layers:
                layer.move(last, slot, self.lengths[last])
            self.lengths[slot] = self.lengths[last]
        self.lengths.pop()

    def begin_step(self) -> Cache:
        """Make room for one more token of every sequence, and return the cache to step with."""
        self.used = max(self.lengths) + 1
        self._reserve(self.used)
        device = self._layers[0].keys.device
        self.rows = torch.arange(len(self.lengths), device=device)
        self.ends = torch.tensor(self.lengths, device=device)
        return Cache(layers=self._layers)

    def end_step(self) -> None:
        """Count the token that the step wrote for every sequence."""
        self.lengths = [length + 1 for length in self.lengths]

    def build_mask(self, dtype: Any, window: int | None = None) -> Any:
        """Build the additive mask [sequences, 1, 1, used] that hides what lies behind each end.

        With a window, it hides what lies further back than that, too.
        """
        places = torch.arange(self.used, device=self.ends.device)
        hidden = places > self.ends[:, None]
        if window is not None:
            hidden |= places <= self.ends[:, None] - window
        mask = torch.zeros(hidden.shape, dtype=dtype, device=hidden.device)
        mask.masked_fill_(hidden, -torch.inf)
        return mask[:, None, None, :]

    def _reserve(self, tokens: int) -> None:
        if tokens > self.width:
            # Doubling keeps the copies rare.
            wanted = max(tokens, 2 * self.width)
            self.width = -(-wanted // _GROWTH_TOKENS) * _GROWTH_TOKENS
            for layer in self._layers:
                layer.grow()
