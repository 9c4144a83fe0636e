"""How much judges will be asked follows from the spec alone."""

from __future__ import annotations

from typing import Any

import pytest
from make_run import make_run

from tunebench_api.contract import JudgingScale, PreflightConfig
from tunebench_jobs.diffs import Options2024
from tunebench_jobs.judge.outlook import Outlook, build_bounds, describe_total
from tunebench_jobs.prompts import PromptSet, PromptTemplate
from tunebench_operator.graph import build_graph

NAMES = frozenset({"pr_task", "pr_response1", "pr_response2"})


def find_scale(**spec: Any) -> JudgingScale:
    """Return what the preflight of a run is told."""
    config = build_graph(make_run(**spec), {}).preflight.config
    assert isinstance(config, PreflightConfig)
    assert config.scale is not None
    return config.scale


def make_prompts(limit: int) -> PromptSet:
    """Return a prompt set that cuts diffs at a limit."""
    text = "{{ pr_task }}{{ pr_response1 }}{{ pr_response2 }} Which one is better?"
    template = PromptTemplate("pr_evaluate_prompt", "prompt", "evaluate.toml", text, NAMES)
    return PromptSet("test", "0", None, Options2024(max_model_tokens=limit), (template,))


def test_questions_are_counted() -> None:
    """Tasks of all tools, every row of the leaderboard, both orders and each repeat."""
    tuned = [{"name": name, "base": "acme/one"} for name in ("a", "b")]
    scale = find_scale(models=tuned, tools=["Describe", "Review"], judging={"repeats": 3})

    # Two models, their base, and the null control.
    assert scale.questions == 200 * 4 * 2 * 3


@pytest.mark.parametrize(
    ("cleaning", "limit", "task"),
    [
        pytest.param(None, 0, 9000, id="longest example of training"),
        pytest.param(None, 32_000, 32_000, id="limit of the prompts"),
        pytest.param({"maxTokens": 5000}, 0, 5000, id="limit of the data"),
        pytest.param({"maxTokens": 5000}, 4000, 4000, id="both"),
    ],
)
def test_the_longest_task_is_what_a_rule_allows(
    cleaning: dict[str, Any] | None, limit: int, task: int
) -> None:
    """A limit that is kept to counts before one that only training has."""
    models = [
        {"name": str(length), "base": "acme/one", "tuning": {"maxLength": length}}
        for length in (9000, 4096)
    ]
    dataset = {"train": {"uri": "/t.jsonl"}, "eval": {"uri": "/e.jsonl"}, "cleaning": cleaning}
    scale = find_scale(models=models, dataset={k: v for k, v in dataset.items() if v is not None})
    bounds = build_bounds(scale, make_prompts(limit))

    assert bounds.task == task
    # The self control's completions are both the baseline's.
    assert bounds.completions == 2 * 1024
    assert bounds.prompt == bounds.scaffold + task + 2 * 1024


def test_a_baseline_that_is_asked_has_its_own_length() -> None:
    """It may write more than the models."""
    asked = find_scale(baseline={"name": "b", "model": "openai/b", "maxTokens": 4000})
    bounds = build_bounds(asked, make_prompts(0))

    assert (asked.completion_tokens, asked.baseline_tokens) == (1024, 4000)
    assert bounds.completions == 8000


def test_judges_of_unknown_price_are_not_free() -> None:
    """The sum says that something is missing from it."""
    bounds = build_bounds(find_scale(), make_prompts(0))

    def outlook(usd: float | None, *, own: bool = False) -> Outlook:
        return Outlook("j", bounds, {}, None, usd, own, batch=False)

    judging = make_run(judging={"budgetUSD": "2"}).spec.judging
    some = describe_total([outlook(1.5), outlook(None)], judging)

    assert some == "judges cost at most $1.50 and what the others cost of $2"
    assert describe_total([outlook(1.5), outlook(1.0)], judging).startswith("warning: ")
    assert "free as an own server" in outlook(0.0, own=True).describe()
    assert "of unknown price" in outlook(None).describe()
