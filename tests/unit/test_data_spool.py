"""Rows wait on the disk, and steps are counted."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from make_pulls import make_pull
from pyarrow import parquet

from tunebench_api.v1alpha1 import Tool
from tunebench_jobs.data.dropped_file import open_dropped
from tunebench_jobs.data.drops import DroppedRow, RowDrop
from tunebench_jobs.data.funnel import Funnel, StepName, render_funnel
from tunebench_jobs.data.parallel import BATCH_BYTES, BATCH_ROWS, batch_rows
from tunebench_jobs.data.parcels import Parcel
from tunebench_jobs.data.parquet import open_parquet
from tunebench_jobs.data.spool import Spool

SCHEMA = pa.schema([("text", pa.string())])


def make_batch(*texts: str) -> pa.RecordBatch:
    """Return a record batch of one column."""
    return pa.RecordBatch.from_arrays([pa.array(texts, pa.string())], schema=SCHEMA)


@given(entries=st.lists(st.binary(max_size=200), max_size=20), compressed=st.booleans())
def test_a_spool_gives_back_what_it_was_given(
    tmp_path_factory: pytest.TempPathFactory, entries: list[bytes], *, compressed: bool
) -> None:
    """Each entry by its number, also while others come after it."""
    path = tmp_path_factory.mktemp("spool") / "rows"
    with Spool(path, compressed=compressed) as spool:
        for number, entry in enumerate(entries):
            assert spool.append(entry) == number
            assert spool.read(number // 2) == entries[number // 2]

        assert [spool.read(number) for number in range(len(spool))] == entries


@given(st.lists(st.integers(0, BATCH_BYTES // 2), max_size=3 * BATCH_ROWS))
def test_batches_are_bounded_and_lose_nothing(weights: list[int]) -> None:
    """None is empty, has too many rows, or has a row that was not needed to fill it."""
    rows = [Parcel("", b"x" * min(weight, 1 << 16)) for weight in weights]
    batches = list(batch_rows(rows))

    assert [row for batch in batches for row in batch] == rows
    assert all(0 < len(batch) <= BATCH_ROWS for batch in batches)
    assert all(sum(row.weight for row in batch[:-1]) < BATCH_BYTES for batch in batches)


def test_a_parquet_file_is_whole_or_absent(tmp_path: Path) -> None:
    """An error on the way leaves what was there; the end puts the new one in its place."""
    path, work = tmp_path / "out.parquet", tmp_path / "work"
    work.mkdir()
    path.write_text("old")
    with contextlib.suppress(ValueError), open_parquet(path, work, SCHEMA, repeated=()) as file:
        file.append(make_batch("a"))
        raise ValueError("no")
    before = path.read_text()
    with open_parquet(path, work, SCHEMA, repeated=("text",)) as file:
        for text in "abc":
            file.append(make_batch(text, text))

    assert before == "old"
    assert parquet.read_table(path).to_pylist() == [{"text": text} for text in "aabbcc"]
    assert list(work.iterdir()) == []


def test_dropped_rows_and_answers_keep_what_they_were(tmp_path: Path) -> None:
    """A whole row is there as data, a lone answer as text; names of files need be no text."""
    row = DroppedRow("train", "a\udcff.jsonl:1", "acme/shop#1", RowDrop.BOT, detail="by a bot")
    answer = DroppedRow("eval", "b:2", "acme/shop#2", RowDrop.ANSWER_INVALID, Tool.REVIEW)
    (tmp_path / "work").mkdir()
    with open_dropped(tmp_path, tmp_path / "work") as file:
        file.append(row, data=Parcel.pack(make_pull(1), "").text)
        file.append(answer, answer="LGTM")
    first, second = parquet.read_table(tmp_path / "dropped.parquet").to_pylist()

    assert (first["row"], first["reason"], first["tool"]) == ("a\\udcff.jsonl:1", "Bot", None)
    assert Parcel("", first["data"].encode()).pr == make_pull(1)
    assert (second["tool"], second["answer"], second["data"]) == ("Review", "LGTM", None)


def test_a_funnel_adds_up() -> None:
    """What a step does not drop or move, it gives; steps that were not taken are not shown."""
    funnel = Funnel()
    gate = funnel.step(StepName.GATE, "train")
    split = funnel.step(StepName.SPLIT, "train")
    funnel.step(StepName.LENGTH, "train")
    split.taken, split.moved = 1200, 100
    gate.taken = split.given
    gate.dropped["SimilarToEval"] += 7
    lines = render_funnel(funnel.to_plain())

    assert [(step["step"], step["in"], step["out"]) for step in funnel.to_plain()] == [
        ("split", 1200, 1100),
        ("gate", 1100, 1093),
    ]
    assert lines[1] == "split  train  rows  1,200  1,100  100 to the other set"
    assert lines[2] == "gate   train  rows  1,100  1,093  SimilarToEval 7"
    assert funnel.count_dropped("train") == {"SimilarToEval": 7}
    assert funnel.count_dropped("eval") == {}
