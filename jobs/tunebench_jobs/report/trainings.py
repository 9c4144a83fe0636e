"""How the models were trained: curves, counts and what it took."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

from markupsafe import Markup

from tunebench_api.sizing.memory import GIB
from tunebench_jobs.report.curve_chart import At, draw_curve
from tunebench_jobs.report.material import Material, Training
from tunebench_jobs.report.svg import build_scale
from tunebench_jobs.report.words import format_number
from tunebench_jobs.train.curve import Curve


@dataclass(frozen=True)
class TrainingRow:
    """One training in numbers."""

    name: str
    base: str
    method: str
    facts: Mapping[str, Any]
    first_loss: str
    last_loss: str
    hours: float | None
    gpu_hours: float | None
    # Of the first worker, or of its GPU.
    peak_memory_gib: float | None


@dataclass(frozen=True)
class Panel:
    """One quantity of every training, on the same axis."""

    title: str
    note: str
    drawings: Sequence[tuple[str, Markup]]


@dataclass(frozen=True)
class Curves:
    """How the trainings went, the loss first."""

    loss: Panel
    others: Sequence[Panel]
    # Trainings that kept none.
    without: Sequence[str]


def build_training_rows(material: Material) -> list[TrainingRow]:
    """Build what is known of each training."""
    return [_build_row(name, each) for name, each in material.trainings.items()]


def build_curves(material: Material) -> Curves:
    """Draw the curves; a quantity that no training has kept is left out."""
    curves = {name: each.curve for name, each in material.trainings.items()}
    loss, *others = (_build_panel(quantity, curves) for quantity in _QUANTITIES)
    return Curves(
        loss,
        [panel for panel in others if panel.drawings],
        [name for name, curve in curves.items() if not curve],
    )


class _Quantity(NamedTuple):
    title: str
    note: str
    read: Callable[[Curve], Sequence[At]]


def _read_loss(curve: Curve) -> list[At]:
    return [At(each.step, each.loss) for each in curve]


def _read_rate(curve: Curve) -> list[At]:
    return [At(each.step, each.learning_rate) for each in curve]


def _read_norm(curve: Curve) -> list[At]:
    return [At(each.step, each.gradient_norm) for each in curve if each.gradient_norm is not None]


def _read_speed(curve: Curve) -> list[At]:
    """Return the tokens per second between each two points that know their time."""
    known = [(each.step, each.tokens, each.seconds) for each in curve if each.seconds is not None]
    return [
        At(step, (tokens - before) / (seconds - since))
        for (_, before, since), (step, tokens, seconds) in pairwise(known)
        if seconds > since
    ]


_QUANTITIES = (
    _Quantity("Loss", "Of the answers' tokens.", _read_loss),
    _Quantity("Learning rate", "Of the last step of each point.", _read_rate),
    _Quantity("Gradient norm", "Before clipping at 1.", _read_norm),
    _Quantity(
        "Tokens per second", "Without padding, over all workers; saving is left out.", _read_speed
    ),
)


def _build_panel(quantity: _Quantity, curves: Mapping[str, Curve]) -> Panel:
    read = {name: quantity.read(curve) for name, curve in curves.items()}
    scale = build_scale([at.value for points in read.values() for at in points], floor_at=0.0)
    word = quantity.title.lower()
    drawings = [
        (name, draw_curve(points, name, word, scale)) for name, points in read.items() if points
    ]
    return Panel(quantity.title, quantity.note, drawings)


def _build_row(name: str, training: Training) -> TrainingRow:
    loss: Mapping[str, float] = training.summary.get("train_loss") or {}
    memory: int | None = training.summary.get("peak_memory_bytes")
    return TrainingRow(
        name=name,
        base=training.base or "",
        method=training.method or "",
        facts=training.summary,
        first_loss=format_number(loss.get("first"), 3),
        last_loss=format_number(loss.get("last"), 3),
        hours=training.hours,
        gpu_hours=training.gpu_hours,
        peak_memory_gib=None if memory is None else memory / GIB,
    )
