"""A synthetic run for the report: no model wrote these answers, and no judge read them.

`python tests/support/make_report.py FILE` writes the report of 14 models, 300 tasks and 3 judges.
"""

from __future__ import annotations

import math
import random
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from make_scores import CLEAN, FUNNEL

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
from tunebench_jobs.report.material import Material, PullFacts, Training
from tunebench_jobs.report.published_2024 import load_published
from tunebench_jobs.report.render import render_report
from tunebench_jobs.score.build import build_results
from tunebench_jobs.score.outcomes import JudgedVariant
from tunebench_jobs.train.curve import Curve, CurvePoint, extend_curve

JUDGES = (
    JudgeSpec(name="judge-a", model="acme/judge-a-2024-05-13", family="acme"),
    JudgeSpec(name="judge-b", model="bolt/judge-b-2024-06-20", family="bolt"),
    JudgeSpec(name="judge-c", model="corvid/judge-c-2024-07-01", family="corvid"),
)
# How much each likes what comes first, and how often it says nothing that can be read.
_LEANS = {"judge-a": (0.05, 0.002), "judge-b": (-0.02, 0.004), "judge-c": (0.35, 0.012)}
_WORDS = (
    *("retry", "timeout", "parser", "buffer", "session", "cursor", "handler", "cache", "queue"),
    *("worker", "token", "budget", "header", "stream", "migration", "schema", "index", "window"),
)
_VERBS = ("Fix", "Add", "Rename", "Split", "Guard", "Simplify", "Cache", "Document")
_LANGUAGES = (("Python", "py"), ("Go", "go"), ("TypeScript", "ts"), ("Rust", "rs"))
_LICENSES = ("MIT", "Apache-2.0", "BSD-3-Clause")


@dataclass(frozen=True)
class _Pull:
    """A pull request that nobody opened."""

    id: str
    title: str
    language: str
    path: str
    patch: str


def make_material(  # noqa: PLR0913 - most tests need few of them
    models: int = 14,
    prs: int = 100,
    *,
    untuned: int = 4,
    hunks: int = 5,
    resamples: int = 1000,
    seed: int = 1,
) -> Material:
    """Return a run of so many models of the public table, `untuned` of them judged before too.

    A diff has `hunks` hunks on average, of 500 bytes each.
    """
    chance = random.Random(seed)  # noqa: S311 - no secrets
    pulls = [_make_pull(number, hunks, chance) for number in range(prs)]
    tasks = [_make_task(pull, tool) for pull in pulls for tool in Tool]
    baseline = [_make_completion(task, "the baseline", chance, quality=0.98) for task in tasks]
    variants = list(_make_variants(models, untuned, tasks, baseline, chance))
    config = _make_config(variants, resamples)
    results = build_results(
        config,
        tasks,
        variants,
        baseline,
        inputs={"data/synthetic/eval.jsonl": "5" * 64, "data/synthetic/manifest.json": "6" * 64},
        prompts={"name": "default", "sha256": "7" * 64},
        versions={"tunebench": "synthetic", "numpy": "synthetic"},
        contamination=CLEAN,
        funnel=FUNNEL,
    )
    return Material(
        results=results,
        tasks=tasks,
        baseline=baseline,
        variants=variants,
        trainings=dict(_make_trainings(models, chance)),
        pulls={
            pull.id: PullFacts(pull.title, _LICENSES[at % len(_LICENSES)])
            for at, pull in enumerate(pulls)
        },
        data={"train_prs": 25_000, "examples": {"Describe": 25_000, "Review": 23_700}},
        files=("results.json", "leaderboard.md"),
    )


def make_curve(steps: int, chance: random.Random) -> Curve:
    """Return a curve that falls."""
    curve: Curve = ()
    for step in range(1, steps + 1):
        loss = 0.55 + 1.4 * math.exp(-step / (steps / 6)) + chance.gauss(0, 0.03)
        rate = 2e-4 * (1 - step / steps)
        point = CurvePoint(
            step=step,
            loss=loss,
            learning_rate=rate,
            tokens=9000 * step,
            gradient_norm=0.3 + math.exp(-step / (steps / 9)) + abs(chance.gauss(0, 0.05)),
            seconds=0.4 * step + chance.random() / 10,
        )
        curve = extend_curve(curve, point)
    return curve


