"""The rows that a judge stage leaves behind."""

from __future__ import annotations

from tunebench_api.v1alpha1 import Tool
from tunebench_jobs.judge.comparisons import Comparison, Order
from tunebench_jobs.judge.ledger import LedgerEntry, MissingCause
from tunebench_jobs.judge.verdicts import Winner, parse_verdict
from tunebench_jobs.records import Record

VERDICTS_FILE = "verdicts.jsonl"
_EMPTY = "the completion is empty; the judge was not asked"


class VerdictRow(Record):
    """One judge's verdict on one task in one order; exactly one of `winner`, `missing` is set."""

    task: str
    pr: str
    repository: str
    tool: Tool
    judge: str
    order: Order
    # How often the judge had been asked the same before.
    repeat: int = 0
    winner: Winner | None = None
    missing: MissingCause | None = None
    why: str = ""
    score_model: int | None = None
    score_baseline: int | None = None
    # Name of the ledger entry; absent where no judge is to be asked. A verdict that is missing
    # because nobody answered has no entry yet.
    key: str | None = None
    replies: int = 0
    cost_usd: float | None = None
    prompt_tokens: int = 0
    completion_tokens: int = 0


def build_verdict_row(comparison: Comparison, judge: str, entry: LedgerEntry) -> VerdictRow:
    """Build the row of a comparison from its ledger entry."""
    return read_entry(_build_row(comparison, judge), entry)


def build_missing_row(
    comparison: Comparison, judge: str, key: str, cause: MissingCause
) -> VerdictRow:
    """Build the row of a comparison whose question, named by `key`, nobody answered."""
    row = _build_row(comparison, judge)
    return row.model_copy(update={"key": key, "missing": cause})


def build_empty_row(comparison: Comparison, judge: str) -> VerdictRow:
    """Build the row of an empty completion, which is lost without a question."""
    row = _build_row(comparison, judge)
    return row.model_copy(update={"winner": Winner.BASELINE, "why": _EMPTY})


def _build_row(comparison: Comparison, judge: str) -> VerdictRow:
    task = comparison.task
    return VerdictRow(
        task=task.id,
        pr=task.pr,
        repository=task.repository,
        tool=task.tool,
        judge=judge,
        order=comparison.order,
        repeat=comparison.repeat,
    )


def read_entry(row: VerdictRow, entry: LedgerEntry) -> VerdictRow:
    """Return the row of a comparison with what a judge's ledger says of it."""
    paid = entry.model_dump(
        include={"key", "replies", "cost_usd", "prompt_tokens", "completion_tokens"}
    )
    if entry.missing is not None:
        return row.model_copy(update={"winner": None, "missing": entry.missing, **paid})
    verdict = parse_verdict(entry.reply, model_is_first=row.order is Order.MODEL_FIRST)
    return row.model_copy(
        update={
            "winner": verdict.winner,
            "missing": None,
            "why": verdict.why,
            "score_model": verdict.score_model,
            "score_baseline": verdict.score_baseline,
            **paid,
        }
    )
