"""How models stand to each other: paired tests, and the ranks that they allow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tunebench_jobs.score.benchmark_2024 import find_group
from tunebench_jobs.score.board import Board
from tunebench_jobs.score.pairs import LEVEL, Compared, build_pairs, find_ranks, order_variants
from tunebench_jobs.score.results import PairResult, Ranking, RankSet

# Above these, missing verdicts may have decided the order. Judgement, not law.
_MAX_MISSING_PCT = 5.0
_MAX_MISSING_SPREAD = 2.0
_DIGITS = 6


@dataclass(frozen=True)
class Standing:
    """Where a variant stands among all, and among those of its size."""

    rank: RankSet
    group_rank: RankSet | None


def build_ranking(board: Board) -> Ranking:
    """Compare each two of the ranked variants."""
    compared = _compare(board)
    pairs = tuple(build_pairs(compared, board.bootstrap))
    return Ranking(
        variants=tuple(compared.names),
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


def _compare(board: Board) -> Compared:
    """Put the ranked variants that have a rate in order."""
    rows = (
        (
            entry.name,
            entry.outcomes.win_rates(board.panel),
            entry.outcomes.strict_rates(board.panel),
        )
        for entry in board.ranked
    )
    return order_variants(rows, board.design)


def _share_significant(pairs: Sequence[PairResult]) -> float | None:
    if not pairs:
        return None
    return round(100 * sum(pair.significant for pair in pairs) / len(pairs), _DIGITS)


def _build_rank(name: str, among: Sequence[str], pairs: Sequence[PairResult]) -> RankSet:
    """Return a variant's ranks among others, itself included, the best first."""
    low, high = find_ranks(name, among, pairs)
    return RankSet(point=1 + among.index(name), low=low, high=high)
