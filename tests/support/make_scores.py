"""Verdicts that follow a rule, and what the score makes of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tunebench_api.contamination import Contamination, MatchKind
from tunebench_api.contract import FailedModel, ScoreConfig, ScoredVariant, VariantKind
from tunebench_api.v1alpha1 import (
    BaselineSpec,
    Control,
    JudgeSpec,
    JudgingSpec,
    StatisticsSpec,
    StoredCompletions,
    Tool,
)
from tunebench_jobs.judge.comparisons import Order
from tunebench_jobs.judge.ledger import MissingCause
from tunebench_jobs.judge.records import VerdictRow
from tunebench_jobs.judge.verdicts import Winner
from tunebench_jobs.records import Completion, Task
from tunebench_jobs.score.build import build_results
from tunebench_jobs.score.outcomes import JudgedVariant
from tunebench_jobs.score.results import FunnelStep, Results

ANSWERS = {
    Tool.DESCRIBE: "type: [Bug fix]\ndescription: d\ntitle: t\npr_files: []\n",
    Tool.REVIEW: "review:\n  possible_issues: none\n  security_concerns: none\n",
    Tool.IMPROVE: "code_suggestions: []\n",
}
LLM = JudgeSpec(name="llm", model="acme/judge-2024-05-13", family="Acme")
OTHER = JudgeSpec(name="other", model="vendor/judge-2024-06-01", family="vendor")
REFERENCE = JudgeSpec(name="reference", model="tunebench/reference")

CLEAN = Contamination(
    checked=tuple(MatchKind), removed={"NearDuplicate": 3, "WordRuns": 14}, train=25_000, eval=24
)

FUNNEL = tuple(
    map(
        FunnelStep.from_wire,
        [
            {"step": "read", "set": "train", "unit": "rows", "in": 26_000, "out": 25_900,
             "dropped": {"BrokenRow": 100}},
            {"step": "split", "set": "train", "unit": "rows", "in": 25_900, "out": 25_876,
             "moved": 24, "dropped": {}},
            {"step": "answers", "set": "train", "unit": "answers", "in": 77_628, "out": 70_000,
             "dropped": {"AnswerInvalid": 7000, "NoAnswer": 628}},
        ],
    )
)  # fmt: skip

Rule = Callable[[int, Task, str, Order], Winner | None]


def make_tasks(prs: int, tools: Sequence[Tool] = tuple(Tool)) -> list[Task]:
    """Return every tool's task of so many pull requests."""
    return [
        Task(
            id=f"acme/x#{pr}:{tool}",
            pr=f"acme/x#{pr}",
            repository="acme/x",
            language="Go",
            tool=tool,
            system="s",
            user="u",
        )
        for pr in range(prs)
        for tool in tools
    ]


def make_variant(  # noqa: PLR0913 - most tests need few of them
    name: str,
    tasks: Sequence[Task],
    judges: Sequence[JudgeSpec],
    rule: Rule,
    *,
    completions: dict[str, Completion] | None = None,
    control: Control | None = None,
    **spec: object,
) -> JudgedVariant:
    """Return a variant whose verdicts follow a rule; without a winner they are missing."""
    kind = VariantKind.CONTROL if control else spec.pop("kind", VariantKind.FINE_TUNED)
    rows = []
    for number, task in enumerate(tasks):
        for judge in judges:
            for order in Order:
                winner = rule(number, task, judge.name, order)
                rows.append(
                    VerdictRow(
                        task=task.id,
                        pr=task.pr,
                        repository=task.repository,
                        tool=task.tool,
                        judge=judge.name,
                        order=order,
                        winner=winner,
                        missing=None if winner else MissingCause.UNREADABLE,
                        key=f"{name}-{task.id}-{judge.name}-{order}",
                        replies=1 if winner else 3,
                        cost_usd=None if judge is REFERENCE else 0.01,
                    )
                )
    scored = ScoredVariant.model_validate(
        {"name": name, "model": name, "kind": kind, "completions": "c", "judge": "j", **spec}
    )
    texts = [
        (completions or {}).get(
            task.id,
            Completion(task=task.id, completion=ANSWERS[task.tool], finish_reason="stop"),
        )
        for task in tasks
    ]
    return JudgedVariant(scored, texts, rows, control)


def score(  # noqa: PLR0913 - most tests need few of them
    tasks: Sequence[Task],
    judges: Sequence[JudgeSpec],
    *variants: JudgedVariant,
    teacher_family: str | None = None,
    failed: tuple[FailedModel, ...] = (),
    unreadable_baseline: bool = False,
    shortfalls: Sequence[str] = (),
    contamination: Contamination | None = None,
    funnel: Sequence[FunnelStep] = (),
) -> Results:
    """Score with few resamples."""
    config = ScoreConfig(
        run="nightly",
        data="data/1",
        baseline="baseline/1",
        baseline_spec=BaselineSpec(
            name="gpt-4-turbo", family="openai", completions=StoredCompletions(uri="/b.jsonl")
        ),
        teacher_families=(teacher_family,) if teacher_family else (),
        judges=tuple(judges),
        judging=JudgingSpec(),
        statistics=StatisticsSpec(resamples=1000),
        variants=tuple(variant.spec for variant in variants),
        failed=failed,
        seed=1,
    )
    texts = dict.fromkeys(Tool, "?") if unreadable_baseline else ANSWERS
    baseline = [
        Completion(task=task.id, completion=texts[task.tool], finish_reason="stored")
        for task in tasks
    ]
    return build_results(
        config,
        tasks,
        variants,
        baseline,
        inputs={},
        prompts={},
        versions={},
        shortfalls=shortfalls,
        contamination=contamination,
        funnel=funnel,
    )


def always(winner: Winner | None) -> Rule:
    """Return a rule that knows one answer."""
    return lambda *_: winner


def by_place(number: int, _task: Task, _judge: str, order: Order) -> Winner:
    """Prefer whatever comes first, but in every third task the model."""
    if number % 3 == 0:
        return Winner.MODEL
    return Winner.MODEL if order is Order.MODEL_FIRST else Winner.BASELINE
