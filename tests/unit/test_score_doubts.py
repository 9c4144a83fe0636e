"""Judges that follow something else than the answers are found, and their numbers marked."""

from __future__ import annotations

import pytest
from make_scores import ANSWERS, LLM, OTHER, Rule, always, make_tasks, make_variant, score

from tunebench_api.contract import VariantKind
from tunebench_api.reliability import Reliability
from tunebench_api.v1alpha1 import Control, JudgeSpec, Tool
from tunebench_jobs.judge.comparisons import Order
from tunebench_jobs.judge.verdicts import Winner
from tunebench_jobs.records import Completion, Task
from tunebench_jobs.score.benchmark_2024 import find_panel_replication, find_replication
from tunebench_jobs.score.build import build_summary
from tunebench_jobs.score.markdown import render_markdown
from tunebench_jobs.score.results import Results

TASKS = make_tasks(60, [Tool.DESCRIBE])
# Every other task has an answer that says more.
LONGER = {task.id for task in TASKS[::2]}


def is_good(number: int) -> bool:
    """Whether the model's answer is the better one, whatever its length."""
    return number % 5 < 2


def fair(number: int, *_: object) -> Winner:
    """Prefer the better answer."""
    return Winner.MODEL if is_good(number) else Winner.BASELINE


def first(_number: int, _task: Task, _judge: str, order: Order) -> Winner:
    """Prefer what comes first."""
    return Winner.MODEL if order is Order.MODEL_FIRST else Winner.BASELINE


def longer(_number: int, task: Task, *_: object) -> Winner:
    """Prefer the longer answer."""
    return Winner.MODEL if task.id in LONGER else Winner.BASELINE


def half(number: int, *_: object) -> Winner | None:
    """Fail on every other task."""
    return None if number % 2 else fair(number)


def contrary(number: int, *_: object) -> Winner:
    """Prefer the worse answer."""
    return Winner.BASELINE if is_good(number) else Winner.MODEL


def mixed(rules: dict[str, Rule]) -> Rule:
    """Return a rule of several judges."""
    return lambda number, task, judge, order: rules[judge](number, task, judge, order)


def run(rules: dict[str, Rule], *controls: tuple[Control, Rule]) -> Results:
    """Score one variant, some answers of which are longer than the baseline's, others shorter."""
    judges = [judge for judge in (LLM, OTHER) if judge.name in rules]
    completions = {
        task.id: Completion(
            task=task.id,
            completion=ANSWERS[task.tool].replace(": d\n", ": d and more of it\n")
            if task.id in LONGER
            else ANSWERS[task.tool].replace("Bug fix", "Fix"),
            finish_reason="stop",
        )
        for task in TASKS
    }
    variants = [make_variant("m", TASKS, judges, mixed(rules), completions=completions)]
    variants += [
        make_variant(f"{control} control", TASKS, judges, rule, control=control)
        for control, rule in controls
    ]
    return score(TASKS, judges, *variants)


def find(results: Results) -> Reliability:
    """Return what was found, as the status gets it."""
    facts = build_summary(results)["reliability"]
    return Reliability.from_wire(facts)


def test_fair_judges_are_trusted() -> None:
    """Nothing speaks against judges that agree and follow the answers."""
    results = run({"llm": fair, "other": fair}, (Control.SELF, always(Winner.TIE)))
    found = find(results)

    assert found.reliable
    assert found.doubts == ()
    assert "do not trust" not in render_markdown(results).casefold()


@pytest.mark.parametrize(
    ("rule", "reason", "words"),
    [
        pytest.param(first, "PositionBias", "100.0% of its decided verdicts", id="first"),
        pytest.param(longer, "PrefersLength", "the longer of two answers in 100.0%", id="longer"),
        pytest.param(half, "VerdictsMissing", "no verdict on 50.0%", id="half"),
    ],
)
def test_a_judge_that_cannot_be_trusted_is_named(rule: Rule, reason: str, words: str) -> None:
    """Beside a fair judge, the other is found, and its numbers and the headline are marked."""
    results = run({"llm": fair, "other": rule})
    found = find(results)
    text = render_markdown(results)
    doubt = next(each for each in found.doubts if each.judge == "other")

    assert found.reliable is False
    assert doubt.reason == reason
    assert {each.judge for each in found.doubts} <= {"other", None}
    assert words in doubt.message
    assert "look at `llm` alone" in doubt.message
    assert "| other (**do not trust**) |" in text
    assert "better than gpt-4-turbo rate [%] (**do not trust**)" in text
    assert f"- {doubt.message}." in text


