"""How far judges agree: on single comparisons, and on the order of the variants."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from tunebench_jobs.score.board import Board, to_pct
from tunebench_jobs.score.outcomes import TIE
from tunebench_jobs.score.results import (
    Agreement,
    Coefficient,
    LeftOut,
    PanelAgreement,
    RankAgreement,
)
from tunebench_jobs.score.statistics import (
    Floats,
    average_tools,
    average_values,
    build_agreement,
    build_estimate,
    sum_clusters,
)

_DIGITS = 4
_LEVELS = 3
# Two variants have one order or the other, which says little.
_MIN_RANKED = 3
_MIN_JUDGES = 2
# Rates that are closer than this are equal but for rounding.
_ROUNDING = 1e-12


def build_agreements(board: Board) -> Iterator[Agreement]:
    """Compare each two judges on the comparisons that both decided."""
    return compare_judges(board.judges, _list_levels(board, range(len(board.judges))))


def compare_judges(judges: Sequence[str], levels: NDArray[np.intp]) -> Iterator[Agreement]:
    """Compare each two judges; `levels` has a part for each, as of `code_levels`."""
    for left, right in combinations(range(len(judges)), 2):
        both = (levels[left] >= 0) & (levels[right] >= 0)
        if both.any():
            raw, kappa = build_agreement(levels[left][both], levels[right][both])
            yield Agreement(
                judges=(judges[left], judges[right]),
                comparisons=int(both.sum()),
                raw_pct=to_pct(raw),
                kappa=None if kappa is None else round(kappa, _DIGITS),
            )


def code_levels(points: Floats) -> NDArray[np.intp]:
    """Return 0 for lost, 1 for tied, 2 for won, -1 for missing; grades by the side they lie on."""
    sides = 1 + np.sign(np.nan_to_num(points, nan=TIE) - TIE)
    return np.where(np.isnan(points), -1, sides).astype(np.intp)


def build_panel_agreement(board: Board) -> PanelAgreement | None:
    """Summarise how far the judges of the headline agree; of one judge there is nothing to say."""
    if len(board.panel) < _MIN_JUDGES or not board.contestants:
        return None
    levels = _list_levels(board, board.panel)
    return PanelAgreement(
        alpha=_build_alpha(board, levels),
        comparisons=int(((levels >= 0).sum(axis=0) >= _MIN_JUDGES).sum()),
        rankings=tuple(_build_rankings(board)),
        left_out=tuple(_build_left_out(board)),
    )


def build_coincidences(levels: NDArray[np.intp]) -> Floats:
    """Return what each comparison adds to the matrix of coinciding levels.

    Args:
        levels: By judge and comparison, from 0; -1 is no verdict.
    """
    counts = np.stack([(levels == level).sum(axis=0) for level in range(_LEVELS)], axis=-1)
    judged = counts.sum(axis=-1)
    pairs = counts[:, :, None] * (counts[:, None, :] - np.eye(_LEVELS))
    added: Floats = np.zeros(pairs.shape)
    several = judged >= _MIN_JUDGES
    added[several] = pairs[several] / (judged[several] - 1)[:, None, None]
    return added


def build_alphas(coincidences: Floats) -> Floats:
    """Return Krippendorff's alpha of ordered levels for each matrix; NaN where all are alike."""
    marginals = coincidences.sum(axis=-1)
    total = marginals.sum(axis=-1)
    distances = _build_ordinal_distances(marginals)
    observed = (coincidences * distances).sum(axis=(-2, -1))
    products = marginals[:, :, None] * marginals[:, None, :]
    expected = (products * distances).sum(axis=(-2, -1))
    alphas: Floats = np.full(len(coincidences), np.nan)
    np.divide((total - 1) * observed, expected, out=alphas, where=expected > 0)
    return 1 - alphas


def build_tau(left: Floats, right: Floats) -> Floats:
    """Return Kendall's tau-b of each two rows; NaN where a row is constant."""
    first, second = np.triu_indices(left.shape[-1], k=1)
    ours, theirs = (np.sign(row[..., first] - row[..., second]) for row in (left, right))
    untied = np.sqrt((ours != 0).sum(axis=-1) * (theirs != 0).sum(axis=-1))
    taus: Floats = np.full(untied.shape, np.nan)
    np.divide((ours * theirs).sum(axis=-1), untied, out=taus, where=untied > 0)
    return taus


