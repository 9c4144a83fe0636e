"""How the models were trained: curves, counts and what it took."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from tunebench_jobs.report.curve_chart import draw_curve
from tunebench_jobs.report.material import Material, Training
from tunebench_jobs.report.svg import build_scale
from tunebench_jobs.report.words import format_number


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


@dataclass(frozen=True)
class Curves:
    """The loss of every training on the same axis."""

    drawings: Sequence[tuple[str, Markup]]
    # Trainings that kept none.
    without: Sequence[str]


def build_training_rows(material: Material) -> list[TrainingRow]:
    """Build what is known of each training."""
    return [_build_row(name, each) for name, each in material.trainings.items()]


def build_curves(material: Material) -> Curves:
    """Draw the curves."""
    curves = {name: each.curve for name, each in material.trainings.items()}
    losses = [point.loss for curve in curves.values() for point in curve]
    scale = build_scale(losses, floor_at=0.0)
    return Curves(
        [(name, draw_curve(curve, name, scale)) for name, curve in curves.items() if curve],
        [name for name, curve in curves.items() if not curve],
    )


def _build_row(name: str, training: Training) -> TrainingRow:
    loss: Mapping[str, float] = training.summary.get("train_loss") or {}
    return TrainingRow(
        name=name,
        base=training.base or "",
        method=training.method or "",
        facts=training.summary,
        first_loss=format_number(loss.get("first"), 3),
        last_loss=format_number(loss.get("last"), 3),
        hours=training.hours,
        gpu_hours=training.gpu_hours,
    )
