"""The training state in pieces with names, so that any number of workers can go on with it.

A worker holds spans of flattened parameters, each with its optimizer moments: the whole of every
parameter with plain data parallelism, a part of some with ZeRO. It writes what it holds as one
safetensors file, its shard. Whoever reads says which spans it needs, and gets them from whichever
shards have them.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from tunebench_jobs.errors import InputError

# AdamW's, by its own names.
MOMENTS = ("exp_avg", "exp_avg_sq")
# What an AdamW step needs of a parameter, besides how many there were.
PARTS = ("value", *MOMENTS)


class Span(NamedTuple):
    """A run of numbers of a flattened parameter."""

    start: int
    length: int

    @property
    def end(self) -> int:
        """The first number that is no longer part of it."""
        return self.start + self.length

    def overlap(self, other: Span) -> Span:
        """Return what both have; nothing has a length of 0."""
        start = max(self.start, other.start)
        return Span(start, max(0, min(self.end, other.end) - start))


Spans = Mapping[str, Span]


@dataclass(frozen=True)
class Piece:
    """A span of a parameter with its moments, flat and in host memory."""

    span: Span
    value: torch.Tensor
    exp_avg: torch.Tensor
    exp_avg_sq: torch.Tensor


# By the parameter's name in the model.
Shard = Mapping[str, Piece]


def copy_to_host(tensor: torch.Tensor) -> torch.Tensor:
    """Return a flat copy that no later step changes."""
    return tensor.detach().reshape(-1).to("cpu", copy=True)


def build_counter(optimizer: torch.optim.AdamW, parameter: torch.Tensor, step: int) -> torch.Tensor:
    """Return how many steps an optimizer has taken, where it looks for that."""
    # A fused AdamW keeps its counter beside the parameter.
    place = parameter.device if optimizer.defaults["fused"] else "cpu"
    return torch.tensor(float(step), device=place)


def list_spans(shard: Shard) -> dict[str, Span]:
    """Return what a shard holds."""
    return {name: piece.span for name, piece in shard.items()}


def save_shard(shard: Shard, path: Path) -> None:
    """Write a shard, which lies on the disk when this returns."""
    tensors = {
        f"{name}|{part}": getattr(piece, part) for name, piece in shard.items() for part in PARTS
    }
    save_file(tensors, path)
    with path.open("rb+") as file:
        os.fsync(file.fileno())


class State:
    """All shards of a training state, open for reading."""

    def __init__(self, shards: Sequence[tuple[Any, Spans]]) -> None:
        """Read from open safetensors files, each with what it holds."""
        self._shards = shards

    def read(self, name: str, wanted: Span) -> Piece:
        """Return a span of a parameter, put together from the shards that have it.

        Raises:
            InputError: They do not have all of it.
        """
        parts = {part: torch.empty(wanted.length) for part in PARTS}
        found = 0
        for file, spans in self._shards:
            held = spans.get(name, Span(0, 0))
            common = held.overlap(wanted)
            if common.length == 0:
                continue
            found += common.length
            there = slice(common.start - held.start, common.end - held.start)
            for part, target in parts.items():
                source = file.get_slice(f"{name}|{part}")[there]
                target[common.start - wanted.start : common.end - wanted.start] = source
        if found != wanted.length:
            msg = (
                f"resume point must have {wanted.length} numbers of `{name}`, got {found}; remove "
                "the folder `work` of this training's output, and it starts from nothing"
            )
            raise InputError(msg, reason="ResumePointBroken")
        return Piece(wanted, **parts)


@contextmanager
def open_state(shards: Sequence[tuple[Path, Spans]]) -> Iterator[State]:
    """Open shards for reading, each with what it holds."""
    with ExitStack() as files:
        opened = [
            (files.enter_context(safe_open(path, framework="pt")), spans) for path, spans in shards
        ]
        yield State(opened)
