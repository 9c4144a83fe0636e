"""Tests of paired differences, task by task, that keep a pull request's tasks together; pure."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy.special import bdtr

from tunebench_jobs.score.statistics import Design, Floats, sum_clusters

# A task counts as won, for McNemar, if most of the panel gives it in both orders.
_MOST = 0.5
# Bounds the memory of one chunk of flips: 8 MB.
_CHUNK_CELLS = 1_000_000
# Differences that are closer than this are equal but for rounding.
_ROUNDING = 1e-12


def build_sign_flip_p(differences: Floats, design: Design, flips: int, seed: int) -> Floats:
    """Return the two-sided p-value of each row of differences in [-1, 1]; NaN is no value.

    Were two variants alike, each pull request could as well have turned out the other way round,
    with all of its tasks. The p-value is the share of such flips whose mean difference, over tools,
    is at least as far from 0 as the one seen. All flips are tried where there are few of them.
    """
    added = _list_additions(differences, design)
    seen = np.abs(added.sum(axis=-1)) - _ROUNDING
    clusters = design.cluster_count
    hits = np.zeros(len(added))
    exact = 2.0**clusters <= flips
    for signs in _list_all_flips(clusters) if exact else _draw_flips(clusters, flips, seed):
        hits += (np.abs(signs @ added.T) >= seen).sum(axis=0)
    # Of drawn flips, what was seen is one more.
    return hits / 2.0**clusters if exact else (hits + 1) / (flips + 1)


def build_mcnemar_p(left: Floats, right: Floats) -> Floats:
    """Return the p-value of the exact McNemar test of each two rows of strict win rates.

    Tasks that lack either rate are left out; NaN where no task has but one winner.
    """
    present = ~np.isnan(left - right)
    ours, theirs = left > _MOST, right > _MOST
    only_ours = (present & ours & ~theirs).sum(axis=-1)
    only_theirs = (present & theirs & ~ours).sum(axis=-1)
    total = only_ours + only_theirs
    tails = bdtr(np.minimum(only_ours, only_theirs), np.maximum(total, 1), 0.5)
    return np.where(total > 0, np.minimum(2 * tails, 1.0), np.nan)


def correct_holm(p_values: Floats) -> Floats:
    """Return p-values corrected over all of them, in the same order (Holm 1979)."""
    order = np.argsort(p_values, kind="stable")
    factors = np.arange(len(p_values), 0, -1)
    stepped = np.minimum(np.maximum.accumulate(p_values[order] * factors), 1.0)
    corrected: Floats = np.empty_like(stepped)
    corrected[order] = stepped
    return corrected


def _list_additions(differences: Floats, design: Design) -> Floats:
    """Return what each pull request adds to each row's mean of the tools' means."""
    sums, counts = sum_clusters(differences, design)
    totals = counts.sum(axis=-1, keepdims=True)
    shares = np.divide(sums, totals, out=np.zeros_like(sums), where=totals > 0).sum(axis=0)
    tools = np.maximum((totals > 0).sum(axis=0), 1)
    added: Floats = shares / tools
    return added


def _list_all_flips(clusters: int) -> Iterator[Floats]:
    numbers = np.arange(2**clusters)[:, None]
    yield np.where((numbers >> np.arange(clusters)) & 1, -1.0, 1.0)


def _draw_flips(clusters: int, flips: int, seed: int) -> Iterator[Floats]:
    """Yield the signs of every pull request in each flip, some flips at a time."""
    random = np.random.default_rng(seed)
    step = max(1, _CHUNK_CELLS // clusters)
    for start in range(0, flips, step):
        size = min(step, flips - start)
        yield random.choice((-1.0, 1.0), size=(size, clusters))
