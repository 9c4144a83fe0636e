"""Intervals that keep what they promise."""

from __future__ import annotations

from math import sqrt

import numpy as np
import pytest
import statsmodels.api as sm
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm, t
from simulate_scores import World, average, find_truth, simulate, win
from statsmodels.stats.proportion import proportion_confint

from tunebench_jobs.score.statistics import (
    Bootstrap,
    Design,
    Estimate,
    build_agreement,
    build_clustered_errors,
    build_interval_levels,
    build_normal_interval,
    build_unseen_share,
    build_wilson_interval,
)

TOOLS = 3


def make_design(prs: int, tools: int = TOOLS) -> Design:
    """Return tasks of `prs` pull requests, each with every tool."""
    return Design(tools=np.tile(np.arange(tools), prs), clusters=np.repeat(np.arange(prs), tools))


def estimate_rate(values: np.ndarray, design: Design, seed: int = 1) -> Estimate:
    """Return the one estimate of one row of values."""
    (estimate,) = Bootstrap(design, 2000, seed).estimate_rates(values[None, :])
    assert estimate is not None
    return estimate


@pytest.mark.parametrize("clusters", [2, 3, 4, 8, 24, 100])
def test_interval_levels_are_those_of_hesterberg(clusters: int) -> None:
    """A mean's interval at these percentiles of its draws is as wide as Student's."""
    low, high = build_interval_levels(clusters)
    shrunk = sqrt((clusters - 1) / clusters)

    assert -norm.ppf(low) * shrunk == pytest.approx(t.ppf(0.975, clusters - 1))
    assert high == 1 - low


def test_clustered_errors_are_those_of_statsmodels() -> None:
    """Of one tool, with clusters of several tasks, the sandwich estimator says the same."""
    random = np.random.default_rng(1)
    clusters = np.sort(random.integers(0, 40, size=120))
    values = random.choice([0.0, 0.5, 1.0], size=120) * (clusters % 3 > 0)
    design = Design(tools=np.zeros(120, dtype=np.intp), clusters=clusters)
    fitted = sm.OLS(values, np.ones(120)).fit(
        cov_type="cluster", cov_kwds={"groups": clusters, "use_correction": False}
    )

    assert build_clustered_errors(values[None], design) == pytest.approx(fitted.bse)


def test_clustered_errors_are_the_spread_of_the_draws() -> None:
    """Over several tools, with gaps, the formula gives what resampling gives."""
    random = np.random.default_rng(2)
    values = random.choice([0.0, 0.5, 1.0, np.nan], size=(1, 300))
    design = make_design(100)
    draws = Bootstrap(design, 4000, 1).draw_rates(values)

    assert build_clustered_errors(values, design)[0] == pytest.approx(draws.std(), rel=0.05)


@pytest.mark.parametrize(("wins", "count"), [(0, 8), (1, 8), (5, 12), (30, 30)])
def test_other_intervals_are_those_of_statsmodels(wins: int, count: int) -> None:
    """Wilson's and the normal interval of a share agree with statsmodels."""
    share = wins / count
    wilson = proportion_confint(wins, count, method="wilson")
    normal = proportion_confint(wins, count, method="normal")

    assert build_wilson_interval(share, count) == pytest.approx(wilson, abs=1e-12)
    assert build_normal_interval(share, sqrt(share * (1 - share) / count)) == pytest.approx(normal)


def test_interval_levels_become_the_plain_ones() -> None:
    """With many pull requests the interval is the usual percentile interval."""
    assert build_interval_levels(100_000) == pytest.approx((0.025, 0.975), abs=1e-4)


def test_one_task_to_a_pull_request_agrees_with_the_closed_form() -> None:
    """Without clusters the interval is the one of a binomial share."""
    wins = np.array([1.0] * 80 + [0.0] * 120)
    estimate = estimate_rate(wins, make_design(200, tools=1))
    half = 1.972 * sqrt(0.4 * 0.6 / 199)

    assert estimate.point == pytest.approx(0.4)
    assert estimate.low == pytest.approx(0.4 - half, abs=0.008)
    assert estimate.high == pytest.approx(0.4 + half, abs=0.008)


def test_tasks_that_repeat_their_pull_request_add_nothing() -> None:
    """Three copies of each pull request give the interval of one."""
    wins = np.array([1.0] * 8 + [0.0] * 12)
    once = estimate_rate(wins, make_design(20, tools=1))
    thrice = estimate_rate(np.repeat(wins, 3), make_design(20))

    assert thrice == pytest.approx(once)


def test_each_tool_weighs_the_same() -> None:
    """The headline is the mean of the tools and not of the tasks."""
    design = Design(tools=np.array([0, 0, 0, 1]), clusters=np.array([0, 1, 2, 3]))

    assert estimate_rate(np.array([1.0, 1.0, 1.0, 0.0]), design).point == pytest.approx(0.5)