def test_judges_that_contradict_each_other() -> None:
    """Both may be sound alone; their mean says nothing."""
    results = run({"llm": fair, "other": contrary})
    (doubt,) = find(results).doubts

    assert (doubt.reason, doubt.judge) == ("JudgesDisagree", None)
    assert "| other (**do not trust**) |" not in render_markdown(results)
    assert "rate [%] (**do not trust**)" in render_markdown(results)


@pytest.mark.parametrize(
    ("control", "rule", "reason"),
    [
        pytest.param(Control.NULL, always(Winner.MODEL), "NullControlWins", id="null"),
        pytest.param(Control.PADDED, always(Winner.MODEL), "PaddedControlWins", id="padded"),
        pytest.param(Control.SELF, always(Winner.BASELINE), "SelfControlUneven", id="self"),
    ],
)
def test_controls_speak_against_a_judge(control: Control, rule: Rule, reason: str) -> None:
    """What cannot be better and wins shows that the judge follows something else."""
    results = run({"llm": fair}, (control, rule))

    assert [doubt.reason for doubt in find(results).doubts] == [reason]


@pytest.mark.parametrize("winner", [Winner.TIE, Winner.BASELINE])
def test_a_padded_answer_may_lose(winner: Winner) -> None:
    """A judge that sees through the padding, or does not mind, is sound."""
    assert find(run({"llm": fair}, (Control.PADDED, always(winner)))).reliable


def test_good_long_answers_are_no_bias() -> None:
    """Where a better variant is also the longer one, its wins say nothing against the judge."""
    texts = {
        task.id: Completion(
            task=task.id,
            completion=ANSWERS[task.tool].replace(": d\n", ": d and more of it\n"),
            finish_reason="stop",
        )
        for task in TASKS
    }
    better = make_variant("better", TASKS, [LLM], always(Winner.MODEL), completions=texts)
    worse = make_variant("worse", TASKS, [LLM], always(Winner.BASELINE), kind=VariantKind.UNTUNED)

    assert find(score(TASKS, [LLM], better, worse)).reliable


def test_few_verdicts_say_nothing_of_habits() -> None:
    """Nine pairs that all went to the first place may be chance."""
    tasks = make_tasks(3)

    assert find(score(tasks, [LLM], make_variant("m", tasks, [LLM], first))).reliable


@pytest.mark.parametrize(
    ("model", "family", "level"),
    [
        pytest.param("openai/gpt-4-turbo-2024-04-09", None, "Exact", id="same"),
        pytest.param("azure/gpt-4o-2024-05-13", None, "Exact", id="reseller"),
        pytest.param("openai/gpt-4o", None, "SameFamily", id="undated"),
        pytest.param("bedrock/some-claude", "Anthropic", "SameFamily", id="family"),
        pytest.param("gemini/gemini-3-pro", "google", "Substitute", id="other"),
    ],
)
def test_judges_are_placed_beside_those_of_2024(model: str, family: str | None, level: str) -> None:
    """Only a dated name is the same judge."""
    assert find_replication(JudgeSpec(name="j", model=model, family=family)) == level


def test_all_three_judges_of_2024_make_it_exact() -> None:
    """Two of them are of the family; a stranger among them makes it a substitute."""
    names = ("openai/gpt-4-turbo-2024-04-09", "openai/gpt-4o-2024-05-13")
    two = [JudgeSpec(name=f"j{n}", model=name) for n, name in enumerate(names)]
    third = JudgeSpec(name="j3", model="anthropic/claude-3-opus-20240229")

    assert find_panel_replication(two) == "SameFamily"
    assert find_panel_replication([*two, third]) == "Exact"
    assert find_panel_replication([*two, OTHER]) == "Substitute"