def _build_alpha(board: Board, levels: NDArray[np.intp]) -> Coefficient | None:
    added = build_coincidences(levels.reshape(len(levels), -1))
    # By variant, task and what was asked of each; tasks know their pull requests.
    by_task = added.reshape(*levels.shape[1:3], -1, _LEVELS * _LEVELS).sum(axis=(0, 2))
    by_cluster = np.zeros((board.design.cluster_count, _LEVELS * _LEVELS))
    np.add.at(by_cluster, board.design.clusters, by_task)
    (alpha,) = build_alphas(by_cluster.sum(axis=0).reshape(1, _LEVELS, _LEVELS))
    draws = board.bootstrap.collect(
        lambda drawn: build_alphas((drawn @ by_cluster).reshape(-1, _LEVELS, _LEVELS))
    )
    return _build_coefficient(float(alpha), draws, board)


def _build_rankings(board: Board) -> Iterator[RankAgreement]:
    """Compare the order in which each two judges of the headline put the ranked variants."""
    entries = board.ranked
    if len(entries) < _MIN_RANKED:
        return
    rows = np.stack(
        [entry.outcomes.win_rates([judge]) for judge in board.panel for entry in entries]
    )
    shape = (len(board.panel), len(entries))
    points = average_values(rows, board.design).reshape(shape)
    sums, counts = sum_clusters(rows, board.design)
    draws = board.bootstrap.collect(
        lambda drawn: average_tools(sums @ drawn.T, counts @ drawn.T).T.reshape(-1, *shape)
    )
    for left, right in combinations(range(len(board.panel)), 2):
        known = ~np.isnan(points[left] + points[right])
        tau, taus = (
            build_tau(rates[:, left][:, known], rates[:, right][:, known])
            for rates in (points[None], draws)
        )
        yield RankAgreement(
            judges=(board.judges[board.panel[left]], board.judges[board.panel[right]]),
            variants=int(known.sum()),
            tau=_build_coefficient(float(tau[0]), taus, board),
        )


def _build_left_out(board: Board) -> Iterator[LeftOut]:
    """Say how far ranks move without each judge."""
    ranks = _rank(board, board.panel)
    for judge in board.panel:
        others = [each for each in board.panel if each != judge]
        moved = np.abs(_rank(board, others) - ranks)
        most = int(moved.argmax()) if moved.size else 0
        shift = int(moved[most]) if moved.size else 0
        yield LeftOut(
            judge=board.judges[judge],
            max_rank_shift=shift,
            variant=board.ranked[most].name if shift else None,
        )


def _rank(board: Board, judges: Sequence[int]) -> NDArray[np.intp]:
    """Return the ranks of the ranked variants before some judges; without a rate, the last."""
    rows = [entry.outcomes.win_rates(judges) for entry in board.ranked]
    rates = average_values(np.stack(rows), board.design) if rows else np.zeros(0)
    known = np.nan_to_num(rates, nan=-1.0)
    ranks: NDArray[np.intp] = (known[:, None] < known[None, :] - _ROUNDING).sum(axis=1)
    return ranks


def _list_levels(board: Board, judges: Sequence[int]) -> NDArray[np.intp]:
    """Return levels by judge, variant, task, order and repeat, of all variants but the controls.

    Empty completions have none: they are lost, and no judge was asked.
    """
    repeats = max((entry.outcomes.points.shape[-1] for entry in board.contestants), default=1)
    levels = np.full(
        (len(judges), len(board.contestants), len(board.tasks), 2, repeats), -1, dtype=np.intp
    )
    for number, entry in enumerate(board.contestants):
        points = entry.outcomes.points[list(judges)]
        levels[:, number, :, :, : points.shape[-1]] = code_levels(points)
        empty = [not row.completion.strip() for row in entry.variant.completions]
        levels[:, number, empty] = -1
    return levels


def _build_ordinal_distances(marginals: Floats) -> Floats:
    """Return the squared distance of each two levels: how many values lie between their middles."""
    middles = marginals.cumsum(axis=-1) - marginals / 2
    distances: Floats = (middles[:, :, None] - middles[:, None, :]) ** 2
    return distances


def _build_coefficient(value: float, draws: Floats, board: Board) -> Coefficient | None:
    if np.isnan(value):
        return None
    estimate = build_estimate(value, draws, board.design.cluster_count)
    low, high = (None if end is None else round(end, _DIGITS) for end in estimate[1:])
    return Coefficient(value=round(value, _DIGITS), lo=low, hi=high)