def test_missing_values_have_no_weight() -> None:
    """A task without a value counts neither way, and a row of none has no estimate."""
    design = make_design(4, tools=1)
    rows = np.array([[1.0, 0.0, np.nan, np.nan], [np.nan] * 4])
    known, unknown = Bootstrap(design, 500, 1).estimate_rates(rows)

    assert known is not None
    assert known.point == pytest.approx(0.5)
    assert unknown is None


def test_one_pull_request_has_no_interval() -> None:
    """Nothing can be said about the spread of one, however many tasks it has."""
    estimate = estimate_rate(np.array([1.0, 0.0, 0.0]), make_design(1))

    assert estimate.point == pytest.approx(1 / 3)
    assert estimate.low is estimate.high is None


def test_never_winning_is_not_certainty() -> None:
    """None of 8 pull requests leaves room for almost a third."""
    lost = estimate_rate(np.zeros(24), make_design(8))
    won = estimate_rate(np.ones(24), make_design(8))

    assert lost == pytest.approx((0.0, 0.0, 0.3123), abs=1e-4)
    assert won == pytest.approx((1.0, 0.6877, 1.0), abs=1e-4)
    assert (1 - build_unseen_share(8)) ** 8 == pytest.approx(0.05)


def test_equal_differences_are_not_certainty() -> None:
    """A gain that all of 8 pull requests share has an interval; four have none."""
    (eight,) = Bootstrap(make_design(8), 500, 1).estimate_differences(np.full((1, 24), 0.5))
    (four,) = Bootstrap(make_design(4), 500, 1).estimate_differences(np.full((1, 12), 0.5))

    assert eight == pytest.approx((0.5, 0.0315, 0.6562), abs=1e-4)
    assert four == (0.5, None, None)


def test_pairing_narrows_the_interval() -> None:
    """A constant gain over noisy tasks is seen, though each rate alone is unsure."""
    random = np.random.default_rng(3)
    before = np.repeat(random.uniform(0, 0.7, 40), TOOLS)
    gain = random.uniform(0.1, 0.3, 120)
    bootstrap = Bootstrap(make_design(40), 2000, 1)
    (paired,) = bootstrap.estimate_differences(gain[None, :])
    (rate,) = bootstrap.estimate_rates((before + gain)[None, :])

    assert paired is not None
    assert rate is not None
    assert (paired.low or 0) > 0.15
    assert (paired.high or 0) - (paired.low or 0) < ((rate.high or 0) - (rate.low or 0)) / 3


@pytest.mark.parametrize(
    ("prs", "share"),
    [
        pytest.param(8, 0.4, id="quickstart"),
        pytest.param(24, 0.4, id="small"),
        pytest.param(100, 0.38, id="benchmark"),
        pytest.param(24, 0.05, id="rare wins"),
    ],
)
def test_coverage(prs: int, share: float) -> None:
    """Over simulated benchmarks the interval holds the truth about as often as it says.

    Pull requests differ in difficulty, so that the tasks of one hang together; each task has two
    orders, so that half wins occur.
    """
    random = np.random.default_rng(7)
    rounds = 400
    strength = 4.0
    difficulty = random.beta(share * strength, (1 - share) * strength, size=(rounds, prs, 1, 1))
    wins = (random.uniform(size=(rounds, prs, TOOLS, 2)) < difficulty).mean(axis=-1)
    estimates = Bootstrap(make_design(prs), 1000, 1).estimate_rates(wins.reshape(rounds, -1))
    hits = [e.low <= share <= e.high for e in estimates if e and e.low is not None and e.high]

    assert len(hits) == rounds
    assert 0.925 <= np.mean(hits) <= 0.98


@pytest.mark.parametrize("skills", [(-0.2, -1.0), (-2.5, -4.0)], ids=["usual", "rare wins"])
def test_coverage_with_ties_and_gaps(skills: tuple[float, float]) -> None:
    """Over benchmarks with several judges, ties and missing verdicts, all intervals keep theirs."""
    random = np.random.default_rng(11)
    rounds, prs, world = 400, 40, World(skills)
    truth, truly_adjusted = find_truth(world, random, prs=40_000)
    points = simulate(world, rounds, prs, random)
    wins, adjusted = average(win(points)), average(points)
    bootstrap = Bootstrap(make_design(prs), 1000, 1)
    held = {
        "rate": (bootstrap.estimate_rates(wins[:, 0]), truth[0]),
        "rarer": (bootstrap.estimate_rates(wins[:, 1]), truth[1]),
        "adjusted": (bootstrap.estimate_rates(adjusted[:, 0]), truly_adjusted[0]),
        "difference": (
            bootstrap.estimate_differences(wins[:, 0] - wins[:, 1]),
            truth[0] - truth[1],
        ),
    }
    coverage = {
        name: np.mean(
            [e.low <= value <= e.high for e in found if e and e.low is not None and e.high]
        )
        for name, (found, value) in held.items()
    }

    assert all(0.915 <= share <= 0.98 for share in coverage.values()), coverage


