"""Every comparison of a run as one row, for tables and spreadsheets."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tunebench_api.contract import ScoreConfig
from tunebench_jobs.files import replace_file
from tunebench_jobs.judge.records import VerdictRow
from tunebench_jobs.records import Completion, Task
from tunebench_jobs.score.outcomes import JudgedVariant, read_completions

# Spreadsheets take a cell that begins so for a formula, and may run it; some also the wide forms.
_FORMULA_STARTS = tuple("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20")
_GUARD = "'"

_TEXT, _COUNT, _USD = pa.string(), pa.int64(), pa.float64()
SCHEMA = pa.schema(
    [
        ("variant", _TEXT),
        ("kind", _TEXT),
        ("model", _TEXT),
        ("control", _TEXT),
        ("tool", _TEXT),
        ("task", _TEXT),
        ("pr", _TEXT),
        ("repository", _TEXT),
        ("language", _TEXT),
        ("judge", _TEXT),
        ("judge_model", _TEXT),
        ("order", _TEXT),
        ("repeat", _COUNT),
        # One of the two is absent.
        ("winner", _TEXT),
        ("missing", _TEXT),
        ("score_model", _COUNT),
        ("score_baseline", _COUNT),
        ("why", _TEXT),
        ("model_reads", _TEXT),
        ("model_characters", _COUNT),
        ("baseline_characters", _COUNT),
        ("model_prompt_tokens", _COUNT),
        ("model_completion_tokens", _COUNT),
        ("baseline_completion_tokens", _COUNT),
        ("model_finish_reason", _TEXT),
        ("model_cost_usd", _USD),
        ("judge_replies", _COUNT),
        ("judge_prompt_tokens", _COUNT),
        ("judge_completion_tokens", _COUNT),
        ("judge_cost_usd", _USD),
        # Name of the verdict in the judge's ledger; absent where no judge was asked.
        ("ledger_key", _TEXT),
    ]
)


def build_comparison_rows(
    config: ScoreConfig,
    tasks: Sequence[Task],
    variants: Sequence[JudgedVariant],
    baseline: Sequence[Completion],
) -> Iterator[dict[str, Any]]:
    """Yield a row for each verdict; completions are in the order of the tasks."""
    places = {task.id: place for place, task in enumerate(tasks)}
    models = {judge.name: judge.model for judge in config.judges}
    for variant in variants:
        readings = read_completions(tasks, variant.completions)
        for verdict in variant.verdicts:
            place = places[verdict.task]
            yield {
                **_describe_variant(variant),
                **_describe_verdict(verdict),
                **_describe_completions(variant.completions[place], baseline[place]),
                "language": tasks[place].language,
                "judge_model": models[verdict.judge],
                "model_reads": readings[place].level,
            }


def save_parquet(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write the rows as Parquet; texts stay as they are."""
    with replace_file(path) as file:
        pq.write_table(pa.Table.from_pylist(list(rows), schema=SCHEMA), file, compression="zstd")


def save_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write the rows as CSV that a spreadsheet can open without running anything."""
    with replace_file(path) as file:
        text = io.TextIOWrapper(file, encoding="utf-8", newline="")
        writer = csv.writer(text)
        writer.writerow(SCHEMA.names)
        writer.writerows([guard_cell(row[name]) for name in SCHEMA.names] for row in rows)
        text.flush()
        text.detach()


def guard_cell(value: Any) -> Any:
    """Return a value whose text no spreadsheet takes for a formula; an apostrophe goes first."""
    if not isinstance(value, str):
        return value
    # No CSV holds the character that ends strings elsewhere.
    text = value.replace("\0", "")
    return _GUARD + text if text.startswith(_FORMULA_STARTS) else text


def _describe_variant(variant: JudgedVariant) -> dict[str, Any]:
    return {
        "variant": variant.spec.name,
        "kind": str(variant.spec.kind),
        "model": variant.spec.model,
        "control": None if variant.control is None else str(variant.control),
    }


def _describe_verdict(verdict: VerdictRow) -> dict[str, Any]:
    return {
        "tool": str(verdict.tool),
        "task": verdict.task,
        "pr": verdict.pr,
        "repository": verdict.repository,
        "judge": verdict.judge,
        "order": str(verdict.order),
        "repeat": verdict.repeat,
        "winner": None if verdict.winner is None else str(verdict.winner),
        "missing": None if verdict.missing is None else str(verdict.missing),
        "score_model": verdict.score_model,
        "score_baseline": verdict.score_baseline,
        "why": verdict.why,
        "judge_replies": verdict.replies,
        "judge_prompt_tokens": verdict.prompt_tokens,
        "judge_completion_tokens": verdict.completion_tokens,
        "judge_cost_usd": verdict.cost_usd,
        "ledger_key": verdict.key,
    }


def _describe_completions(ours: Completion, baseline: Completion) -> dict[str, Any]:
    return {
        "model_characters": len(ours.completion),
        "baseline_characters": len(baseline.completion),
        "model_prompt_tokens": ours.prompt_tokens,
        "model_completion_tokens": ours.completion_tokens,
        "baseline_completion_tokens": baseline.completion_tokens,
        "model_finish_reason": ours.finish_reason,
        "model_cost_usd": ours.cost_usd,
    }
