"""The training loop: straight from the schedule to the last optimizer step."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch

from tunebench_api.v1alpha1 import Packing, TuningSpec
from tunebench_jobs.train.ahead import read_ahead
from tunebench_jobs.train.batches import Build, StepBatches, build_batches
from tunebench_jobs.train.curve import CurvePoint, extend_curve
from tunebench_jobs.train.engine import Engine
from tunebench_jobs.train.examples import TrainSet
from tunebench_jobs.train.flops import Cost
from tunebench_jobs.train.gauges import Gauges
from tunebench_jobs.train.layout import Position
from tunebench_jobs.train.loss import Rows, build_packed_row, build_rows
from tunebench_jobs.train.place import Place
from tunebench_jobs.train.points import ResumePoints
from tunebench_jobs.train.schedule import (
    Sizes,
    build_learning_rate,
    build_steps,
    count_steps,
)
from tunebench_jobs.train.shelves import FolderShelf, Shelf
from tunebench_jobs.train.token_table import TokenRow
from tunebench_jobs.train.watch import (
    WINDOW,
    check_exploding,
    check_finite,
    check_learnable,
)

# The last loss of a run is a mean over this many steps.
_LAST_STEPS = 5


@dataclass(frozen=True)
class Work:
    """What is trained on, and where resume points lie."""

    train_set: TrainSet
    tuning: TuningSpec
    seed: int
    padding: int
    folder: Path
    identity: str
    # Where the store lies in a bucket; then `folder` is not used.
    bucket: Shelf | None = None
    # What a step computes; absent: not known.
    cost: Cost | None = None
    # Whether the examples of a micro-batch share a row without packing, too: none is padded.
    unpadded: bool = False

    def build_sizes(self, workers: int) -> Sizes:
        """Return how examples are dealt out to workers, who may be more or fewer than before."""
        tuning = self.tuning
        packed = tuning.packing is Packing.BEST_FIT
        return Sizes(
            tuning.batch_size,
            tuning.micro_batch_size,
            workers,
            # As many tokens as the longest rows of a micro-batch without packing.
            row_tokens=tuning.micro_batch_size * tuning.max_length if packed else None,
        )

    @property
    def total_steps(self) -> int:
        """Optimizer steps from the first to the last."""
        return count_steps(
            len(self.train_set.table),
            batch=self.tuning.batch_size,
            epochs=self.tuning.epochs,
            limit=self.tuning.max_steps,
        )


class _Taken(NamedTuple):
    """What a step says: the mean loss of its answer tokens, over all workers, and its gradients."""

    loss: float
    gradient_norm: float | None


class _Spent(NamedTuple):
    """Seconds that a step took, and of these the ones spent waiting for its batch."""

    seconds: float
    waiting: float


@dataclass(frozen=True)
class Hooks:
    """Whom is told: after each step, of each resume point written, and before the first step."""

    on_step: Callable[[Position, int], None]
    on_resume_point: Callable[[str], None]
    on_ready: Callable[[Gauges], None] = lambda _: None


def run_loop(engine: Engine, work: Work, place: Place, hooks: Hooks) -> Position:
    """Train from the newest resume point to the last step.

    Raises:
        InputError: The loss is not a finite number or explodes, or a batch teaches nothing.
    """
    points = ResumePoints(work.bucket or FolderShelf(work.folder), work.identity, place)
    position = _resume(engine, points)
    if position.step == 0 and work.train_set.canaries:
        losses = compute_canaries(engine, work, place)
        position = position.model_copy(update={"start_loss": build_mean(losses)})
    total = work.total_steps
    sizes = work.build_sizes(place.workers)
    steps = build_steps(
        work.train_set.lengths, sizes, seed=work.seed, first=position.step, end=total
    )
    batches = build_batches(steps, work.train_set, place.rank, choose_rows(work, place))
    with read_ahead(batches) as coming, points.writing(hooks.on_resume_point):
        while position.step < total:
            started = time.monotonic()
            step = next(coming)
            waited = time.monotonic() - started
            taken = _take_step(engine, work, place, step, position.step)
            spent = _Spent(time.monotonic() - started, waited)
            position = _advance(position, work, step, taken, spent)
            check_exploding(position)
            hooks.on_step(position, total)
            _keep(engine, work, points, hooks, position)
    return position


def compute_canaries(engine: Engine, work: Work, place: Place) -> list[tuple[float, ...]]:
    """Return the loss of each answer token of each canary; all workers take part."""
    return [
        engine.evaluate(
            choose_rows(work, place)(work.train_set.table.pick([index])).to(place.device)
        )
        for index in work.train_set.canaries
    ]


def build_mean(losses: Sequence[tuple[float, ...]]) -> float:
    """Return the mean over all tokens."""
    return sum(map(sum, losses)) / sum(map(len, losses))


def _keep(
    engine: Engine, work: Work, points: ResumePoints, hooks: Hooks, position: Position
) -> None:
    """Begin to write a resume point where one is due, and tell of the one before."""
    written = points.poll()
    if position.step % work.tuning.checkpoint_steps == 0 or position.step == work.total_steps:
        before = points.save(engine.copy_state, position, shards=engine.shards)
        written = before or written
    if written:
        hooks.on_resume_point(written)


def _resume(engine: Engine, points: ResumePoints) -> Position:
    found = points.find(engine.spans)
    if found is not None:
        with found.open() as state:
            engine.restore(state, found.position.step)
    points.release()
    points.clear()
    return Position() if found is None else found.position


def _take_step(engine: Engine, work: Work, place: Place, step: StepBatches, number: int) -> _Taken:
    """Take one optimizer step with all workers."""
    # The same randomness (dropout) whether or not the run was interrupted before.
    torch.manual_seed(hash((work.seed, number, place.rank)))
    mine = 0.0
    for batch in step.batches:
        check_learnable(batch.learnt, batch.wanted, number + 1)
        # Workers' gradients are averaged, so that each is weighed by the number of workers.
        weight = place.workers / step.answer_tokens if batch.counts else 0.0
        rows = batch.rows.to(place.device)
        loss = engine.accumulate(rows, weight=weight, last=batch is step.batches[-1])
        mine += loss if batch.counts else 0.0
    loss = place.sum(mine) / step.answer_tokens
    check_finite(loss, number + 1)
    return _Taken(loss, engine.step(_find_rate(work, number)))


def _find_rate(work: Work, number: int) -> float:
    tuning = work.tuning
    return build_learning_rate(
        number,
        total=work.total_steps,
        warmup=tuning.warmup_steps,
        peak=float(tuning.learning_rate),
    )


def choose_rows(work: Work, place: Place) -> Build:
    """Return what makes tensors of a micro-batch, in the CPU's memory."""

    def build(examples: list[TokenRow]) -> Rows:
        packed = work.unpadded or work.tuning.packing is Packing.BEST_FIT
        rows = (
            build_packed_row(examples, "cpu")
            if packed
            else build_rows(examples, work.padding, "cpu")
        )
        if place.device.type != "cuda":
            return rows
        # A thread begins on the first GPU, where it would take memory of another worker's.
        with torch.cuda.device(place.device):
            return rows.pin()

    return build


