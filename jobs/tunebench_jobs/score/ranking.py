"""How models stand to each other: paired tests, and the ranks that they allow."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from tunebench_jobs.score.board import Board, Entry, build_rate
from tunebench_jobs.score.original import find_group
from tunebench_jobs.score.paired import build_mcnemar_p, build_sign_flip_p, correct_holm
from tunebench_jobs.score.results import PairResult, Ranking, RankSet
from tunebench_jobs.score.statistics import Floats, average_values

# Most probable number of false differences over all pairs.
LEVEL = 0.05
# Above these, missing verdicts may have decided the order. Judgement, not law.
_MAX_MISSING_PCT = 5.0
_MAX_MISSING_SPREAD = 2.0
_DIGITS = 6


@dataclass(frozen=True)
class Standing:
    """Where a variant stands among all, and among those of its size."""

    rank: RankSet
    group_rank: RankSet | None


@dataclass(frozen=True)
class _Compared:
    """Variants, the best first, with each task's win rate and strict win rate."""

    entries: Sequence[Entry]
    wins: Floats
    strict: Floats


def build_ranking(board: Board) -> Ranking:
    """Compare each two of the ranked variants."""
    compared = _compare(board)
    pairs = tuple(_build_pairs(board, compared))
    return Ranking(
        variants=tuple(entry.name for entry in compared.entries),
        pairs=pairs,
        separable_pct=_share_significant(pairs),
        level=LEVEL,
        blocked=find_blocker(board),
    )


def build_standings(board: Board, ranking: Ranking) -> dict[str, Standing]:
    """Return the ranks that the pairs allow; none where missing verdicts may have decided them."""
    if ranking.blocked:
        return {}
    sizes = {entry.name: find_group(entry.variant.spec.size_billions) for entry in board.ranked}
    standings = {}
    for name in ranking.variants:
        peers = [each for each in ranking.variants if sizes[each] is sizes[name]]
        group = _build_rank(name, peers, ranking.pairs) if sizes[name] else None
        standings[name] = Standing(_build_rank(name, ranking.variants, ranking.pairs), group)
    return standings


def find_blocker(board: Board) -> str | None:
    """Say why missing verdicts forbid a ranking; they may be missing for a reason."""
    shares = {entry.name: 100 * entry.outcomes.missing_share for entry in board.ranked}
    if not shares:
        return None
    most, least = max(shares, key=lambda name: shares[name]), min(shares.values())
    if shares[most] > _MAX_MISSING_PCT:
        return (
            f"variant `{most}` lacks {shares[most]:.1f}% of its verdicts, more than "
            f"{_MAX_MISSING_PCT:.0f}%; start again when the judges answer"
        )
    if shares[most] - least > _MAX_MISSING_SPREAD:
        return (
            f"variant `{most}` lacks {shares[most]:.1f}% of its verdicts, another {least:.1f}%: "
            f"more than {_MAX_MISSING_SPREAD:.0f} points apart; start again when the judges answer"
        )
    return None


def _compare(board: Board) -> _Compared:
    """Arrange the ranked variants that have a rate, the best first."""
    rows = []
    for entry in board.ranked:
        wins = entry.outcomes.win_rates(board.panel)
        point = float(average_values(wins, board.design))
        if not np.isnan(point):
            rows.append((point, entry, wins, entry.outcomes.strict_rates(board.panel)))
    rows.sort(key=lambda row: (-row[0], row[1].name))
    empty = np.zeros((0, len(board.tasks)))
    return _Compared(
        entries=[row[1] for row in rows],
        wins=np.stack([row[2] for row in rows]) if rows else empty,
        strict=np.stack([row[3] for row in rows]) if rows else empty,
    )


def _build_pairs(board: Board, compared: _Compared) -> Iterator[PairResult]:
    """Yield every two variants that have tasks in common."""
    couples = [
        couple
        for couple in combinations(range(len(compared.entries)), 2)
        if not np.isnan(compared.wins[couple[0]] - compared.wins[couple[1]]).all()
    ]
    if not couples:
        return
    left, right = (np.array(side) for side in zip(*couples, strict=True))
    differences = compared.wins[left] - compared.wins[right]
    bootstrap = board.bootstrap
    rates = [build_rate(each) for each in bootstrap.estimate_differences(differences)]
    flipped = build_sign_flip_p(differences, board.design, bootstrap.resamples, bootstrap.seed)
    corrected = correct_holm(flipped)
    exact = build_mcnemar_p(compared.strict[left], compared.strict[right])
    for number, (first, second) in enumerate(couples):
        rate = rates[number]
        if rate is not None:
            yield PairResult(
                better=compared.entries[first].name,
                worse=compared.entries[second].name,
                tasks=int((~np.isnan(differences[number])).sum()),
                difference=rate,
                p=round(float(flipped[number]), _DIGITS),
                p_holm=round(float(corrected[number]), _DIGITS),
                p_mcnemar=None if np.isnan(exact[number]) else round(float(exact[number]), _DIGITS),
                significant=bool(corrected[number] < LEVEL),
            )


def _share_significant(pairs: Sequence[PairResult]) -> float | None:
    if not pairs:
        return None
    return round(100 * sum(pair.significant for pair in pairs) / len(pairs), _DIGITS)


def _build_rank(name: str, among: Sequence[str], pairs: Sequence[PairResult]) -> RankSet:
    """Return a variant's ranks among others: those that beat it stand before it for sure."""
    others = set(among)
    sure = [pair for pair in pairs if pair.significant]
    beaten_by = sum(pair.worse == name and pair.better in others for pair in sure)
    beats = sum(pair.better == name and pair.worse in others for pair in sure)
    return RankSet(point=1 + list(among).index(name), low=1 + beaten_by, high=len(among) - beats)
