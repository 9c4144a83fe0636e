"""From verdicts to numbers that can be averaged."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tunebench_api.contract import ScoredVariant
from tunebench_api.v1alpha1 import Control
from tunebench_jobs.answers import parse_answer
from tunebench_jobs.errors import InputError
from tunebench_jobs.judge.comparisons import Order
from tunebench_jobs.judge.records import VerdictRow
from tunebench_jobs.judge.verdicts import Winner
from tunebench_jobs.records import Completion, Task
from tunebench_jobs.score.results import Validity
from tunebench_jobs.score.statistics import Design, Floats

_POINTS = {Winner.MODEL: 1.0, Winner.TIE: 0.5, Winner.BASELINE: 0.0}
_ORDERS = tuple(Order)


@dataclass(frozen=True)
class JudgedVariant:
    """A variant with all that is known about it, in the order of the tasks."""

    spec: ScoredVariant
    completions: Sequence[Completion]
    verdicts: Sequence[VerdictRow]
    # Which control it is, if it is one.
    control: Control | None = None


@dataclass(frozen=True)
class Outcomes:
    """A variant's points by judge, task and order: 1 won, 1/2 tied, 0 lost, NaN missing."""

    points: Floats
    # Completions that can be read; the others are lost, whatever a judge says. Of the self
    # control, all.
    readable: NDArray[np.bool_]

    @property
    def missing(self) -> int:
        """How many verdicts there are not."""
        return int(np.isnan(self.points).sum())

    def win_rates(self, judges: Sequence[int], *, as_judged: bool = False) -> Floats:
        """Return each task's share of wins: the mean over both orders, then over judges."""
        wins = np.where(np.isnan(self.points), np.nan, (self.points == 1.0).astype(np.float64))
        return self._average(wins, judges, as_judged=as_judged)

    def tie_adjusted(self, judges: Sequence[int]) -> Floats:
        """Return each task's share of wins, a tie counting half."""
        return self._average(self.points, judges, as_judged=False)

    def bounds(self, judges: Sequence[int]) -> tuple[Floats, Floats]:
        """Return each task's win rate with every missing verdict lost, and with it won."""
        low, high = (
            np.where(np.isnan(self.points), fill, self.points == 1.0) for fill in (0.0, 1.0)
        )
        return (
            self._average(low, judges, as_judged=False),
            self._average(high, judges, as_judged=False),
        )

    def _average(self, points: Floats, judges: Sequence[int], *, as_judged: bool) -> Floats:
        # A task that lacks one order has no value: half a pair would bring back position bias.
        by_task = points[list(judges)].mean(axis=-1)
        present = ~np.isnan(by_task)
        judged = present.any(axis=0)
        rates: Floats = np.full(judged.shape, np.nan)
        np.divide(np.nansum(by_task, axis=0), present.sum(axis=0), out=rates, where=judged)
        return rates if as_judged else np.where(self.readable, rates, 0.0)


def build_design(tasks: Sequence[Task]) -> Design:
    """Number tools and pull requests; names decide, so that the tasks' order does not."""
    tools = _number(task.tool for task in tasks)
    prs = _number(task.pr for task in tasks)
    return Design(
        tools=np.array([tools[task.tool] for task in tasks], dtype=np.intp),
        clusters=np.array([prs[task.pr] for task in tasks], dtype=np.intp),
    )


def build_outcomes(
    variant: JudgedVariant, tasks: Sequence[Task], judges: Sequence[str]
) -> Outcomes:
    """Arrange a variant's verdicts.

    Raises:
        InputError: A verdict's row is absent; it would be there even were the verdict missing.
    """
    rows = {(row.judge, row.task, row.order): row for row in variant.verdicts}
    points = np.full((len(judges), len(tasks), len(_ORDERS)), np.nan)
    # The self control tests the judge, whose word counts there even on what cannot be read: the
    # baseline's broken answers are on both sides.
    own = variant.control is Control.SELF
    for place in np.ndindex(points.shape):
        key = (judges[place[0]], tasks[place[1]].id, _ORDERS[place[2]])
        if key not in rows:
            msg = (
                f"variant `{variant.spec.name}` must have a verdict row for {key[1]} by judge "
                f"`{key[0]}`, {key[2]}, got none; delete `{variant.spec.judge}` from the store "
                "and start again"
            )
            raise InputError(msg, reason="BrokenVerdicts")
        winner = rows[key].winner
        # Against itself, an empty completion that no judge was asked about is no loss.
        if own and rows[key].key is None:
            winner = Winner.TIE
        if winner is not None:
            points[place] = _POINTS[winner]
    levels = list_levels(tasks, variant.completions)
    return Outcomes(points, readable=np.array([own or level != "invalid" for level in levels]))


def list_levels(tasks: Sequence[Task], completions: Sequence[Completion]) -> list[str]:
    """Return for each completion whether it is strict, fixed or invalid."""
    return [
        parse_answer(task.tool, row.completion, semantic_files=task.semantic_files).level
        for task, row in zip(tasks, completions, strict=True)
    ]


def build_validity(levels: Sequence[str], completions: Sequence[Completion]) -> Validity:
    """Count how completions read."""
    counts: Mapping[str, int] = Counter(levels)
    total = len(completions)
    shares = {level: 100 * counts.get(level, 0) / total for level in ("strict", "fixed", "invalid")}
    return Validity(
        strict_pct=shares["strict"],
        fixed_pct=shares["fixed"],
        invalid_pct=shares["invalid"],
        empty_pct=100 * sum(not row.completion.strip() for row in completions) / total,
        cut_off_pct=100 * sum(row.finish_reason == "length" for row in completions) / total,
    )


def _number(names: Iterable[str]) -> dict[str, int]:
    return {name: number for number, name in enumerate(sorted(set(names)))}