def _advance(
    position: Position, work: Work, step: StepBatches, taken: _Taken, spent: _Spent
) -> Position:
    loss = taken.loss
    tokens = position.tokens + step.tokens
    seconds = position.seconds + spent.seconds
    point = CurvePoint(
        step=position.step + 1,
        loss=loss,
        learning_rate=_find_rate(work, position.step),
        tokens=tokens,
        gradient_norm=taken.gradient_norm,
        seconds=round(seconds, 3),
    )
    return Position(
        step=position.step + 1,
        tokens=tokens,
        answer_tokens=position.answer_tokens + step.answer_tokens,
        seconds=seconds,
        first_loss=loss if position.first_loss is None else position.first_loss,
        last_losses=(*position.last_losses, loss)[-_LAST_STEPS:],
        first_losses=(*position.first_losses, loss)[:WINDOW],
        recent_losses=(*position.recent_losses, loss)[-WINDOW:],
        start_loss=position.start_loss,
        curve=extend_curve(position.curve, point),
        waited_seconds=position.waited_seconds + spent.waiting,
        computed_tokens=position.computed_tokens + step.computed_tokens,
        flops=_add_flops(position, work.cost, step),
        gradient_norm=taken.gradient_norm,
    )


def _add_flops(position: Position, cost: Cost | None, step: StepBatches) -> float | None:
    before = 0.0 if position.step == 0 else position.flops
    if cost is None or before is None:
        return None
    return before + sum(cost.count(*sizes) for sizes in step.sizes)
