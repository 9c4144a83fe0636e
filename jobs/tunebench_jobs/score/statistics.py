"""Estimates and intervals over tasks that hang together by pull request; pure.

An estimate is the mean over the tools of the mean over a tool's tasks (macro-average). Its 95%
interval is a percentile bootstrap that draws whole pull requests, so that the tasks of one pull
request, its judges and its orders stay together. Three corrections keep it honest when there are
few pull requests, or few wins:

- the percentiles are those of the *expanded* percentile interval (Hesterberg 2015), because the
  plain ones are too narrow by the same factor as a normal interval is against Student's t;
- a rate's interval is no narrower than Wilson's for as many independent tasks as have the same
  standard error, because percentiles are too short where wins are rare;
- where no pull request differs from another, the interval is what so few cannot exclude: that a
  share `1 - 0.05 ** (1 / n)` of all ends otherwise than those seen. Else 0 of 8 would be "0 ±0".
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import sqrt
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri, stdtrit

Floats = NDArray[np.float64]

CONFIDENCE = 0.95
# Fewer pull requests than this say nothing about the spread of a rate, or of a difference.
MIN_CLUSTERS_RATE = 2
MIN_CLUSTERS_DIFFERENCE = 5
# With fewer than this, intervals are wide whatever happens, and Wilson's is a better check.
FEW_CLUSTERS = 30
# Resamples that are computed at once; what is computed from them is some hundred times as large.
_CHUNK_CELLS = 100_000
# Ends of an interval that are closer than this are equal but for rounding.
_ROUNDING = 1e-9


class Estimate(NamedTuple):
    """A share, or another statistic; without an end, no interval can be given."""

    point: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Design:
    """Which tool and which pull request each task has, as numbers from 0."""

    tools: NDArray[np.intp]
    clusters: NDArray[np.intp]

    @property
    def tool_count(self) -> int:
        """How many tools there are."""
        return int(self.tools.max(initial=-1)) + 1

    @property
    def cluster_count(self) -> int:
        """How many pull requests there are."""
        return int(self.clusters.max(initial=-1)) + 1


@dataclass(frozen=True)
class Bootstrap:
    """How resamples are drawn; one object for all variants, so that they share the draws."""

    design: Design
    resamples: int
    seed: int

    def estimate_rates(self, values: Floats) -> list[Estimate | None]:
        """Estimate shares from rows of values in [0, 1], one per task; NaN is no value.

        A row without any value has no estimate.
        """
        errors = build_clustered_errors(values, self.design)
        return [
            None if np.isnan(point) else _build_rate(float(point), draws, count, float(error))
            for (point, draws, count), error in zip(self._bootstrap(values), errors, strict=True)
        ]

    def estimate_differences(self, values: Floats) -> list[Estimate | None]:
        """Estimate differences of shares from rows of values in [-1, 1]; NaN is no value."""
        return [
            None if np.isnan(point) else _build_difference(float(point), draws, count)
            for point, draws, count in self._bootstrap(values)
        ]

    def draw_rates(self, values: Floats) -> Floats:
        """Return the estimate of each row in every resample: a row of draws for each."""
        sums, counts = sum_clusters(values, self.design)
        return self.collect(lambda drawn: average_tools(sums @ drawn.T, counts @ drawn.T).T).T

    def collect(
        self, statistic: Callable[[Floats], Floats], *, resamples: int | None = None
    ) -> Floats:
        """Return a statistic of every resample, or of the first ones.

        `statistic` is given how often some resamples draw each pull request, and returns a row for
        each of these.
        """
        limit = min(resamples or self.resamples, self.resamples)
        chunks = _draw_resamples(self.design.cluster_count, limit, self.seed)
        return np.concatenate([statistic(chunk) for chunk in chunks])

    def _bootstrap(self, values: Floats) -> Iterator[tuple[float, Floats, int]]:
        """Yield each row's estimate, its resampled estimates, and its pull requests."""
        sums, counts = sum_clusters(values, self.design)
        points = average_tools(sums.sum(axis=-1), counts.sum(axis=-1))
        clusters = (counts.sum(axis=0) > 0).sum(axis=-1)
        yield from zip(points, self.draw_rates(values), clusters.tolist(), strict=True)


def build_interval_levels(clusters: int) -> tuple[float, float]:
    """Return the percentiles, as shares, of the expanded 95% percentile interval."""
    tail = (1 - CONFIDENCE) / 2
    quantile = float(stdtrit(clusters - 1, 1 - tail))
    expanded = float(ndtr(-sqrt(clusters / (clusters - 1)) * quantile))
    return expanded, 1 - expanded


def build_estimate(point: float, draws: Floats, clusters: int) -> Estimate:
    """Return the estimate of any statistic from its draws; NaN is a draw without a value."""
    if clusters < MIN_CLUSTERS_DIFFERENCE or np.isnan(draws).all():
        return Estimate(point, None, None)
    return Estimate(point, *_find_ends(draws, clusters))


def build_clustered_errors(values: Floats, design: Design) -> Floats:
    """Return the standard error of each row's estimate, clustered by pull request.

    Miller 2024 (arXiv 2411.00640), for the mean of the tools' means: the root of the sum of squares
    of what each pull request adds to the deviation.
    """
    sums, counts = sum_clusters(values, design)
    totals = counts.sum(axis=-1)
    means = _divide(sums.sum(axis=-1), totals)
    added = _divide(sums - means[..., None] * counts, totals[..., None]).sum(axis=0)
    tools = (totals > 0).sum(axis=0)
    errors = np.sqrt((added**2).sum(axis=-1))
    return np.where(tools > 0, _divide(errors, tools), np.nan)


