"""The figures that AlpacaEval, Arena-Hard and FastChat compute themselves; pure.

They are there to be checked against what these tools published; ours stand beside them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from tunebench_api.contract import VerdictFormat
from tunebench_jobs.imports.arrange import ImportedEntry
from tunebench_jobs.imports.results import Figure
from tunebench_jobs.score.statistics import Floats

_DIGITS = 10
_HUNDRED = 100.0


def build_figures(source: VerdictFormat, entry: ImportedEntry, judge: int) -> tuple[Figure, ...]:
    """Compute the source's own figures from one judge's verdicts on one model."""
    points = entry.outcomes.points[judge]
    if np.isnan(points).all():
        return ()
    return tuple(_FORMULAS[source](points, entry.weights[judge]))


def _build_alpaca_eval(points: Floats, _weights: Floats) -> Iterator[Figure]:
    """Yield `win_rate`, `standard_error` and `discrete_win_rate`, over all verdicts alike."""
    shares = points[~np.isnan(points)]
    count = len(shares)
    yield _build("win_rate", float(shares.mean()), count)
    if count > 1:
        yield _build("standard_error", float(shares.std(ddof=1) / np.sqrt(count)), count)
    discrete = np.where(shares == 0.5, 0.5, (shares > 0.5).astype(np.float64))  # noqa: PLR2004 - a draw
    yield _build("discrete_win_rate", float(discrete.mean()), count)


def _build_arena_hard(points: Floats, weights: Floats) -> Iterator[Figure]:
    """Yield the score: strong verdicts count three times, questions without both games never."""
    both = _find_pairs(points)
    if both.any():
        shares, counts = (np.moveaxis(each, 1, -1)[both] for each in (points, weights))
        yield _build("score", float((shares * counts).sum() / counts.sum()), int(both.sum()))


def _build_fastchat(points: Floats, _weights: Floats) -> Iterator[Figure]:
    """Yield win, loss and adjusted win rates, where games that disagree are a tie."""
    both = _find_pairs(points)
    if not both.any():
        return
    pairs = np.moveaxis(points, 1, -1)[both]
    count = len(pairs)
    wins, losses = (float((pairs == share).all(axis=-1).mean()) for share in (1.0, 0.0))
    yield _build("win_rate", wins, count)
    yield _build("loss_rate", losses, count)
    yield _build("win_rate_adjusted", wins + (1 - wins - losses) / 2, count)


def _find_pairs(points: Floats) -> NDArray[np.bool_]:
    """Return by task and repeat whether every order has a verdict."""
    return np.asarray(~np.isnan(points).any(axis=1))


def _build(name: str, share: float, counted: int) -> Figure:
    return Figure(name=name, value=round(_HUNDRED * share, _DIGITS), counted=counted)


_FORMULAS: Mapping[VerdictFormat, Callable[[Floats, Floats], Iterator[Figure]]] = {
    VerdictFormat.ALPACA_EVAL: _build_alpaca_eval,
    VerdictFormat.ARENA_HARD: _build_arena_hard,
    VerdictFormat.FASTCHAT: _build_fastchat,
}
