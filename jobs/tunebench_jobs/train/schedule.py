"""Which examples every worker sees in every optimizer step, and at what learning rate.

Pure functions of the seed and the lengths: every worker computes the same schedule, and a run that
resumes at a step goes on with the same examples.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tunebench_jobs.train.packing import build_packed_rows

# Steps of similar lengths are cut from windows of this many steps: little padding, still shuffled.
_WINDOW_STEPS = 8


@dataclass(frozen=True)
class MicroBatch:
    """Examples of one forward pass; one that does not count only keeps its worker in step."""

    indices: tuple[int, ...]
    counts: bool = True


@dataclass(frozen=True)
class Step:
    """One optimizer step: the micro-batches of each worker, equally many."""

    workers: tuple[tuple[MicroBatch, ...], ...]

    @property
    def indices(self) -> tuple[int, ...]:
        """The examples of the step over all workers."""
        return tuple(
            index
            for batches in self.workers
            for batch in batches
            if batch.counts
            for index in batch.indices
        )


@dataclass(frozen=True)
class Sizes:
    """How examples are dealt out."""

    batch: int
    micro_batch: int
    workers: int
    # Most tokens of a micro-batch whose examples share one row; absent: each has a row.
    row_tokens: int | None = None


def count_steps(examples: int, *, batch: int, epochs: int, limit: int | None) -> int:
    """Return the number of optimizer steps of a run."""
    steps = math.ceil(examples / batch) * epochs
    return steps if limit is None else min(steps, limit)


def build_steps(
    lengths: Sequence[int], sizes: Sizes, *, seed: int, first: int, end: int
) -> Iterator[Step]:
    """Yield the steps `first` to `end` (exclusive) of a run."""
    per_epoch = math.ceil(len(lengths) / sizes.batch)
    for epoch in range(first // per_epoch, math.ceil(end / per_epoch)):
        steps = _build_epoch(lengths, sizes, seed=seed, epoch=epoch)
        start = epoch * per_epoch
        yield from steps[max(first - start, 0) : end - start]


def build_learning_rate(step: int, *, total: int, warmup: int, peak: float) -> float:
    """Return the rate of a step from 0: up in a line to the peak, then down in a line to zero."""
    if step < warmup:
        return peak * (step + 1) / warmup
    return peak * (total - step) / (total - min(warmup, total - 1))


def _build_epoch(lengths: Sequence[int], sizes: Sizes, *, seed: int, epoch: int) -> list[Step]:
    """Shuffle, sort by length within windows, cut into steps, and shuffle the steps."""
    # A string seeds the same on every platform and Python.
    generator = random.Random(f"{seed}:{epoch}")  # noqa: S311 - order, not secrecy
    order = list(range(len(lengths)))
    generator.shuffle(order)
    window = sizes.batch * _WINDOW_STEPS
    cuts: list[list[int]] = []
    for start in range(0, len(order), window):
        part = sorted(order[start : start + window], key=lambda index: lengths[index])
        cuts += [part[at : at + sizes.batch] for at in range(0, len(part), sizes.batch)]
    generator.shuffle(cuts)
    return [_deal(cut, lengths, sizes) for cut in cuts]


def _deal(indices: Sequence[int], lengths: Sequence[int], sizes: Sizes) -> Step:
    """Cut a step into micro-batches, equally many for all workers."""
    if sizes.row_tokens is None:
        # Neighbours in length go together.
        size = min(sizes.micro_batch, math.ceil(len(indices) / sizes.workers))
        groups = [list(indices[at : at + size]) for at in range(0, len(indices), size)]
    else:
        groups = build_packed_rows(
            indices, lengths, capacity=sizes.row_tokens, workers=sizes.workers
        )
    batches = [MicroBatch(tuple(group)) for group in groups]
    while len(batches) % sizes.workers:
        batches.append(MicroBatch((indices[0],), counts=False))
    return Step(tuple(tuple(batches[rank :: sizes.workers]) for rank in range(sizes.workers)))
