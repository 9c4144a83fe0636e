"""From verdicts to numbers that can be averaged."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tunebench_api.contract import ScoredVariant
from tunebench_api.v1alpha1 import Control
from tunebench_jobs.answers import answer_text, parse_answer
from tunebench_jobs.answers.tolerant_yaml import Level
from tunebench_jobs.errors import InputError
from tunebench_jobs.judge.comparisons import Order
from tunebench_jobs.judge.records import VerdictRow
from tunebench_jobs.judge.verdicts import Winner
from tunebench_jobs.records import Completion, Task
from tunebench_jobs.score.results import Validity
from tunebench_jobs.score.statistics import Design, Floats
from tunebench_jobs.tokens import count_tokens

# Points of a tie.
TIE = 0.5
_POINTS = {Winner.MODEL: 1.0, Winner.TIE: TIE, Winner.BASELINE: 0.0}
_ORDERS = tuple(Order)
_ORDER_AXIS = 2


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
    """A variant's points by judge, task, order and repeat: 1 won, 1/2 tied, 0 lost, NaN missing.

    Imported verdicts may be graded: what lies between is a preference that is less than sure.
    """

    points: Floats
    # Verdicts that should be there.
    expected: NDArray[np.bool_]
    # Completions that can be read; the others are lost, whatever a judge says. Of the self and the
    # padded control, all.
    readable: NDArray[np.bool_]

    @property
    def missing(self) -> int:
        """How many verdicts there are not."""
        return int((self.expected & np.isnan(self.points)).sum())

    @property
    def missing_share(self) -> float:
        """The share of verdicts that there are not."""
        return self.missing / max(int(self.expected.sum()), 1)

    def win_rates(self, judges: Sequence[int], *, as_judged: bool = False) -> Floats:
        """Return each task's share of wins: the mean over repeats, both orders, then judges."""
        return self._average(self._wins(), judges, as_judged=as_judged)

    def tie_adjusted(self, judges: Sequence[int]) -> Floats:
        """Return each task's share of wins, a tie counting half."""
        return self._average(self.points, judges, as_judged=False)

    def strict_rates(self, judges: Sequence[int]) -> Floats:
        """Return each task's share of wins, of which each must hold in both orders."""
        # NaN stays NaN.
        both = self._wins().min(axis=_ORDER_AXIS, keepdims=True)
        return self._average(both, judges, as_judged=False)

    def bounds(self, judges: Sequence[int]) -> tuple[Floats, Floats]:
        """Return each task's win rate with every missing verdict lost, and with it won."""
        wins, absent = self._wins(), self.expected & np.isnan(self.points)
        low, high = (
            self._average(np.where(absent, fill, wins), judges, as_judged=False)
            for fill in (0.0, 1.0)
        )
        return low, high

    def _wins(self) -> Floats:
        won = (self.points > TIE).astype(np.float64)
        return np.where(np.isnan(self.points), np.nan, won)

    def _average(self, points: Floats, judges: Sequence[int], *, as_judged: bool) -> Floats:
        # A task that lacks one order has no value: half a pair would bring back position bias.
        by_task = mean_present(points[list(judges)], axis=-1).mean(axis=-1)
        rates = mean_present(by_task, axis=0)
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
    variant: JudgedVariant,
    tasks: Sequence[Task],
    judges: Sequence[str],
    readable: Sequence[bool],
) -> Outcomes:
    """Arrange a variant's verdicts; `readable` says which completions are.

    Raises:
        InputError: A verdict's row is absent; it would be there even were the verdict missing.
    """
    rows = {(row.judge, row.task, row.order, row.repeat): row for row in variant.verdicts}
    repeats = 1 + max((row.repeat for row in variant.verdicts), default=0)
    points = np.full((len(judges), len(tasks), len(_ORDERS), repeats), np.nan)
    expected = np.zeros(points.shape, dtype=np.bool_)
    # The self control tests the judge, whose word counts there even on what cannot be read: the
    # baseline's broken answers are on both sides. So they are where they cannot be padded.
    own = variant.control in {Control.SELF, Control.PADDED}
    for place in np.ndindex(points.shape):
        judge, task, order = judges[place[0]], tasks[place[1]].id, _ORDERS[place[2]]
        row = rows.get((judge, task, order, place[3]))
        if row is None and place[3]:
            # Not each question is asked as often as the others.
            continue
        if row is None:
            raise _build_absence(variant, judge, task, order)
        expected[place] = True
        # Against itself, an empty completion that no judge was asked about is no loss.
        winner = Winner.TIE if own and row.key is None else row.winner
        if winner is not None:
            points[place] = _POINTS[winner]
    return Outcomes(points, expected, readable=np.array([own or each for each in readable]))


@dataclass(frozen=True)
class Reading:
    """How a completion reads: its level, and the tokens of what it says without its YAML."""

    level: Level
    tokens: int

    @property
    def valid(self) -> bool:
        """Whether it can be read at all, with or without repair."""
        return self.level != "invalid"


def read_completions(tasks: Sequence[Task], completions: Sequence[Completion]) -> list[Reading]:
    """Read each completion; what cannot be read is as long as its text."""
    return [_read(task, row.completion) for task, row in zip(tasks, completions, strict=True)]


def _read(task: Task, text: str) -> Reading:
    answer = parse_answer(task.tool, text, semantic_files=task.semantic_files)
    said = text if answer.data is None else answer_text(task.tool, answer.data)
    return Reading(answer.level, count_tokens(said))


def build_validity(readings: Sequence[Reading], completions: Sequence[Completion]) -> Validity:
    """Count how completions read."""
    counts: Mapping[str, int] = Counter(reading.level for reading in readings)
    total = len(completions)
    shares = {level: 100 * counts.get(level, 0) / total for level in ("strict", "fixed", "invalid")}
    return Validity(
        strict_pct=shares["strict"],
        fixed_pct=shares["fixed"],
        invalid_pct=shares["invalid"],
        empty_pct=100 * sum(not row.completion.strip() for row in completions) / total,
        cut_off_pct=100 * sum(row.finish_reason == "length" for row in completions) / total,
    )


def mean_present(values: Floats, axis: int) -> Floats:
    """Return the mean of what is there; NaN where nothing is."""
    present = ~np.isnan(values)
    counts = present.sum(axis=axis)
    means: Floats = np.full(counts.shape, np.nan)
    np.divide(np.where(present, values, 0.0).sum(axis=axis), counts, out=means, where=counts > 0)
    return means


def _build_absence(variant: JudgedVariant, judge: str, task: str, order: Order) -> InputError:
    msg = (
        f"variant `{variant.spec.name}` must have a verdict row for {task} by judge `{judge}`, "
        f"{order}, got none; delete `{variant.spec.judge}` from the store and start again"
    )
    return InputError(msg, reason="BrokenVerdicts")


def _number(names: Iterable[str]) -> dict[str, int]:
    return {name: number for number, name in enumerate(sorted(set(names)))}
