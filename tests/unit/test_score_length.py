"""Length-controlled win rates, beside a regression by statsmodels."""

from __future__ import annotations

import numpy as np
import pytest
import statsmodels.api as sm
from make_scores import ANSWERS, LLM, Rule, make_tasks, make_variant, score
from scipy.special import expit

from tunebench_api.v1alpha1 import Tool
from tunebench_jobs.judge.verdicts import Winner
from tunebench_jobs.records import Completion, Task
from tunebench_jobs.score.logistic import Covariates, fit_all, fit_draws
from tunebench_jobs.score.results import VariantResult

MODELS, TASKS, TOOLS = 4, 90, 3


def make_covariates(seed: int = 1) -> Covariates:
    """Return outcomes that follow the model of the fit."""
    random = np.random.default_rng(seed)
    tools = np.arange(TASKS) % TOOLS
    lengths = np.tanh(random.normal(0.3, 1, size=(MODELS, TASKS)))
    logits = np.linspace(-1, 1, MODELS)[:, None] + np.array([0, 0.5, -0.5])[tools] + 1.5 * lengths
    outcomes = (random.uniform(size=(2, MODELS, TASKS)) < expit(logits)).mean(axis=0)
    outcomes[random.uniform(size=outcomes.shape) < 0.05] = np.nan
    return Covariates(outcomes, lengths, tools)


def fit_with_statsmodels(covariates: Covariates, weights: np.ndarray) -> tuple[np.ndarray, float]:
    """Return the rates at difference 0 and the slope, by an unpenalised regression."""
    rows, y, counts = [], [], []
    for model in range(MODELS):
        for task in range(TASKS):
            if np.isnan(covariates.outcomes[model, task]) or not weights[task]:
                continue
            tool = covariates.tools[task]
            rows.append(
                [float(model == m) for m in range(MODELS)]
                + [float(tool == 1), float(tool == 2), covariates.lengths[model, task]]
            )
            y.append(covariates.outcomes[model, task])
            counts.append(weights[task])
    fitted = sm.GLM(y, np.array(rows), family=sm.families.Binomial(), freq_weights=counts).fit()
    intercepts, tools = fitted.params[:MODELS], np.array([0, *fitted.params[MODELS:-1]])
    return expit(intercepts[:, None] + tools), float(fitted.params[-1])


def test_the_fit_is_that_of_statsmodels() -> None:
    """Rates and slope agree but for the light ridge."""
    covariates = make_covariates()
    fit = fit_all(covariates)
    rates, slope = fit_with_statsmodels(covariates, np.ones(TASKS))

    assert fit.rates[0] == pytest.approx(rates, abs=0.005)
    assert fit.slopes[0] == pytest.approx(slope, rel=0.01)


def test_resamples_are_fitted_as_if_each_were_alone() -> None:
    """Weights of tasks give what the regression gives with them."""
    covariates = make_covariates()
    weights = np.random.default_rng(4).multinomial(30, np.full(30, 1 / 30), size=5)
    weights = np.repeat(weights, TOOLS, axis=1).astype(float)
    drawn = fit_draws(covariates, fit_all(covariates), weights)

    for number in range(5):
        rates, _ = fit_with_statsmodels(covariates, weights[number])
        assert drawn[number] == pytest.approx(rates, abs=0.02)


def test_a_variant_that_always_loses_stays_finite() -> None:
    """Its rate is next to nothing, and the others' are not moved."""
    covariates = make_covariates()
    covariates.outcomes[0] = 0.0
    fit = fit_all(covariates)

    assert np.isfinite(fit.intercepts).all()
    assert fit.rates[0, 0].max() < 0.01


def make_completions(tasks: list[Task], words: dict[int, int]) -> dict[str, Completion]:
    """Return answers of Describe with so many more words in some tasks."""
    texts = {
        tasks[number].id: "type: [Bug fix]\ndescription: d" + " word" * count + "\ntitle: t\n"
        "pr_files: []\n"
        for number, count in words.items()
    }
    return {
        task: Completion(task=task, completion=text, finish_reason="stop")
        for task, text in texts.items()
    }


def score_lengths(rule: Rule, longer: range, shorter_is: str = "") -> VariantResult:
    """Score one variant of which some answers are longer than the baseline's."""
    tasks = make_tasks(60, [Tool.DESCRIBE])
    completions = make_completions(tasks, dict.fromkeys(longer, 40))
    for number in set(range(60)) - set(longer):
        completions[tasks[number].id] = Completion(
            task=tasks[number].id,
            completion="type: [Fix]\ndescription: d\ntitle: t\npr_files: []\n"
            if shorter_is
            else ANSWERS[Tool.DESCRIBE],
            finish_reason="stop",
        )
    results = score(tasks, [LLM], make_variant("m", tasks, [LLM], rule, completions=completions))
    (row,) = results.variants
    return row


def test_wins_that_go_with_length_are_taken_off() -> None:
    """A judge that likes length gives more than is left at the baseline's length."""

    def rule(number: int, *_: object) -> Winner:
        wins = number % 10 < 8 if number < 40 else number % 10 < 2
        return Winner.MODEL if wins else Winner.BASELINE

    row = score_lengths(rule, range(40), shorter_is="one word")
    assert row.win_rate is not None
    assert row.length_controlled is not None
    assert row.length is not None

    assert row.win_rate.pct == pytest.approx(60)
    assert row.length_controlled.rate.pct < 50
    assert row.length_controlled.rate.lo is not None
    assert not row.length_controlled.extrapolated
    assert row.length.ratio is not None
    assert row.length.ratio > 2


def test_all_answers_longer_is_beyond_what_was_seen() -> None:
    """What equal length would give is a guess then, and is marked."""
    row = score_lengths(
        lambda number, *_: Winner.MODEL if number % 2 else Winner.BASELINE, range(59)
    )
    assert row.length_controlled is not None

    assert row.length_controlled.extrapolated


def test_equal_lengths_need_no_control() -> None:
    """Where no answer differs in length, there is no other rate."""
    tasks = make_tasks(8)
    (row,) = score(tasks, [LLM], make_variant("m", tasks, [LLM], lambda *_: Winner.MODEL)).variants

    assert row.length_controlled is None
    assert row.length is not None
    assert row.length.ratio == 1
