"""The judge stage: one variant's completions against the baseline's, by every judge."""

from __future__ import annotations

import asyncio
import hashlib
import math
import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from tunebench_api.contract import JudgeConfig
from tunebench_api.v1alpha1 import REFERENCE_JUDGE, JudgeSpec
from tunebench_jobs.budget import Budget
from tunebench_jobs.context import Outcome, StageContext
from tunebench_jobs.data.layout import EVAL_FILE
from tunebench_jobs.errors import InputError, JobError
from tunebench_jobs.files import save_text
from tunebench_jobs.journal import Journal
from tunebench_jobs.judge.asking import Asking, Judge
from tunebench_jobs.judge.batch_stage import is_batched, settle_in_batches
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
    Ledger,
    MissingCause,
    build_judge_file,
    open_ledger,
)
from tunebench_jobs.judge.progress import ProgressLine
from tunebench_jobs.judge.questions import Asked, ask_judge
from tunebench_jobs.judge.records import (
    VERDICTS_FILE,
    VerdictRow,
    build_empty_row,
    build_missing_row,
    build_verdict_row,
)
from tunebench_jobs.judge.reference import REFERENCE_VERSION
from tunebench_jobs.judge.reference_provider import build_reference_case, register_reference_judge
from tunebench_jobs.judge.tally import Tally, format_cost
from tunebench_jobs.llm import Endpoint, ask_once, build_endpoint
from tunebench_jobs.parameters import adapt_parameters, find_sent
from tunebench_jobs.preflight import place_of
from tunebench_jobs.prices import find_prices
from tunebench_jobs.prompt_source import load_configured_prompts
from tunebench_jobs.prompts import PromptSet
from tunebench_jobs.records import COMPLETIONS_FILE, Completion, Task, dump_jsonl, load_jsonl

# Causes that a later attempt may mend; no ledger has these, nor one question's own failure.
_MENDABLE = (MissingCause.BUDGET_SPENT, MissingCause.UNAVAILABLE)
_WITHOUT_ENTRY = {*_MENDABLE, MissingCause.NO_ANSWER}


@dataclass(frozen=True)
class JudgeReport:
    """What one judge said about one variant.

    `asked` are the questions that it answered now, `absence` is why it was left out of the rest,
    and `tally` counts what it has sold now.
    """

    judge: Judge
    rows: tuple[VerdictRow, ...]
    asked: int
    absence: JobError | None
    tally: Tally


def run_judge(config: JudgeConfig, context: StageContext) -> Outcome:
    """Judge every task in both orders, and leave one row for each verdict.

    Raises:
        InputError: A key, a model id, a completion or a reference answer is absent or wrong.
        RetryableError: A judge stays away; the verdicts so far are kept.
    """
    judging = config.judging
    judges = build_judges(config.judges, os.environ, budgeted=judging.budget_usd is not None)
    if any(judge.spec.model == REFERENCE_JUDGE for judge in judges):
        register_reference_judge()
    prompts = load_configured_prompts(config.prompts, context.prompts_dir).prompt_set
    comparisons = load_comparisons(config, context)
    tallies: dict[str, Tally] = {}
    progress = ProgressLine(context, tallies)
    asking = Asking(
        ask_once,
        judging.retries,
        progress.advance,
        open_journal=_journals(context),
        budget=build_budget(judging.budget_usd, context.runtime.spent_usd),
        on_unavailable=judging.on_unavailable,
        absent=frozenset(context.runtime.absent_judges),
        tallies=tallies,
    )
    try:
        reports = asyncio.run(
            judge_comparisons(comparisons, prompts, judges, context.store, asking)
        )
    finally:
        # What was spent is charged to the run, however this ends.
        progress.report()
    rows = [row for report in reports for row in report.rows]
    save_text(context.output / VERDICTS_FILE, dump_jsonl(rows))
    return Outcome(
        message=describe_rows(rows, judging.budget_usd, reports),
        artefacts=(VERDICTS_FILE,),
        summary={
            "judges": [build_judge_summary(report) for report in reports],
            "unasked": _count_unasked(rows),
            "prompts": prompts.name,
            "prompts_sha256": prompts.sha256,
        },
    )


