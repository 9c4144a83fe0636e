"""Benchmarks of which the truth is known: verdicts drawn from a model of models and judges.

Whether a model wins is decided by how good it is, how hard the pull request is for all (which makes
the tasks of one pull request alike), how well it suits the model, what each judge thinks of the two
completions, which of them comes first, and chance. Close calls are ties. Some verdicts are missing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tunebench_jobs.score.statistics import Design

Floats = NDArray[np.float64]

TOOLS = 3
JUDGES = 3


@dataclass(frozen=True)
class World:
    """What verdicts depend on, on the scale of a logit."""

    # How good each model is; 0 is as good as the baseline.
    skills: Sequence[float]
    # Spread of what all tasks of a pull request share, over all models and for one model.
    difficulty: float = 1.0
    liking: float = 0.5
    taste: float = 0.7
    # What the first place is worth.
    place: float = 0.3
    # Verdicts that are closer than this are ties.
    tie: float = 0.4
    missing: float = 0.03


def make_design(prs: int) -> Design:
    """Return tasks of so many pull requests, each with every tool."""
    return Design(tools=np.tile(np.arange(TOOLS), prs), clusters=np.repeat(np.arange(prs), TOOLS))


def simulate(world: World, rounds: int, prs: int, random: np.random.Generator) -> Floats:
    """Return points by round, model, task, judge and order; NaN is missing."""
    models = len(world.skills)
    shape = (rounds, models, prs, TOOLS, JUDGES, 2)
    logits = np.reshape(world.skills, (1, models, 1, 1, 1, 1)) + np.zeros(shape)
    # Tools are not equally hard.
    logits += np.reshape([0.5, 0.0, -0.5], (1, 1, 1, TOOLS, 1, 1))
    for spread, part in (
        (world.difficulty, (rounds, 1, prs, 1, 1, 1)),
        (world.liking, (rounds, models, prs, 1, 1, 1)),
        (world.taste, (rounds, models, prs, TOOLS, JUDGES, 1)),
    ):
        logits += spread * random.normal(size=part)
    logits += world.place * np.array([1.0, -1.0])
    logits += random.logistic(size=shape)
    points = np.where(logits > world.tie, 1.0, np.where(logits < -world.tie, 0.0, 0.5))
    points[random.uniform(size=shape) < world.missing] = np.nan
    return points.reshape(rounds, models, prs * TOOLS, JUDGES, 2)


def average(points: Floats) -> Floats:
    """Return each task's value as the product has it: complete pairs of orders, then judges."""
    pairs = points.mean(axis=-1)
    present = ~np.isnan(pairs)
    counts = present.sum(axis=-1)
    values: Floats = np.full(counts.shape, np.nan)
    np.divide(np.where(present, pairs, 0.0).sum(axis=-1), counts, out=values, where=counts > 0)
    return values


def win(points: Floats) -> Floats:
    """Return 1 for a win, 0 for a tie or a loss."""
    return np.where(np.isnan(points), np.nan, (points == 1.0).astype(np.float64))


def find_truth(
    world: World, random: np.random.Generator, *, prs: int = 200_000
) -> tuple[Floats, Floats]:
    """Return each model's true win rate and tie-adjusted rate, from a benchmark that is huge."""
    wins, adjusted = [], []
    for _ in range(max(1, prs // 20_000)):
        points = simulate(world, 1, 20_000, random)[0]
        wins.append(np.nanmean(win(points), axis=(1, 2, 3)))
        adjusted.append(np.nanmean(points, axis=(1, 2, 3)))
    return np.mean(wins, axis=0), np.mean(adjusted, axis=0)