def _make_pull(number: int, hunks: int, chance: random.Random) -> _Pull:
    language, suffix = _LANGUAGES[number % len(_LANGUAGES)]
    first, second = chance.sample(_WORDS, 2)
    lines = []
    for hunk in range(chance.randint(2, 2 * hunks)):
        start = 40 * hunk + chance.randint(1, 20)
        lines.append(f"@@ -{start},6 +{start},8 @@ def {first}_{hunk}():")
        for line in range(chance.randint(4, 22)):
            sign = chance.choice(" +-+ ")
            word = chance.choice(_WORDS)
            lines.append(
                f"{sign}    {word}_{line} = {first}.{word}({second}, {chance.randint(1, 99)})"
            )
    title = f"{chance.choice(_VERBS)} the {first} of the {second}"
    path = f"src/{second}/{first}.{suffix}"
    return _Pull(f"acme/{second}#{number + 1}", title, language, path, "\n".join(lines))


def _make_task(pull: _Pull, tool: Tool) -> Task:
    user = (
        f"About the PR\n\nTitle so far: {pull.title}\n\nThe diff of the PR:\n======\n"
        f"## File: '{pull.path}'\n\n{pull.patch}\n======\n\n"
        "Response (should be a valid YAML, and nothing else):\n```yaml\n"
    )
    return Task(
        id=f"{pull.id}:{tool}",
        pr=pull.id,
        repository=pull.id.split("#")[0],
        language=pull.language,
        tool=tool,
        system=f"You write for the tool {tool}. "
        + "Say what the diff shows and nothing else. " * 30,
        user=user,
        reference=_write_answer(tool, "a person", pull.title),
        paths=(pull.path,),
    )


def _write_answer(tool: Tool, who: str, subject: str) -> str:
    if tool is Tool.DESCRIBE:
        return (
            "type:\n- Enhancement\npr_files:\n- filename: src/a.py\n  language: Python\n"
            f"  changes_summary: |\n    - {subject}, as {who} puts it\n  changes_title: {subject}\n"
            f"  label: enhancement\ndescription: |\n  - {subject}.\n  - Callers need not change.\n"
            f"title: {subject}\n"
        )
    if tool is Tool.REVIEW:
        return (
            "review:\n  estimated_effort_to_review_[1-5]: 2, because little changes\n"
            f"  relevant_tests: no\n  possible_issues: |\n    {subject}: an empty value is not"
            f" looked at, says {who}.\n  security_concerns: no\n"
        )
    return (
        "code_suggestions:\n- relevant_file: src/a.py\n  language: python\n"
        f"  suggestion_content: |\n    Name the limit, says {who}.\n  existing_code: |\n"
        "    if count > 99:\n        stop()\n  improved_code: |\n    if count > LIMIT:\n"
        f"        stop()\n  one_sentence_summary: {subject}\n  label: maintainability\n"
    )


def _make_completion(task: Task, who: str, chance: random.Random, *, quality: float) -> Completion:
    subject = " ".join(chance.sample(_WORDS, chance.randint(2, 12))).capitalize()
    text = _write_answer(task.tool, who, subject)
    if chance.random() > quality:
        text = f"Sure! Here is what I think:\n{text[: len(text) // 3]}: : :"
    return Completion(task=task.id, completion=text, finish_reason="stop")


def _make_variants(
    models: int,
    untuned: int,
    tasks: Sequence[Task],
    baseline: Sequence[Completion],
    chance: random.Random,
) -> Iterator[JudgedVariant]:
    for place, known in enumerate(load_published().models[:models]):
        name = known.base.rpartition("/")[2].lower()
        size = f"{known.size_billions:g}"
        skill = known.win_rate_pct / 100
        before = f"{name}-untuned" if place < untuned else None
        facts = {"size_billions": size, "train": f"train/{name}", "untuned": before}
        yield _make_variant(name, VariantKind.FINE_TUNED, tasks, chance, skill, 0.96, **facts)
        if before:
            kind = VariantKind.UNTUNED
            yield _make_variant(before, kind, tasks, chance, skill / 9, 0.5, size_billions=size)
    yield _make_variant("null-control", VariantKind.CONTROL, tasks, chance, 0.01, 1.0)
    own = _make_variant("self-control", VariantKind.CONTROL, tasks, chance, 0.5, 1.0)
    yield JudgedVariant(own.spec, baseline, own.verdicts, Control.SELF)