def build_budget(most: str | None, spent: str | None) -> Budget:
    """Return what this stage may spend: what earlier ones of the run have left."""
    return Budget(math.inf if most is None else max(0.0, float(most) - float(spent or 0)))


def describe_rows(
    rows: Sequence[VerdictRow], budget: str | None, reports: Sequence[JudgeReport]
) -> str:
    """Say how many verdicts there are, and what to do about those that were not asked for."""
    missing = sum(row.missing is not None for row in rows)
    parts = [f"{len(rows)} verdicts, {missing} of them missing"]
    unasked = _count_unasked(rows)
    if unasked.get(MissingCause.BUDGET_SPENT):
        parts.append(
            f"{unasked[MissingCause.BUDGET_SPENT]} were not bought because "
            f"`spec.judging.budgetUSD` ({budget}) is spent; raise it and start again to buy them"
        )
    parts += [
        f"{report.absence}; it was left out of what was left, as `spec.judging.onUnavailable` says"
        for report in reports
        if report.absence is not None
    ]
    return "; ".join(parts)


def build_judges(
    specs: Sequence[JudgeSpec], environment: Mapping[str, str], *, budgeted: bool = False
) -> tuple[Judge, ...]:
    """Resolve every judge's address, key and, where a budget is to be kept, price.

    Raises:
        InputError: A key is absent, a model does not take its parameters, or nobody knows a price.
    """
    return tuple(
        _build_judge(spec, place_of(spec), environment, budgeted=budgeted) for spec in specs
    )


def _build_judge(
    spec: JudgeSpec, field: str, environment: Mapping[str, str], *, budgeted: bool
) -> Judge:
    if spec.model == REFERENCE_JUDGE:
        digest = build_judge_digest(spec, REFERENCE_VERSION)
        return Judge(spec, Endpoint(model=spec.model), digest, field)
    endpoint = build_endpoint(spec, field, environment)
    endpoint = adapt_parameters(endpoint, field, lenient=True)
    prices = find_prices(spec, field) if budgeted or spec.prices else None
    return Judge(spec, endpoint, build_judge_digest(spec), field, prices, find_sent(endpoint))


def load_comparisons(config: JudgeConfig, context: StageContext) -> list[Comparison]:
    """Load the tasks and both sides' completions.

    Raises:
        InputError: A file or a completion is absent or broken.
    """
    tasks = list(load_jsonl(context.path(f"{config.data}/{EVAL_FILE}"), Task))
    model, baseline = (
        load_completions(context.path(folder)) for folder in (config.completions, config.baseline)
    )
    return list(build_comparisons(tasks, model, baseline, config.judging.repeats))


def load_completions(folder: Path) -> dict[str, Completion]:
    """Return the completions that a stage left, by task."""
    return {row.task: row for row in load_jsonl(folder / COMPLETIONS_FILE, Completion)}


async def judge_comparisons(
    comparisons: Sequence[Comparison],
    prompts: PromptSet,
    judges: Sequence[Judge],
    store: Path,
    asking: Asking,
) -> list[JudgeReport]:
    """Let all judges work at once; when one fails, the others finish first.

    Tasks are asked in an order of chance, always the same, so that what a budget or a judge leaves
    out is spread over all of them. Both orders of a task are neighbours, because vendors keep what
    begins alike for a while.

    Raises:
        JobError: The first failure; one that the user can mend goes before one that time can. Or
            all judges stay away.
    """
    delimiters = find_prompt_delimiters(prompts)
    messages = [build_message(prompts, delimiters, comparison) for comparison in comparisons]
    pairs = list(zip(comparisons, messages, strict=True))
    shuffled = sorted(range(len(pairs)), key=lambda index: _hash(pairs[index][0].task.id))
    results = await asyncio.gather(
        *(_judge_all(judge, pairs, shuffled, store, asking) for judge in judges),
        return_exceptions=True,
    )
    failures = [result for result in results if isinstance(result, BaseException)]
    for failure in sorted(failures, key=_urgency):
        raise failure
    reports = [result for result in results if isinstance(result, JudgeReport)]
    absences = [report.absence for report in reports if report.absence is not None]
    if absences and len(absences) == len(reports):
        raise absences[0]
    return reports


