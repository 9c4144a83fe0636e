"""Rows of values that are estimated together, with the same resamples."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from tunebench_jobs.score.board import build_rate
from tunebench_jobs.score.results import Rate
from tunebench_jobs.score.statistics import Bootstrap, Floats

Rates = Mapping[tuple[str, ...], Rate | None]


@dataclass
class Series:
    """Rows of values by task; the estimate of each is found again by its name."""

    names: list[tuple[str, ...]] = field(default_factory=list)
    values: list[Floats] = field(default_factory=list)

    def add(self, values: Floats, *name: str) -> None:
        """Add a row."""
        self.names.append(name)
        self.values.append(values)

    def estimate_rates(self, bootstrap: Bootstrap) -> Rates:
        """Estimate all rows as shares, in percent."""
        estimates = bootstrap.estimate_rates(np.stack(self.values)) if self.values else []
        return dict(zip(self.names, map(build_rate, estimates), strict=True))

    def estimate_differences(self, bootstrap: Bootstrap) -> Rates:
        """Estimate all rows as differences of shares, in points."""
        estimates = bootstrap.estimate_differences(np.stack(self.values)) if self.values else []
        return dict(zip(self.names, map(build_rate, estimates), strict=True))