def test_ignoring_pull_requests_would_promise_too_much() -> None:
    """The simulation can tell: as if all tasks were independent, the interval is too narrow."""
    random = np.random.default_rng(7)
    rounds, prs, share = 400, 40, 0.4
    difficulty = random.beta(0.4, 0.6, size=(rounds, prs, 1))
    wins = (random.uniform(size=(rounds, prs, TOOLS)) < difficulty).astype(float)
    independent = Design(tools=np.tile(np.arange(TOOLS), prs), clusters=np.arange(prs * TOOLS))
    coverage = [
        np.mean([e.low <= share <= e.high for e in estimates if e and e.low and e.high])
        for estimates in (
            Bootstrap(design, 500, 1).estimate_rates(wins.reshape(rounds, -1))
            for design in (make_design(prs), independent)
        )
    ]

    assert coverage[0] > 0.92
    assert coverage[1] < 0.90


outcomes = st.lists(st.sampled_from([0.0, 0.5, 1.0]), min_size=TOOLS, max_size=10 * TOOLS).map(
    lambda values: np.array(values[: len(values) // TOOLS * TOOLS])
)


@given(outcomes)
def test_intervals_hold_the_estimate_and_keep_the_bounds(values: np.ndarray) -> None:
    """A rate and its interval lie between 0 and 1, the estimate inside."""
    estimate = estimate_rate(values, make_design(len(values) // TOOLS))

    assert 0 <= estimate.point <= 1
    if estimate.low is not None and estimate.high is not None:
        assert 0 <= estimate.low <= estimate.point <= estimate.high <= 1


@given(outcomes)
def test_wins_and_losses_mirror_each_other(values: np.ndarray) -> None:
    """Seen from the baseline's side, all is the same with the ends swapped."""
    design = make_design(len(values) // TOOLS)
    ours, theirs = estimate_rate(values, design), estimate_rate(1 - values, design)

    assert theirs.point == pytest.approx(1 - ours.point)
    if ours.low is not None and ours.high is not None:
        assert theirs.low == pytest.approx(1 - ours.high)
        assert theirs.high == pytest.approx(1 - ours.low)


@given(outcomes, st.integers(0, 99))
def test_the_order_of_tasks_does_not_matter(values: np.ndarray, seed: int) -> None:
    """Rows may come in any order."""
    design = make_design(len(values) // TOOLS)
    order = np.random.default_rng(seed).permutation(len(values))
    shuffled = Design(tools=design.tools[order], clusters=design.clusters[order])

    assert estimate_rate(values[order], shuffled) == pytest.approx(estimate_rate(values, design))


def test_the_same_seed_gives_the_same_interval() -> None:
    """Chunks and other variants do not change a variant's interval."""
    design = make_design(12)
    rows = np.random.default_rng(5).choice([0.0, 0.5, 1.0], size=(4, 36))
    together = Bootstrap(design, 1000, 9).estimate_rates(rows)
    alone = [estimate_rate(row, design, seed=9) for row in rows]
    apart = [Bootstrap(design, 1000, 9).estimate_rates(row[None, :])[0] for row in rows]

    assert together == [pytest.approx(each) for each in apart]
    assert [each.point for each in alone] == [each.point for each in together if each]


def test_agreement() -> None:
    """Raw agreement and kappa agree with the textbook."""
    left = ["yes"] * 25 + ["no"] * 25
    right = ["yes"] * 20 + ["no"] * 5 + ["yes"] * 10 + ["no"] * 15

    assert build_agreement(left, right) == pytest.approx((0.7, 0.4))
    assert build_agreement(["yes", "yes"], ["yes", "yes"]) == (1.0, None)


@given(st.lists(st.tuples(*[st.sampled_from(["Model", "Tie", "Baseline"])] * 2), min_size=1))
def test_agreement_knows_no_sides(pairs: list[tuple[str, str]]) -> None:
    """Which judge is named first makes no difference, and chance never beats agreement."""
    left, right = zip(*pairs, strict=True)
    observed, kappa = build_agreement(left, right)

    assert build_agreement(right, left) == pytest.approx((observed, kappa))
    assert 0 <= observed <= 1
    assert kappa is None or kappa <= observed + 1e-12