def build_judge_summary(report: JudgeReport) -> dict[str, Any]:
    """Return how a judge fared, in plain JSON."""
    health = build_judge_health([report.rows])
    return {
        "name": report.judge.spec.name,
        "llm": report.judge.spec.model != REFERENCE_JUDGE,
        "ledger": report.judge.digest,
        "sent": dict(report.judge.sent),
        "verdicts": health.verdicts,
        "missing": dict(sorted(health.missing.items())),
        "orderConsistencyPct": format_share(health.order_consistency),
        "firstSlotPct": format_share(health.first_slot),
        "tiesPct": format_share(health.ties),
        "reAsks": health.re_asks,
        "costUsd": format_cost(health.cost_usd) or None,
        "promptTokens": health.prompt_tokens,
        "completionTokens": health.completion_tokens,
        "asked": report.asked,
        "fromLedger": len({row.key for row in report.rows if _has_entry(row)}) - report.asked,
        # Of this attempt alone.
        "spent": report.tally.build_progress().to_wire(),
        "absence": None if report.absence is None else str(report.absence),
    }


def format_share(share: float | None) -> str:
    """Return a share in percent, or nothing where there is none."""
    return "" if share is None else f"{100 * share:.1f}"


async def _judge_all(
    judge: Judge,
    pairs: Sequence[tuple[Comparison, Message]],
    shuffled: Sequence[int],
    store: Path,
    asking: Asking,
) -> JudgeReport:
    """Fill one judge's ledger, and read this variant's verdicts from it."""
    questions = [_build_question(judge, comparison, message) for comparison, message in pairs]
    shown = judge.spec.model_dump(mode="json", include={"model", "temperature", "max_tokens"})
    place = store / LEDGER_FOLDER / judge.digest
    described = build_judge_file({**shown, "sent": dict(judge.sent)})
    opened = partial(open_ledger, place, described, asking.open_journal)
    to_ask = [question for index in shuffled if (question := questions[index]) is not None]
    batched = is_batched(judge)
    asked = await settle_in_batches(judge, to_ask, place, opened, asking) if batched else Asked(0)
    async with opened() as ledger:
        if not batched:
            asked = await ask_judge(judge, to_ask, ledger, asking)
        rows = [
            _build_row(comparison, judge.spec.name, question, ledger, asked)
            for (comparison, _), question in zip(pairs, questions, strict=True)
        ]
    tally = asking.tally_of(judge.spec.name)
    return JudgeReport(judge, tuple(rows), asked.entries, asked.absence, tally)


def _build_row(
    comparison: Comparison, judge: str, question: Question | None, ledger: Ledger, asked: Asked
) -> VerdictRow:
    if question is None:
        return build_empty_row(comparison, judge)
    cause = asked.missing.get(question.key)
    if cause is not None:
        return build_missing_row(comparison, judge, question.key, cause)
    entry = ledger.get(question.key)
    assert entry is not None  # noqa: S101 - whoever asks says what is missing
    return build_verdict_row(comparison, judge, entry)


def _has_entry(row: VerdictRow) -> bool:
    return row.key is not None and row.missing not in _WITHOUT_ENTRY


def _count_unasked(rows: Sequence[VerdictRow]) -> dict[str, int]:
    """Count the verdicts that a later attempt may still get, by cause."""
    causes = Counter(row.missing for row in rows if row.missing in _MENDABLE)
    return {str(cause): causes[cause] for cause in _MENDABLE if causes[cause]}


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _build_question(judge: Judge, comparison: Comparison, message: Message) -> Question | None:
    if comparison.is_empty:
        return None
    is_reference = judge.spec.model == REFERENCE_JUDGE
    extra = build_reference_case(comparison, judge.field) if is_reference else {}
    return build_question(judge.digest, message, extra, comparison.repeat)


def _journals(context: StageContext) -> Callable[[Path], Journal]:
    def open_journal(folder: Path) -> Journal:
        if context.mirror is not None and (folder / JUDGE_FILE).is_file():
            context.mirror.keep(folder / JUDGE_FILE)
        return context.open_journal(folder, batch=BATCH)

    return open_journal


def _urgency(failure: BaseException) -> int:
    """Sort bugs before what the user can mend, and that before what time can."""
    if not isinstance(failure, JobError):
        return 0
    return 1 if isinstance(failure, InputError) else 2
