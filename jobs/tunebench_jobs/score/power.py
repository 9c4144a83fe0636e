"""The smallest differences that a run of this design can find."""

from __future__ import annotations

from itertools import combinations

import numpy as np
from scipy.special import ndtri

from tunebench_jobs.score.board import Board, to_pct
from tunebench_jobs.score.pairs import LEVEL
from tunebench_jobs.score.results import Power
from tunebench_jobs.score.statistics import (
    MIN_CLUSTERS_DIFFERENCE,
    Floats,
    build_clustered_errors,
)

# Found in four cases of five.
_POWER = 0.8


def build_power(board: Board) -> Power | None:
    """Return what the median comparison could have found; none where there is nothing to compare.

    The standard error is that of the run itself, so that its pull requests, ties, gaps and the
    likeness of its variants count as they are.
    """
    basis, rows = _list_differences(board)
    if not len(rows) or board.design.cluster_count < MIN_CLUSTERS_DIFFERENCE:
        return None
    errors = build_clustered_errors(rows, board.design)
    error = float(np.nanmedian(errors))
    if np.isnan(error):
        return None
    return Power(
        basis=basis,
        standard_error=to_pct(error),
        points=to_pct(find_detectable(error, LEVEL)),
        points_holm=to_pct(find_detectable(error, LEVEL / len(rows))),
        comparisons=len(rows),
    )


def find_detectable(error: float, level: float) -> float:
    """Return the difference that a two-sided test of this level finds in four cases of five."""
    return float(ndtri(1 - level / 2) + ndtri(_POWER)) * error


def _list_differences(board: Board) -> tuple[str, Floats]:
    wins = {entry.name: entry.outcomes.win_rates(board.panel) for entry in board.entries}
    names = [entry.name for entry in board.ranked]
    rows = [wins[left] - wins[right] for left, right in combinations(names, 2)]
    basis = "the median pair of models"
    if not rows:
        basis = "fine-tuned against un-tuned"
        couples = [(entry.name, entry.variant.spec.untuned) for entry in board.ranked]
        rows = [wins[name] - wins[untuned] for name, untuned in couples if untuned in wins]
    known = [row for row in rows if not np.isnan(row).all()]
    return basis, np.stack(known) if known else np.zeros((0, len(board.tasks)))
