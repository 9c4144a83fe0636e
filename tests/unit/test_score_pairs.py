"""Every two variants are compared, those of an import as those of a run."""

from __future__ import annotations

import numpy as np

from tunebench_jobs.score.agreement import code_levels, compare_judges
from tunebench_jobs.score.pairs import build_pairs, find_ranks, order_variants
from tunebench_jobs.score.statistics import Bootstrap, Design

TASKS = 40
DESIGN = Design(tools=np.zeros(TASKS, dtype=np.intp), clusters=np.arange(TASKS))
RATES = {"last": 0.1, "best": 0.9, "middle": 0.5, "unknown": np.nan}


def make_rates(share: float) -> np.ndarray:
    """Return wins in the first tasks, as many as the share says."""
    return np.where(np.isnan(share), np.nan, np.arange(TASKS) < np.nan_to_num(share) * TASKS)


def test_the_best_stands_first_and_who_has_no_rate_nowhere() -> None:
    """Pairs name the better one first, and ranks follow from those that are sure."""
    rows = ((name, make_rates(share), make_rates(share)) for name, share in RATES.items())
    compared = order_variants(rows, DESIGN)
    pairs = list(build_pairs(compared, Bootstrap(DESIGN, 500, 1)))

    assert compared.names == ["best", "middle", "last"]
    assert [(pair.better, pair.worse) for pair in pairs] == [
        ("best", "middle"),
        ("best", "last"),
        ("middle", "last"),
    ]
    assert [find_ranks(name, compared.names, pairs) for name in compared.names] == [
        (1, 1),
        (2, 2),
        (3, 3),
    ]
    assert find_ranks("last", ["middle", "last"], pairs) == (2, 2)


def test_of_too_many_each_is_compared_with_the_best() -> None:
    """A table of all pairs would not fit, so it has a row for each but the best."""
    rows = ((name, make_rates(share), make_rates(share)) for name, share in RATES.items())
    pairs = build_pairs(order_variants(rows, DESIGN), Bootstrap(DESIGN, 500, 1), most=2)

    assert [(pair.better, pair.worse) for pair in pairs] == [("best", "middle"), ("best", "last")]


def test_grades_agree_by_the_side_that_they_lie_on() -> None:
    """A verdict of 0.6 and one of 1 name the same winner; what one judge lacks does not count."""
    points = np.array([[0.6, 0.5, 0.0, np.nan], [1.0, 0.5, 0.9, 1.0]])
    (pair,) = compare_judges(["a", "b"], code_levels(points))

    assert code_levels(points).tolist() == [[2, 1, 0, -1], [2, 1, 2, 2]]
    assert pair.comparisons == 3
    assert round(pair.raw_pct, 1) == 66.7
