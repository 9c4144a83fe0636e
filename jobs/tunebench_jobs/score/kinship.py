"""Judges of a family that takes part in the run, and whether they favour their own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from tunebench_api.contract import VariantKind
from tunebench_api.v1alpha1 import JudgeSpec
from tunebench_jobs.score.board import Board, Entry, build_rate
from tunebench_jobs.score.outcomes import mean_present
from tunebench_jobs.score.results import Kinship, Relation
from tunebench_jobs.score.statistics import Floats


def build_kinship(board: Board) -> tuple[Kinship, ...]:
    """Compare each judge that has kin in the run with the judges of other families."""
    return tuple(
        kin
        for number, judge in enumerate(board.config.judges)
        if judge.family
        for kin in _list_kin(board, number, judge.family)
    )


def _list_kin(board: Board, judge: int, family: str) -> Iterator[Kinship]:
    config = board.config
    others = [
        other
        for other in board.panel
        if (named := config.judges[other].family) and not is_same_family(named, family)
    ]
    kindness = _build_kindness(board, judge, others)
    if is_same_family(config.baseline_spec.family, family):
        # Kind to the baseline is unkind to all that is compared with it.
        values = -_mean(kindness, [True] * len(kindness))
        yield _build_kin(board, judge, others, Relation.BASELINE, values)
    if any(is_same_family(teacher, family) for teacher in config.teacher_families):
        own = [entry.kind is VariantKind.FINE_TUNED for entry in board.contestants]
        yield _build_kin(board, judge, others, Relation.TEACHER, _contrast(kindness, own))
    own = [is_same_family(entry.variant.spec.family, family) for entry in board.contestants]
    if any(own):
        yield _build_kin(board, judge, others, Relation.MODEL, _contrast(kindness, own))


def _build_kin(
    board: Board, judge: int, others: Sequence[int], relation: Relation, values: Floats
) -> Kinship:
    spec: JudgeSpec = board.config.judges[judge]
    (estimate,) = board.bootstrap.estimate_differences(values[None, :])
    return Kinship(
        judge=spec.name,
        family=spec.family or "",
        relation=relation,
        others=tuple(board.judges[other] for other in others),
        favour=build_rate(estimate),
    )


def _build_kindness(board: Board, judge: int, others: Sequence[int]) -> Floats:
    """Return how much more a judge gives each contestant than others do, by task."""
    rows = [_subtract(entry, judge, others) for entry in board.contestants]
    return np.stack(rows) if rows else np.full((1, len(board.tasks)), np.nan)


def _subtract(entry: Entry, judge: int, others: Sequence[int]) -> Floats:
    if not others:
        return np.full(len(entry.readings), np.nan)
    return entry.outcomes.tie_adjusted([judge]) - entry.outcomes.tie_adjusted(others)


def _contrast(kindness: Floats, own: Sequence[bool]) -> Floats:
    """Return by task how much kinder the judge is to its own than to the rest."""
    return _mean(kindness, own) - _mean(kindness, [not each for each in own])


def _mean(rows: Floats, chosen: Sequence[bool]) -> Floats:
    """Return the mean of some rows, over those that have a value."""
    return mean_present(rows[np.array(chosen, dtype=np.bool_)], axis=0)


def is_same_family(left: str | None, right: str | None) -> bool:
    """Whether two families are known and the same."""
    return bool(left and right) and str(left).casefold() == str(right).casefold()