def build_normal_interval(point: float, error: float) -> tuple[float, float]:
    """Return the 95% interval of a share by its standard error alone, within 0 and 1."""
    half = float(ndtri(1 - (1 - CONFIDENCE) / 2)) * error
    return max(point - half, 0.0), min(point + half, 1.0)


def build_wilson_interval(share: float, count: int) -> tuple[float, float]:
    """Return Wilson's 95% interval of a share of independent tasks."""
    return _build_wilson(share, count, float(ndtri(1 - (1 - CONFIDENCE) / 2)))


def _build_wilson(share: float, count: float, quantile: float) -> tuple[float, float]:
    square = quantile**2 / count
    middle = (share + square / 2) / (1 + square)
    half = sqrt(square * (share * (1 - share) + square / 4)) / (1 + square)
    return middle - half, middle + half


def build_score_interval(share: float, error: float, clusters: int) -> tuple[float, float]:
    """Return Wilson's interval with Student's quantile and as many tasks as the error speaks for.

    That many independent tasks would have the same error; it is what is done for shares in surveys
    of clusters (Korn and Graubard 1998, with Wilson's interval for the exact one).
    """
    if error <= 0 or not 0 < share < 1:
        return share, share
    count = share * (1 - share) / error**2 * (clusters - 1) / clusters
    quantile = float(stdtrit(clusters - 1, 1 - (1 - CONFIDENCE) / 2))
    return _build_wilson(share, count, quantile)


def build_unseen_share(clusters: int) -> float:
    """Return the largest share of pull requests that could differ and yet not be seen at 95%."""
    return float(1 - (1 - CONFIDENCE) ** (1 / clusters))


def build_agreement(
    left: Sequence[str] | NDArray[np.intp], right: Sequence[str] | NDArray[np.intp]
) -> tuple[float, float | None]:
    """Return the share of equal labels and Cohen's kappa; that needs more than one label."""
    labels, codes = np.unique(np.concatenate([left, right]), return_inverse=True)
    table = np.zeros((len(labels), len(labels)))
    np.add.at(table, tuple(codes.reshape(2, -1)), 1 / len(left))
    observed = float(np.trace(table))
    expected = float(table.sum(axis=0) @ table.sum(axis=1))
    # Of one label alone, what is expected is 1 but for rounding.
    return observed, (observed - expected) / (1 - expected) if len(labels) > 1 else None


def _build_rate(point: float, draws: Floats, clusters: int, error: float) -> Estimate:
    if clusters < MIN_CLUSTERS_RATE:
        return Estimate(point, None, None)
    low, high = _find_ends(draws, clusters)
    if high - low < _ROUNDING:
        return _build_unseen(point, clusters)
    score = build_score_interval(point, error, clusters)
    # Wilson's ends lie within 0 and 1, but for rounding.
    return Estimate(point, max(min(low, score[0]), 0.0), min(max(high, score[1]), 1.0))


def _build_unseen(point: float, clusters: int) -> Estimate:
    """Return what so few pull requests cannot exclude, where none differs from another."""
    unseen = build_unseen_share(clusters)
    seen = (1 - unseen) * point
    return Estimate(point, seen, seen + unseen)


def _build_difference(point: float, draws: Floats, clusters: int) -> Estimate:
    if clusters < MIN_CLUSTERS_DIFFERENCE:
        return Estimate(point, None, None)
    low, high = _find_ends(draws, clusters)
    if high - low < _ROUNDING:
        # No pull request differs from another: the draws cannot tell how much others would.
        unseen = build_unseen_share(clusters)
        seen = (1 - unseen) * point
        low, high = seen - unseen, seen + unseen
    return Estimate(point, low, high)


def _find_ends(draws: Floats, clusters: int) -> tuple[float, float]:
    known = draws[~np.isnan(draws)]
    low, high = np.quantile(known, build_interval_levels(clusters))
    return float(low), float(high)


def sum_clusters(values: Floats, design: Design) -> tuple[Floats, Floats]:
    """Return sums and counts by tool, row and pull request."""
    shape = (design.tool_count, len(values), design.cluster_count)
    sums, counts = np.zeros(shape), np.zeros(shape)
    present = ~np.isnan(values)
    for row in range(len(values)):
        tasks = present[row]
        cells = (design.tools[tasks], row, design.clusters[tasks])
        np.add.at(sums, cells, values[row, tasks])
        np.add.at(counts, cells, 1.0)
    return sums, counts


def average_tools(sums: Floats, counts: Floats) -> Floats:
    """Return the mean of the tools' means, over the tools that have any value."""
    tools = (counts > 0).sum(axis=0)
    means = _divide(sums, counts).sum(axis=0)
    return np.where(tools > 0, _divide(means, tools), np.nan)


def average_values(values: Floats, design: Design) -> Floats:
    """Return the estimate of one row, or of each of several."""
    rows = np.atleast_2d(values)
    sums, counts = sum_clusters(rows, design)
    averages = average_tools(sums.sum(axis=-1), counts.sum(axis=-1))
    return averages.reshape(values.shape[:-1])


def _divide(numerators: Floats, denominators: Floats | NDArray[np.intp]) -> Floats:
    """Divide, and return 0 where there is nothing to divide by."""
    quotients: Floats = np.zeros(np.broadcast_shapes(numerators.shape, denominators.shape))
    np.divide(numerators, denominators, out=quotients, where=denominators > 0)
    return quotients


def _draw_resamples(clusters: int, resamples: int, seed: int) -> Iterator[Floats]:
    """Yield how often each resample draws each pull request, some resamples at a time."""
    random = np.random.default_rng(seed)
    shares = np.full(clusters, 1 / clusters)
    step = max(1, _CHUNK_CELLS // clusters)
    for start in range(0, resamples, step):
        size = min(step, resamples - start)
        yield random.multinomial(clusters, shares, size=size).astype(np.float64)
