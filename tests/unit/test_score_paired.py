"""Paired tests agree with slow loops and with other people's code."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from scipy.stats import permutation_test
from simulate_scores import World, average, make_design, simulate, win
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests

from tunebench_jobs.score.paired import build_mcnemar_p, build_sign_flip_p, correct_holm
from tunebench_jobs.score.statistics import Design, Floats


def make_differences(prs: int, seed: int, *, missing: float = 0.1) -> tuple[Floats, Design]:
    """Return differences of tasks in three tools, some without a value."""
    random = np.random.default_rng(seed)
    values = random.choice([-1.0, -0.5, 0.0, 0.5, 1.0], size=prs * 3)
    values[random.uniform(size=prs * 3) < missing] = np.nan
    return values, make_design(prs)


def flip_slowly(values: Floats, design: Design) -> float:
    """Return the exact p-value by trying all flips, one at a time."""

    def average_slowly(signs: tuple[int, ...]) -> float:
        means = []
        for tool in range(3):
            here = [
                value * signs[cluster]
                for value, kind, cluster in zip(values, design.tools, design.clusters, strict=True)
                if kind == tool and not np.isnan(value)
            ]
            means.append(sum(here) / len(here))
        return abs(sum(means) / 3)

    prs = design.cluster_count
    seen = average_slowly((1,) * prs)
    flipped = [average_slowly(signs) for signs in product((1, -1), repeat=prs)]
    return sum(each >= seen - 1e-12 for each in flipped) / len(flipped)


@pytest.mark.parametrize("seed", range(4))
def test_few_pull_requests_are_flipped_in_all_ways(seed: int) -> None:
    """The p-value is exact, and the one of a loop over all flips."""
    values, design = make_differences(8, seed)
    (p_value,) = build_sign_flip_p(values[None, :], design, 10_000, 1)

    assert p_value == pytest.approx(flip_slowly(values, design))


def test_many_pull_requests_are_flipped_by_chance() -> None:
    """Drawn flips come close to SciPy's, where each pull request has one task."""
    random = np.random.default_rng(5)
    values = random.choice([-1.0, -0.5, 0.0, 0.5, 1.0], p=[0.1, 0.2, 0.2, 0.3, 0.2], size=40)
    design = Design(tools=np.zeros(40, dtype=np.intp), clusters=np.arange(40))
    (ours,) = build_sign_flip_p(values[None, :], design, 20_000, 1)
    theirs = permutation_test(
        (values,), np.mean, permutation_type="samples", n_resamples=20_000, rng=1
    ).pvalue

    assert ours == pytest.approx(theirs, abs=0.01)


def test_no_difference_is_no_evidence() -> None:
    """Variants that never differ have a p-value of 1, and a side makes no difference."""
    values, design = make_differences(30, 1)
    rows = np.stack([np.zeros(90), values, -values])
    none, one, other = build_sign_flip_p(rows, design, 2000, 1)

    assert none == 1
    assert one == pytest.approx(other)


def test_false_positives_are_as_many_as_said() -> None:
    """Of equally good models, the test parts about one pair in twenty."""
    random = np.random.default_rng(3)
    world = World((-0.5, -0.5))
    wins = average(win(simulate(world, 1000, 40, random)))
    p_values = build_sign_flip_p(wins[:, 0] - wins[:, 1], make_design(40), 1000, 1)

    assert 0.035 <= (p_values < 0.05).mean() <= 0.065


def test_mcnemar_is_that_of_statsmodels() -> None:
    """Over random tasks, with gaps, the exact test gives the same p-values."""
    random = np.random.default_rng(2)
    left, right = random.choice([0.0, 1.0, np.nan], size=(2, 20, 50), p=[0.5, 0.4, 0.1])
    ours = build_mcnemar_p(left, right)
    theirs = []
    for first, second in zip(left, right, strict=True):
        both = ~np.isnan(first + second)
        table = np.zeros((2, 2))
        np.add.at(table, (first[both].astype(int), second[both].astype(int)), 1)
        theirs.append(mcnemar(table, exact=True).pvalue)

    assert ours == pytest.approx(theirs)


def test_mcnemar_has_nothing_to_say_of_equal_rows() -> None:
    """Where both win the same tasks there is no p-value."""
    row = np.array([[1.0, 0.0, np.nan]])

    assert np.isnan(build_mcnemar_p(row, row)).all()


@pytest.mark.parametrize("count", [1, 2, 7, 91])
def test_holm_is_that_of_statsmodels(count: int) -> None:
    """The corrected p-values are the same, in the same order, equal ones too."""
    p_values = np.random.default_rng(count).integers(0, 60, size=count) / 1000

    assert correct_holm(p_values) == pytest.approx(multipletests(p_values, method="holm")[1])
