"""The micro-batches of each step as tensors, in the order of the schedule."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from tunebench_jobs.train.examples import TrainSet
from tunebench_jobs.train.loss import Rows
from tunebench_jobs.train.schedule import MicroBatch, Step
from tunebench_jobs.train.token_table import TokenRow, TokenTable

Build = Callable[[list[TokenRow]], Rows]


@dataclass(frozen=True)
class Batch:
    """One forward pass of this worker; the tensors are in the CPU's memory."""

    rows: Rows
    # Tokens with a label, and tokens of the answers, which must be as many.
    learnt: int
    wanted: int
    counts: bool


@dataclass(frozen=True)
class StepBatches:
    """One optimizer step: this worker's part of it, and what it is over all workers."""

    batches: tuple[Batch, ...]
    # Tokens of each example, and of its answer.
    sizes: tuple[tuple[int, int], ...]
    # With padding, where it can be known here: of this worker, times the number of workers.
    computed_tokens: int

    @property
    def tokens(self) -> int:
        """Tokens of all examples."""
        return sum(tokens for tokens, _ in self.sizes)

    @property
    def answer_tokens(self) -> int:
        """Tokens of all answers."""
        return sum(answer for _, answer in self.sizes)


def build_batches(
    steps: Iterable[Step], train_set: TrainSet, rank: int, build: Build
) -> Iterator[StepBatches]:
    """Yield the steps of one worker as tensors."""
    table = train_set.table
    for step in steps:
        batches = tuple(_build_batch(each, table, build) for each in step.workers[rank])
        mine = sum(each.rows.ids.numel() for each in batches)
        yield StepBatches(
            batches=batches,
            sizes=tuple(
                (table.lengths[index], table.answer_lengths[index]) for index in step.indices
            ),
            computed_tokens=mine * len(step.workers),
        )


def _build_batch(batch: MicroBatch, table: TokenTable, build: Build) -> Batch:
    chosen = table.pick(batch.indices)
    rows = build(chosen)
    wanted = sum(each.answer_tokens for each in chosen)
    return Batch(rows, rows.count_learnt(), wanted, batch.counts)
