"""Imported verdicts arranged by judge, task, order and repeat; pure."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from tunebench_api.contract import VerdictFormat
from tunebench_jobs.imports.imported import ImportedRow, build_share
from tunebench_jobs.judge.comparisons import Order
from tunebench_jobs.judge.ledger import LedgerEntry
from tunebench_jobs.score.outcomes import TIE, Outcomes
from tunebench_jobs.score.statistics import Design, Floats


@dataclass(frozen=True)
class Filed:
    """A comparison with its verdict, and whose file it comes from."""

    source: VerdictFormat
    row: ImportedRow
    entry: LedgerEntry


@dataclass(frozen=True)
class ImportedEntry:
    """One model's verdicts: shares of the model by judge, task, order and repeat."""

    name: str
    # Graded, as the source has them.
    outcomes: Outcomes
    # How often the source counts each in its own score.
    weights: Floats
    # In characters, by task; NaN where the source has no completions.
    model_lengths: Floats
    baseline_lengths: Floats

    @property
    def decided(self) -> Outcomes:
        """Wins, ties and losses alone, without their grades."""
        points = self.outcomes.points
        sure = np.where(points == TIE, TIE, (points > TIE).astype(np.float64))
        known = np.where(np.isnan(points), np.nan, sure)
        return Outcomes(known, self.outcomes.expected, self.outcomes.readable)


@dataclass(frozen=True)
class ImportedBoard:
    """All that one tool published against one baseline."""

    source: VerdictFormat
    baseline: str
    tasks: Sequence[str]
    questions: Sequence[str]
    # Of each task.
    groups: Sequence[str]
    judges: Sequence[str]
    # Nothing where the source does not say what a judge saw first.
    orders: Sequence[Order | None]
    entries: Sequence[ImportedEntry]

    @property
    def design(self) -> Design:
        """All tasks as of one tool; those of one question hang together."""
        numbers = {name: number for number, name in enumerate(sorted(set(self.questions)))}
        return Design(
            tools=np.zeros(len(self.tasks), dtype=np.intp),
            clusters=np.array([numbers[name] for name in self.questions], dtype=np.intp),
        )


def arrange_boards(filed: Iterable[Filed]) -> list[ImportedBoard]:
    """Put together what was compared with the same baseline by the same tool."""
    together: dict[tuple[VerdictFormat, str], list[Filed]] = defaultdict(list)
    for each in filed:
        together[each.source, each.row.baseline].append(each)
    return [
        _arrange_board(source, baseline, members)
        for (source, baseline), members in sorted(together.items())
    ]


def _arrange_board(source: VerdictFormat, baseline: str, members: Sequence[Filed]) -> ImportedBoard:
    facts = {each.row.task: (each.row.question, each.row.group) for each in members}
    tasks = sorted(facts)
    judges = sorted({each.row.judge for each in members})
    orders = sorted({each.row.order for each in members}, key=str)
    by_variant: dict[str, list[Filed]] = defaultdict(list)
    for each in members:
        by_variant[each.row.variant].append(each)
    return ImportedBoard(
        source=source,
        baseline=baseline,
        tasks=tasks,
        questions=[facts[task][0] for task in tasks],
        groups=[facts[task][1] for task in tasks],
        judges=judges,
        orders=orders,
        entries=[
            _arrange_entry(name, by_variant[name], tasks, judges, orders)
            for name in sorted(by_variant)
        ],
    )


def _arrange_entry(
    name: str,
    members: Sequence[Filed],
    tasks: Sequence[str],
    judges: Sequence[str],
    orders: Sequence[Order | None],
) -> ImportedEntry:
    places = [
        {each: number for number, each in enumerate(names)} for names in (judges, tasks, orders)
    ]
    seen: Counter[tuple[int, ...]] = Counter()
    cells = []
    for each in members:
        row = each.row
        cell = (places[0][row.judge], places[1][row.task], places[2][row.order])
        cells.append((*cell, seen[cell]))
        seen[cell] += 1
    shape = (len(judges), len(tasks), len(orders), max(seen.values()))
    points, weights = np.full(shape, np.nan), np.ones(shape)
    expected = np.zeros(shape, dtype=np.bool_)
    lengths = np.full((2, len(tasks)), np.nan)
    for place, each in zip(cells, members, strict=True):
        share = build_share(each.row, each.entry)
        points[place] = np.nan if share is None else share
        weights[place] = each.row.weight
        expected[place] = True
        for side, length in enumerate((each.row.model_length, each.row.baseline_length)):
            if length is not None:
                lengths[side, place[1]] = length
    readable = np.ones(len(tasks), dtype=np.bool_)
    return ImportedEntry(name, Outcomes(points, expected, readable), weights, *lengths)
