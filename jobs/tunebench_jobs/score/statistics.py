"""Estimates and intervals over tasks that hang together by pull request; pure NumPy.

An estimate is the mean over the tools of the mean over a tool's tasks (macro-average). Its 95%
interval is a percentile bootstrap that draws whole pull requests, so that the tasks of one pull
request, its judges and its orders stay together. Two corrections keep it honest when there are few:

- the percentiles are those of the *expanded* percentile interval (Hesterberg 2015), because the
  plain ones are too narrow by the same factor as a normal interval is against Student's t;
- for a rate, the interval also covers what so few pull requests cannot exclude: that a share
  `1 - 0.05 ** (1 / n)` of all pull requests ends otherwise than those seen. Else 0 of 8 would be
  "0 ±0".
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

CONFIDENCE = 0.95
# Fewer pull requests than this say nothing about the spread of a rate, or of a difference.
MIN_CLUSTERS_RATE = 2
MIN_CLUSTERS_DIFFERENCE = 5
# Bounds the memory of one chunk of resamples: 32 MB.
_CHUNK_CELLS = 4_000_000
# Ends of an interval that are closer than this are equal but for rounding.
_ROUNDING = 1e-9
_NORMAL = NormalDist()


class Estimate(NamedTuple):
    """A share or a difference of shares; without an end, no interval can be given."""

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
        return [
            None if np.isnan(point) else _build_rate(float(point), draws, count)
            for point, draws, count in self._bootstrap(values)
        ]

    def estimate_differences(self, values: Floats) -> list[Estimate | None]:
        """Estimate differences of shares from rows of values in [-1, 1]; NaN is no value."""
        return [
            None if np.isnan(point) else _build_difference(float(point), draws, count)
            for point, draws, count in self._bootstrap(values)
        ]

    def _bootstrap(self, values: Floats) -> Iterator[tuple[float, Floats, int]]:
        """Yield each row's estimate, its resampled estimates, and its pull requests."""
        sums, counts = _sum_clusters(values, self.design)
        points = _average_tools(sums.sum(axis=-1), counts.sum(axis=-1))
        draws = np.concatenate(
            [
                _average_tools(sums @ chunk.T, counts @ chunk.T)
                for chunk in _draw_resamples(self.design.cluster_count, self.resamples, self.seed)
            ],
            axis=-1,
        )
        clusters = (counts.sum(axis=0) > 0).sum(axis=-1)
        yield from zip(points, draws, clusters.tolist(), strict=True)


def build_interval_levels(clusters: int) -> tuple[float, float]:
    """Return the percentiles, as shares, of the expanded 95% percentile interval."""
    tail = (1 - CONFIDENCE) / 2
    quantile = build_student_quantile(1 - tail, clusters - 1)
    expanded = _NORMAL.cdf(-sqrt(clusters / (clusters - 1)) * quantile)
    return expanded, 1 - expanded


def build_student_quantile(share: float, freedom: int) -> float:
    """Return a quantile of Student's t: exact for 1 and 2 degrees of freedom, else within 0.2%."""
    if freedom == 1:
        return float(np.tan(np.pi * (share - 0.5)))
    if freedom == 2:  # noqa: PLR2004 - the closed forms end here
        width = 2 * share - 1
        return width * sqrt(2 / (1 - width * width))
    # Cornish-Fisher expansion, Abramowitz and Stegun 26.7.5.
    z = _NORMAL.inv_cdf(share)
    terms = (
        z,
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return sum((term / freedom**power for power, term in enumerate(terms)), 0.0)


def build_unseen_share(clusters: int) -> float:
    """Return the largest share of pull requests that could differ and yet not be seen at 95%."""
    return float(1 - (1 - CONFIDENCE) ** (1 / clusters))


def build_agreement(left: Sequence[str], right: Sequence[str]) -> tuple[float, float | None]:
    """Return the share of equal labels and Cohen's kappa; that needs more than one label."""
    labels = sorted({*left, *right})
    rows, columns = (np.array([labels.index(name) for name in side]) for side in (left, right))
    table = np.zeros((len(labels), len(labels)))
    np.add.at(table, (rows, columns), 1 / len(left))
    observed = float(np.trace(table))
    expected = float(table.sum(axis=0) @ table.sum(axis=1))
    return observed, (observed - expected) / (1 - expected) if expected < 1 else None


def _build_rate(point: float, draws: Floats, clusters: int) -> Estimate:
    if clusters < MIN_CLUSTERS_RATE:
        return Estimate(point, None, None)
    low, high = _find_ends(draws, clusters)
    unseen = build_unseen_share(clusters)
    seen = (1 - unseen) * point
    return Estimate(point, min(low, seen), max(high, seen + unseen))


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
    low, high = np.nanquantile(draws, build_interval_levels(clusters))
    return float(low), float(high)


def _sum_clusters(values: Floats, design: Design) -> tuple[Floats, Floats]:
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


def _average_tools(sums: Floats, counts: Floats) -> Floats:
    """Return the mean of the tools' means, over the tools that have any value."""
    means = np.divide(sums, counts, out=np.zeros_like(sums), where=counts > 0)
    tools = (counts > 0).sum(axis=0)
    average: Floats = np.full(tools.shape, np.nan)
    np.divide(means.sum(axis=0), tools, out=average, where=tools > 0)
    return average


def _draw_resamples(clusters: int, resamples: int, seed: int) -> Iterator[Floats]:
    """Yield how often each resample draws each pull request, some resamples at a time."""
    random = np.random.default_rng(seed)
    shares = np.full(clusters, 1 / clusters)
    step = max(1, _CHUNK_CELLS // clusters)
    for start in range(0, resamples, step):
        size = min(step, resamples - start)
        yield random.multinomial(clusters, shares, size=size).astype(np.float64)
