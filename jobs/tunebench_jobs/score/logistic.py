"""A logistic regression with one intercept to each variant, fitted to many resamples at once.

All variants share the effect of each tool but the first, and one slope of length. The intercepts
make a diagonal block of the Hessian, so that each Newton step solves a system as small as what is
shared. A light ridge keeps variants that always lose, or always win, finite.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from tunebench_jobs.score.statistics import Floats

# On the scale of the logit: standard deviations of 10 and 3 that the parameters have beforehand.
_INTERCEPT_RIDGE = 0.01
_SHARED_RIDGE = 0.1
_MAX_STEPS = 40
_MAX_STEP = 3.0
# Newton's steps get shorter by squares: after one of this length, the next is a millionth.
_TOLERANCE = 1e-3
# Bounds the memory of one chunk of resamples: 2 MB to an array, which fits into caches.
_CHUNK_CELLS = 250_000


@dataclass(frozen=True)
class Covariates:
    """What is fitted: rows are variants, columns are tasks."""

    # Shares in [0, 1]; NaN is no value.
    outcomes: Floats
    # In (-1, 1): 0 where an answer is as long as the baseline's.
    lengths: Floats
    # The tool of each task, as a number from 0.
    tools: NDArray[np.intp]

    @property
    def dummies(self) -> Floats:
        """Which tasks are of each tool but the first: a column each."""
        return np.eye(int(self.tools.max()) + 1)[self.tools][:, 1:]


@dataclass(frozen=True)
class Fit:
    """Parameters of several fits: a row of intercepts and of what the variants share to each."""

    intercepts: Floats
    # Effects of the tools, and at the end the slope.
    shared: Floats

    @property
    def slopes(self) -> Floats:
        """The effect of length in each fit."""
        return self.shared[:, -1]

    @property
    def rates(self) -> Floats:
        """Rates at difference 0: by fit, variant and tool."""
        tools = np.concatenate([np.zeros_like(self.shared[:, :1]), self.shared[:, :-1]], axis=1)
        rates: Floats = expit(self.intercepts[:, :, None] + tools[:, None, :])
        return rates


def fit_all(covariates: Covariates) -> Fit:
    """Fit the data as they are."""
    variants, tasks = covariates.outcomes.shape
    start = Fit(np.zeros((1, variants)), np.zeros((1, covariates.dummies.shape[1] + 1)))
    return _fit(covariates, start, np.ones((1, tasks)))


def fit_draws(covariates: Covariates, start: Fit, weights: Floats) -> Floats:
    """Return the rates at difference 0 with each row of weights of the tasks."""
    return np.concatenate(
        [_fit(covariates, start, chunk).rates for chunk in _cut(weights, covariates)]
    )


def _cut(weights: Floats, covariates: Covariates) -> Iterator[Floats]:
    step = max(1, _CHUNK_CELLS // covariates.outcomes.size)
    for first in range(0, len(weights), step):
        yield weights[first : first + step]


def _fit(covariates: Covariates, start: Fit, weights: Floats) -> Fit:
    """Take Newton steps from `start` until none of the fits moves."""
    present = ~np.isnan(covariates.outcomes)
    outcomes = np.where(present, covariates.outcomes, 0.0)
    shares = weights[:, None, :] * present
    intercepts = np.repeat(start.intercepts, len(weights), axis=0)
    shared = np.repeat(start.shared, len(weights), axis=0)
    for _ in range(_MAX_STEPS):
        step = _find_step(covariates, outcomes, shares, Fit(intercepts, shared))
        intercepts = intercepts + step.intercepts
        shared = shared + step.shared
        if max(np.abs(step.intercepts).max(), np.abs(step.shared).max()) < _TOLERANCE:
            break
    return Fit(intercepts, shared)


def _find_step(covariates: Covariates, outcomes: Floats, shares: Floats, at: Fit) -> Fit:
    dummies, lengths = covariates.dummies, covariates.lengths
    tools = at.shared[:, :-1] @ dummies.T
    logits = at.intercepts[:, :, None] + tools[:, None, :] + at.slopes[:, None, None] * lengths
    fitted = expit(logits)
    residuals = shares * (outcomes - fitted)
    curvature = shares * fitted * (1 - fitted)
    bent = curvature * lengths
    gradient = residuals.sum(axis=2) - _INTERCEPT_RIDGE * at.intercepts
    shared_gradient = (
        np.column_stack(
            [residuals.sum(axis=1) @ dummies, np.einsum("dmn,mn->d", residuals, lengths)]
        )
        - _SHARED_RIDGE * at.shared
    )
    diagonal = curvature.sum(axis=2) + _INTERCEPT_RIDGE
    cross = np.concatenate([curvature @ dummies, bent.sum(axis=2)[:, :, None]], axis=2)
    block = _build_shared_block(
        curvature.sum(axis=1) @ dummies,
        bent.sum(axis=1) @ dummies,
        np.einsum("dmn,mn->d", bent, lengths),
    )
    scaled = cross / diagonal[:, :, None]
    schur = block - np.einsum("dms,dmt->dst", scaled, cross)
    right = shared_gradient - np.einsum("dms,dm->ds", scaled, gradient)
    shared = np.linalg.solve(schur, right[:, :, None])[:, :, 0]
    intercepts = (gradient - np.einsum("dms,ds->dm", cross, shared)) / diagonal
    return Fit(*(np.clip(step, -_MAX_STEP, _MAX_STEP) for step in (intercepts, shared)))


def _build_shared_block(by_tool: Floats, with_slope: Floats, slope: Floats) -> Floats:
    """Return the Hessian of what the variants share; no task has two tools."""
    fits, tools = by_tool.shape
    block = np.zeros((fits, tools + 1, tools + 1))
    places = np.arange(tools)
    block[:, places, places] = by_tool
    block[:, -1, :-1] = block[:, :-1, -1] = with_slope
    block[:, -1, -1] = slope
    return block + _SHARED_RIDGE * np.eye(tools + 1)
