"""Every comparison is a row, and no spreadsheet runs what a model wrote."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from make_scores import ANSWERS, LLM, OTHER, always, by_place, make_tasks, make_variant

from tunebench_api.contract import ScoreConfig
from tunebench_api.v1alpha1 import BaselineSpec, JudgingSpec, StatisticsSpec, StoredCompletions
from tunebench_jobs.judge.verdicts import Winner
from tunebench_jobs.records import Completion, Task
from tunebench_jobs.score.comparisons import (
    SCHEMA,
    build_comparison_rows,
    guard_cell,
    save_csv,
    save_parquet,
)
from tunebench_jobs.score.outcomes import JudgedVariant


def build_rows(tasks: list[Task], *variants: JudgedVariant) -> list[dict[str, Any]]:
    """Return the rows of variants that two judges judged."""
    config = ScoreConfig(
        run="nightly",
        data="data/1",
        baseline="baseline/1",
        baseline_spec=BaselineSpec(name="b", completions=StoredCompletions(uri="/b.jsonl")),
        judges=(LLM, OTHER),
        judging=JudgingSpec(),
        statistics=StatisticsSpec(),
        variants=tuple(variant.spec for variant in variants),
        seed=1,
    )
    baseline = [
        Completion(task=task.id, completion=ANSWERS[task.tool], finish_reason="stored")
        for task in tasks
    ]
    return list(build_comparison_rows(config, tasks, variants, baseline))


def test_each_comparison_is_a_row() -> None:
    """Variants, tasks, judges and orders multiply; a verdict has a winner or a cause."""
    tasks = make_tasks(3)
    rows = build_rows(
        tasks,
        make_variant("sure", tasks, [LLM, OTHER], by_place),
        make_variant("mute", tasks, [LLM, OTHER], always(None)),
    )

    assert len(rows) == 2 * len(tasks) * 2 * 2
    keys = {(row["variant"], row["task"], row["judge"], row["order"]) for row in rows}
    assert len(keys) == len(rows)
    assert all((row["winner"] is None) != (row["missing"] is None) for row in rows)
    assert {row["missing"] for row in rows if row["variant"] == "mute"} == {"Unreadable"}
    assert {(row["judge"], row["judge_model"]) for row in rows} == {
        (judge.name, judge.model) for judge in (LLM, OTHER)
    }
    for row in rows:
        assert row["model_reads"] == "strict"
        assert row["model_characters"] == row["baseline_characters"] > 10


def test_what_a_judge_read_and_wrote_is_counted() -> None:
    """The tokens of a verdict stand in its row, beside its price."""
    tasks = make_tasks(1)
    variant = make_variant("m", tasks, [LLM, OTHER], by_place)
    counted = {"prompt_tokens": 900, "completion_tokens": 40}
    verdicts = [row.model_copy(update=counted) for row in variant.verdicts]
    [row, *_] = build_rows(tasks, replace(variant, verdicts=verdicts))

    assert (row["judge_prompt_tokens"], row["judge_completion_tokens"]) == (900, 40)


def test_parquet_and_csv_hold_the_same(tmp_path: Path) -> None:
    """Columns have the same names and order; twice gives the same bytes."""
    tasks = make_tasks(2)
    rows = build_rows(tasks, make_variant("m", tasks, [LLM, OTHER], by_place))
    save_parquet(tmp_path / "a.parquet", rows)
    save_csv(tmp_path / "a.csv", rows)
    save_parquet(tmp_path / "b.parquet", rows)

    table = pq.read_table(tmp_path / "a.parquet")
    with (tmp_path / "a.csv").open(encoding="utf-8", newline="") as file:
        listed = list(csv.DictReader(file))
    assert table.to_pylist() == rows
    assert [*listed[0]] == SCHEMA.names == table.column_names
    assert [row["winner"] for row in listed] == [row["winner"] for row in rows]
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()


@pytest.mark.parametrize("start", [*"=+-@\t\r\n\uff1d\uff0b\uff0d\uff20"])
def test_no_cell_of_the_csv_is_a_formula(start: str, tmp_path: Path) -> None:
    """A judge's reason that begins like a formula has an apostrophe before it."""
    tasks = make_tasks(1)
    variant = make_variant("m", tasks, [LLM, OTHER], always(Winner.TIE))
    why = f'{start}HYPERLINK("http://evil"; "x")\0, "quoted"\nsecond line'
    verdicts = [row.model_copy(update={"why": why}) for row in variant.verdicts]
    rows = build_rows(tasks, replace(variant, verdicts=verdicts))
    save_csv(tmp_path / "a.csv", rows)
    save_parquet(tmp_path / "a.parquet", rows)

    with (tmp_path / "a.csv").open(encoding="utf-8", newline="") as file:
        listed = list(csv.DictReader(file))
    assert {row["why"] for row in listed} == {"'" + why.replace("\0", "")}
    assert not any(cell.startswith(start) for row in listed for cell in row.values())
    assert pq.read_table(tmp_path / "a.parquet").column("why")[0].as_py() == why


def test_numbers_and_plain_text_stay_as_they_are() -> None:
    """Only text is guarded, so that numbers remain numbers."""
    assert [guard_cell(value) for value in (-1.5, None, 3, "a=b", "")] == [-1.5, None, 3, "a=b", ""]