def _make_variant(  # noqa: PLR0913, PLR0917 - what a variant is made of
    name: str,
    kind: VariantKind,
    tasks: Sequence[Task],
    chance: random.Random,
    skill: float,
    quality: float,
    **facts: str | None,
) -> JudgedVariant:
    spec = ScoredVariant(
        name=name,
        model=name.removesuffix("-untuned"),
        kind=kind,
        completions=f"generate/{name}",
        judge=f"judge/{name}",
        **facts,
    )
    return JudgedVariant(
        spec,
        [_make_completion(task, name, chance, quality=quality) for task in tasks],
        [row for task in tasks for row in _make_verdicts(task, name, skill, chance)],
        Control.NULL if kind is VariantKind.CONTROL else None,
    )


def _make_verdicts(
    task: Task, name: str, skill: float, chance: random.Random
) -> Iterator[VerdictRow]:
    # What all judges see alike.
    merit = chance.gauss(0, 0.25)
    for judge in JUDGES:
        lean, silence = _LEANS[judge.name]
        for order in Order:
            side = lean if order is Order.MODEL_FIRST else -lean
            score = skill + merit + side + chance.gauss(0, 0.15)
            winner = Winner.MODEL if score > 0.55 else Winner.BASELINE
            winner = Winner.TIE if 0.5 < score <= 0.55 else winner
            silent = chance.random() < silence
            words = " ".join(chance.sample(_WORDS, 9))
            yield VerdictRow(
                task=task.id,
                pr=task.pr,
                repository=task.repository,
                tool=task.tool,
                judge=judge.name,
                order=order,
                winner=None if silent else winner,
                missing=MissingCause.UNREADABLE if silent else None,
                why=""
                if silent
                else f"One names what the diff shows, such as {words}; the other "
                "repeats the title and leaves out what callers will notice.",
                score_model=None if silent else max(1, min(10, round(5 + 5 * score))),
                score_baseline=None if silent else 7,
                key=f"{name}-{task.id}-{judge.name}-{order}",
                replies=1,
                cost_usd=0.004,
            )


def _make_config(variants: Sequence[JudgedVariant], resamples: int) -> ScoreConfig:
    return ScoreConfig(
        run="synthetic",
        data="data/synthetic",
        baseline="baseline/synthetic",
        baseline_spec=BaselineSpec(
            name="gpt-4-turbo-2024-04-09",
            family="openai",
            completions=StoredCompletions(uri="/baseline.jsonl"),
        ),
        judges=JUDGES,
        judging=JudgingSpec(),
        statistics=StatisticsSpec(resamples=resamples),
        variants=tuple(variant.spec for variant in variants),
        failed=(FailedModel(name="synthetic-34b", reason="OutOfMemory", message="too large"),),
        seed=1,
    )


def _make_trainings(models: int, chance: random.Random) -> Iterator[tuple[str, Training]]:
    for known in load_published().models[:models]:
        name = known.base.rpartition("/")[2].lower()
        steps = chance.randint(400, 2400)
        curve = make_curve(steps, chance)
        loss = {"first": curve[0].loss, "last": curve[-1].loss}
        summary = {
            "steps": steps,
            "examples": 70_000,
            "dropped": chance.randint(10, 400),
            "tokens": 9000 * steps,
            "train_loss": loss,
            "tokens_per_second": chance.randint(4000, 30_000),
            "mfu_pct": round(chance.uniform(35, 55), 1),
            "peak_memory_bytes": chance.randint(30, 78) << 30,
            "device": "synthetic GPU",
            "gpus": 8,
            "workers": 8,
        }
        yield (
            name,
            Training(
                known.base,
                "LoRA",
                summary,
                curve,
                "2026-11-28T08:00:00Z",
                f"2026-11-28T{9 + len(curve) % 7:02}:30:00Z",
            ),
        )


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(render_report(make_material(resamples=10_000)), encoding="utf-8")
