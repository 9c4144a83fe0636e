"""What win rates would be, had every answer the length of the baseline's.

The model is that of AlpacaEval 2 (Dubois et al. 2024, arXiv 2404.04475) without its term for the
difficulty of a task: `logit P(win) = variant + tool + slope * tanh(difference / spread)`, where the
difference is that of the tokens of what both answers say. One slope serves all variants, which few
tasks estimate better than one each. The length-controlled rate is the fitted rate at difference 0,
averaged over the tools. Answers that cannot be read are lost at any length: they are no part of the
fit, and lower the rate by their share.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tunebench_jobs.score.board import Board, Entry, build_rate
from tunebench_jobs.score.logistic import Covariates, fit_all, fit_draws
from tunebench_jobs.score.results import AnswerLength, LengthControlled
from tunebench_jobs.score.statistics import Estimate, Floats, build_estimate

# Each is a fit, so that fewer than of the other intervals must do.
_RESAMPLES = 1000
# With fewer answers on one side than this share, difference 0 is beyond what was seen.
_MIN_OVERLAP = 0.05
_DIGITS = 2


@dataclass(frozen=True)
class LengthFit:
    """A variant's length-controlled rate."""

    estimate: Estimate
    extrapolated: bool
    resamples: int

    def to_result(self) -> LengthControlled | None:
        """Return it in percent."""
        rate = build_rate(self.estimate)
        if rate is None:
            return None
        return LengthControlled(rate=rate, extrapolated=self.extrapolated, resamples=self.resamples)


def build_answer_length(entry: Entry, board: Board) -> AnswerLength | None:
    """Return how long a variant's answers are beside the baseline's."""
    readable = np.array([reading.valid for reading in entry.readings])
    if not readable.any():
        return None
    tokens, baseline = _tokens(entry)[readable], board.tokens[readable]
    ratio = round(float(tokens.sum() / baseline.sum()), 4) if baseline.sum() else None
    return AnswerLength(mean_tokens=round(float(tokens.mean()), _DIGITS), ratio=ratio)


def fit_length(board: Board) -> Mapping[str, LengthFit]:
    """Fit all variants but the controls; none where no answer differs in length."""
    entries = [
        entry for entry in board.contestants if not np.isnan(_readable_wins(entry, board)).all()
    ]
    if not entries:
        return {}
    differences = np.stack([_tokens(entry) - board.tokens for entry in entries])
    wins = np.stack([_readable_wins(entry, board) for entry in entries])
    present = ~np.isnan(wins)
    spread = float(differences[present].std())
    if spread == 0:
        return {}
    covariates = Covariates(
        outcomes=wins, lengths=np.tanh(differences / spread), tools=board.design.tools
    )
    start = fit_all(covariates)
    lost = np.stack([_find_lost(entry) for entry in entries])
    ones = np.ones((1, board.design.cluster_count))
    points = _average(start.rates, _share_kept(ones, board, present, lost))[0]
    resamples = min(_RESAMPLES, board.bootstrap.resamples)
    draws = board.bootstrap.collect(
        lambda drawn: _average(
            fit_draws(covariates, start, drawn[:, board.design.clusters]),
            _share_kept(drawn, board, present, lost),
        ),
        resamples=resamples,
    )
    return {
        entry.name: LengthFit(
            build_estimate(float(points[number]), draws[:, number], board.design.cluster_count),
            extrapolated=is_extrapolated(differences[number][present[number]]),
            resamples=resamples,
        )
        for number, entry in enumerate(entries)
    }


def _tokens(entry: Entry) -> Floats:
    return np.array([reading.tokens for reading in entry.readings], dtype=np.float64)


def _find_lost(entry: Entry) -> NDArray[np.bool_]:
    return np.array([not reading.valid for reading in entry.readings])


def _readable_wins(entry: Entry, board: Board) -> Floats:
    """Return each task's win rate where the answer can be read."""
    wins = entry.outcomes.win_rates(board.panel, as_judged=True)
    return np.where(_find_lost(entry), np.nan, wins)


def _share_kept(
    drawn: Floats, board: Board, present: NDArray[np.bool_], lost: NDArray[np.bool_]
) -> Floats:
    """Return the share of answers that can be read, by resample, variant and tool."""
    tools = np.eye(board.design.tool_count)[board.design.tools]
    weights = drawn[:, board.design.clusters]
    kept, all_of_them = (
        np.einsum("dn,mn,nt->dmt", weights, rows.astype(np.float64), tools, optimize=True)
        for rows in (present, present | lost)
    )
    # A tool without any answer has no rate.
    shares: Floats = np.full(kept.shape, np.nan)
    np.divide(kept, all_of_them, out=shares, where=all_of_them > 0)
    return shares


def _average(rates: Floats, kept: Floats) -> Floats:
    """Return the mean of the tools' rates, over the tools that have answers."""
    values = rates * kept
    present = ~np.isnan(values)
    sums = np.where(present, values, 0.0).sum(axis=-1)
    averages: Floats = sums / np.maximum(present.sum(axis=-1), 1)
    return averages


def is_extrapolated(differences: Floats) -> bool:
    """Whether hardly any answer is longer than the baseline's, or hardly any is shorter."""
    return bool(min((differences > 0).mean(), (differences < 0).mean()) < _MIN_OVERLAP)
