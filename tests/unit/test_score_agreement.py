"""Agreement of judges, beside other people's implementations."""

from __future__ import annotations

import krippendorff
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from make_scores import LLM, OTHER, Rule, always, make_tasks, make_variant, score
from scipy.stats import kendalltau
from statsmodels.stats.inter_rater import cohens_kappa

from tunebench_api.v1alpha1 import JudgeSpec
from tunebench_jobs.judge.verdicts import Winner
from tunebench_jobs.records import Completion
from tunebench_jobs.score.agreement import build_alphas, build_coincidences, build_tau
from tunebench_jobs.score.statistics import build_agreement

THIRD = JudgeSpec(name="third", model="vendor/third-2024-06-01", family="third")


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("missing", [0.0, 0.3])
def test_alpha_is_that_of_the_library(seed: int, missing: float) -> None:
    """Ordinal alpha agrees with the package krippendorff, gaps or not."""
    random = np.random.default_rng(seed)
    truth = random.integers(0, 3, size=120)
    levels = np.where(random.uniform(size=(3, 120)) < 0.6, truth, random.integers(0, 3, (3, 120)))
    levels[random.uniform(size=levels.shape) < missing] = -1
    (ours,) = build_alphas(build_coincidences(levels).sum(axis=0)[None])
    data = np.where(levels < 0, np.nan, levels)

    assert ours == pytest.approx(
        krippendorff.alpha(reliability_data=data, level_of_measurement="ordinal")
    )


def test_alpha_of_one_level_is_unknown() -> None:
    """Where all verdicts are alike, agreement beyond chance cannot be told."""
    assert np.isnan(build_alphas(build_coincidences(np.ones((2, 5), dtype=np.intp)).sum(0)[None]))


ranks = st.lists(st.integers(0, 4).map(float), min_size=3, max_size=8)


@given(st.data(), ranks)
def test_tau_is_that_of_scipy(data: st.DataObject, left: list[float]) -> None:
    """Kendall's tau-b agrees with SciPy, ties or not."""
    right = data.draw(
        st.lists(st.integers(0, 4).map(float), min_size=len(left), max_size=len(left))
    )
    (ours,) = build_tau(np.array([left]), np.array([right]))
    theirs = kendalltau(left, right).statistic

    assert ours == pytest.approx(theirs, nan_ok=True)


@pytest.mark.parametrize("seed", range(3))
def test_kappa_is_that_of_statsmodels(seed: int) -> None:
    """Cohen's kappa of two judges agrees with statsmodels."""
    left, right = np.random.default_rng(seed).integers(0, 3, size=(2, 80))
    table = np.zeros((3, 3))
    np.add.at(table, (left, right), 1)
    _, kappa = build_agreement(left, right)

    assert kappa == pytest.approx(cohens_kappa(table).kappa)


def by_judge(numbers: dict[str, int]) -> Rule:
    """Return a rule by which each judge gives the model the first tasks, as many as it likes."""
    return lambda number, _task, judge, _order: (
        Winner.MODEL if number < numbers[judge] else Winner.BASELINE
    )


def test_judges_that_rank_alike_and_one_that_does_not() -> None:
    """Two judges have the same order, the third the opposite; it moves the most."""
    tasks, judges = make_tasks(12), [LLM, OTHER, THIRD]
    results = score(
        tasks,
        judges,
        make_variant("a", tasks, judges, by_judge({"llm": 30, "other": 30, "third": 4})),
        make_variant("b", tasks, judges, by_judge({"llm": 20, "other": 20, "third": 18})),
        make_variant("c", tasks, judges, by_judge({"llm": 10, "other": 10, "third": 35})),
    )
    panel = results.panel_agreement
    assert panel is not None
    taus = {ranking.judges: ranking.tau.value for ranking in panel.rankings if ranking.tau}

    assert taus == {("llm", "other"): 1, ("llm", "third"): -1, ("other", "third"): -1}
    assert {left.judge: left.max_rank_shift for left in panel.left_out}["third"] == 0
    assert max(left.max_rank_shift for left in panel.left_out) > 0
    assert panel.alpha is not None
    assert panel.alpha.lo is not None
    assert panel.alpha.lo < panel.alpha.value


def test_one_judge_agrees_with_nobody() -> None:
    """There is no agreement of one."""
    tasks = make_tasks(6)
    results = score(tasks, [LLM], make_variant("a", tasks, [LLM], by_judge({"llm": 9})))

    assert results.panel_agreement is None


def test_what_no_judge_was_asked_is_no_agreement() -> None:
    """Empty completions are lost unasked, which says nothing of judges."""
    tasks = make_tasks(4)
    empty = {
        task.id: Completion(task=task.id, completion=" ", finish_reason="stop")
        for task in tasks[:6]
    }
    judges = [LLM, OTHER]
    results = score(
        tasks,
        judges,
        make_variant("half", tasks, judges, always(Winner.BASELINE), completions=empty),
    )

    [pair] = results.agreement
    assert pair.comparisons == 2 * (len(tasks) - len(empty))
    assert results.panel_agreement is not None
    assert results.panel_agreement.comparisons == pair.comparisons
