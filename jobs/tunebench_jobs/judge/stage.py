"""The judge stage: one variant's completions against the baseline's, by every judge."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tunebench_api.contract import JudgeConfig, Progress
from tunebench_api.v1alpha1 import REFERENCE_JUDGE, JudgeSpec
from tunebench_jobs.context import Outcome, StageContext
from tunebench_jobs.errors import InputError, JobError
from tunebench_jobs.files import save_text
from tunebench_jobs.journal import Journal
from tunebench_jobs.judge.comparisons import (
    Comparison,
    Message,
    Question,
    build_comparisons,
    build_judge_digest,
    build_message,
    build_question,
    find_prompt_delimiters,
)
from tunebench_jobs.judge.health import build_judge_health
from tunebench_jobs.judge.ledger import (
    BATCH,
    JUDGE_FILE,
    LEDGER_FOLDER,
    build_judge_file,
    open_ledger,
)
from tunebench_jobs.judge.panel import Asking, Judge, ask_judge
from tunebench_jobs.judge.records import VERDICTS_FILE, VerdictRow, build_verdict_row
from tunebench_jobs.judge.reference import REFERENCE_VERSION
from tunebench_jobs.judge.reference_provider import build_reference_case, register_reference_judge
from tunebench_jobs.llm import Endpoint, Reply, ask, build_endpoint
from tunebench_jobs.prompt_source import load_configured_prompts
from tunebench_jobs.prompts import PromptSet
from tunebench_jobs.records import Completion, Task, dump_jsonl, load_jsonl

# Attempts at a judge that is busy or away, from 1 s on doubled to 60 s: about 4 minutes.
_ASK_RETRIES = 8
_REPORT_SECONDS = 1.0


@dataclass(frozen=True)
class JudgeReport:
    """What one judge said about one variant; `asked` are the questions that were not yet known."""

    judge: Judge
    rows: tuple[VerdictRow, ...]
    asked: int


def run_judge(config: JudgeConfig, context: StageContext) -> Outcome:
    """Judge every task in both orders, and leave one row for each verdict.

    Raises:
        InputError: A key, a model id, a completion or a reference answer is absent or wrong.
        RetryableError: A judge stays away; the verdicts so far are kept.
    """
    judges = build_judges(config.judges, os.environ)
    if any(judge.spec.model == REFERENCE_JUDGE for judge in judges):
        register_reference_judge()
    prompts = load_configured_prompts(config.prompts, context.prompts_dir).prompt_set
    comparisons = load_comparisons(config, context)
    progress = _ProgressLine(context, total=len(comparisons) * len(judges))
    asking = Asking(
        _ask_patiently, config.judging.retries, progress.advance, open_journal=_journals(context)
    )
    reports = asyncio.run(judge_comparisons(comparisons, prompts, judges, context.store, asking))
    rows = [row for report in reports for row in report.rows]
    save_text(context.output / VERDICTS_FILE, dump_jsonl(rows))
    missing = sum(row.missing is not None for row in rows)
    return Outcome(
        message=f"{len(rows)} verdicts, {missing} of them missing",
        artefacts=(VERDICTS_FILE,),
        summary={
            "judges": [build_judge_summary(report) for report in reports],
            "prompts": prompts.name,
            "prompts_sha256": prompts.sha256,
        },
    )


def build_judges(specs: Sequence[JudgeSpec], environment: Mapping[str, str]) -> tuple[Judge, ...]:
    """Resolve every judge's address and key.

    Raises:
        InputError: A key is absent.
    """
    judges = []
    for index, spec in enumerate(specs):
        field = f"spec.judges[{index}]"
        if spec.model == REFERENCE_JUDGE:
            endpoint, version = Endpoint(model=spec.model), REFERENCE_VERSION
        else:
            endpoint, version = build_endpoint(spec, field, environment), ""
        judges.append(Judge(spec, endpoint, build_judge_digest(spec, version), field))
    return tuple(judges)


def load_comparisons(config: JudgeConfig, context: StageContext) -> list[Comparison]:
    """Load the tasks and both sides' completions.

    Raises:
        InputError: A file or a completion is absent or broken.
    """
    tasks = list(load_jsonl(context.path(f"{config.data}/eval.jsonl"), Task))
    model, baseline = (
        load_completions(context.path(folder)) for folder in (config.completions, config.baseline)
    )
    return list(build_comparisons(tasks, model, baseline, config.judging.repeats))


def load_completions(folder: Path) -> dict[str, Completion]:
    """Return the completions that a stage left, by task."""
    return {row.task: row for row in load_jsonl(folder / "completions.jsonl", Completion)}


async def judge_comparisons(
    comparisons: Sequence[Comparison],
    prompts: PromptSet,
    judges: Sequence[Judge],
    store: Path,
    asking: Asking,
) -> list[JudgeReport]:
    """Let all judges work at once; when one fails, the others finish first.

    Raises:
        JobError: The first failure; one that the user can mend goes before one that time can.
    """
    delimiters = find_prompt_delimiters(prompts)
    messages = [build_message(prompts, delimiters, comparison) for comparison in comparisons]
    pairs = list(zip(comparisons, messages, strict=True))
    results = await asyncio.gather(
        *(_judge_all(judge, pairs, store, asking) for judge in judges), return_exceptions=True
    )
    failures = [result for result in results if isinstance(result, BaseException)]
    for failure in sorted(failures, key=_urgency):
        raise failure
    return [result for result in results if isinstance(result, JudgeReport)]


def build_judge_summary(report: JudgeReport) -> dict[str, Any]:
    """Return how a judge fared, in plain JSON."""
    health = build_judge_health([report.rows])
    return {
        "name": report.judge.spec.name,
        "llm": report.judge.spec.model != REFERENCE_JUDGE,
        "ledger": report.judge.digest,
        "verdicts": health.verdicts,
        "missing": dict(sorted(health.missing.items())),
        "orderConsistencyPct": format_share(health.order_consistency),
        "firstSlotPct": format_share(health.first_slot),
        "tiesPct": format_share(health.ties),
        "reAsks": health.re_asks,
        "costUsd": None if health.cost_usd is None else f"{health.cost_usd:.4f}",
        "asked": report.asked,
        "fromLedger": len({row.key for row in report.rows if row.key}) - report.asked,
    }


def format_share(share: float | None) -> str:
    """Return a share in percent, or nothing where there is none."""
    return "" if share is None else f"{100 * share:.1f}"


async def _judge_all(
    judge: Judge, pairs: Sequence[tuple[Comparison, Message]], store: Path, asking: Asking
) -> JudgeReport:
    """Fill one judge's ledger, and read this variant's verdicts from it."""
    questions = [_build_question(judge, comparison, message) for comparison, message in pairs]
    shown = judge.spec.model_dump(mode="json", include={"model", "temperature", "max_tokens"})
    place = store / LEDGER_FOLDER / judge.digest
    described = build_judge_file(shown)
    async with open_ledger(place, described, asking.open_journal) as ledger:
        to_ask = [question for question in questions if question is not None]
        asked = await ask_judge(judge, to_ask, ledger, asking)
        rows = [
            build_verdict_row(
                comparison, judge.spec.name, None if question is None else ledger.get(question.key)
            )
            for (comparison, _), question in zip(pairs, questions, strict=True)
        ]
    return JudgeReport(judge, tuple(rows), asked)


def _build_question(judge: Judge, comparison: Comparison, message: Message) -> Question | None:
    if comparison.is_empty:
        return None
    is_reference = judge.spec.model == REFERENCE_JUDGE
    extra = build_reference_case(comparison, judge.field) if is_reference else {}
    return build_question(judge.digest, message, extra, comparison.repeat)


def _journals(context: StageContext) -> Callable[[Path], Journal]:
    def open_journal(folder: Path) -> Journal:
        if context.mirror is not None:
            context.mirror.keep(folder / JUDGE_FILE)
        return context.open_journal(folder, batch=BATCH)

    return open_journal


async def _ask_patiently(endpoint: Endpoint, messages: Sequence[Message]) -> Reply:
    return await ask(endpoint, messages, retries=_ASK_RETRIES)


def _urgency(failure: BaseException) -> int:
    """Sort bugs before what the user can mend, and that before what time can."""
    if not isinstance(failure, JobError):
        return 0
    return 1 if isinstance(failure, InputError) else 2


class _ProgressLine:
    """Counts new verdicts, and reports at most once a second."""

    def __init__(self, context: StageContext, total: int) -> None:
        self._context = context
        self._total = total
        self._done = 0
        self._reported = 0.0

    def advance(self) -> None:
        """Count one more."""
        self._done += 1
        now = time.monotonic()
        if now - self._reported >= _REPORT_SECONDS:
            self._reported = now
            self._context.report(
                Progress(
                    percent=min(99, 100 * self._done // self._total),
                    message=f"{self._done} new verdicts",
                )
            )
