"""Rows come in from files, and a broken one is named."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from make_pulls import make_pull, make_row, save_rows
from pyarrow import parquet

from tunebench_jobs.data.load import load_rows
from tunebench_jobs.errors import InputError
from tunebench_jobs.local_paths import parse_local_path

FIELD = "spec.dataset.train.uri"


def test_jsonl_rows_keep_order_and_line(tmp_path: Path) -> None:
    """Each row knows its line, counting empty lines."""
    path = tmp_path / "prs.jsonl"
    path.write_text(f"{json.dumps(make_row(1))}\n\n{json.dumps(make_row(2))}")
    rows = list(load_rows(path, FIELD))

    assert [(row.pr.id, row.origin) for row in rows] == [
        ("acme/shop#1", f"{path}:1"),
        ("acme/shop#2", f"{path}:3"),
    ]


def test_a_byte_order_mark_is_no_error(tmp_path: Path) -> None:
    """Editors on other systems put one before the first row."""
    path = tmp_path / "prs.jsonl"
    path.write_text(json.dumps(make_row(1)), encoding="utf-8-sig")

    assert [row.pr.id for row in load_rows(path, FIELD)] == ["acme/shop#1"]


def test_parquet_rows_equal_jsonl_rows(tmp_path: Path) -> None:
    """Absent answers, maps and times of Parquet mean what they mean in JSON."""
    columns = pa.schema(
        [
            ("id", pa.string()),
            ("repository", pa.string()),
            ("title", pa.string()),
            ("merged_at", pa.timestamp("us", tz="UTC")),
            (
                "files",
                pa.list_(
                    pa.struct(
                        [
                            ("path", pa.string()),
                            ("patch", pa.string()),
                            ("previous_path", pa.string()),
                        ]
                    )
                ),
            ),
            ("answers", pa.map_(pa.string(), pa.string())),
        ]
    )
    row = {
        "id": "acme/shop#1",
        "repository": "acme/shop",
        "title": None,
        "merged_at": datetime(2024, 1, 1, tzinfo=UTC),
        "files": [{"path": "a.py", "patch": "@@ -1 +1 @@\n-a\n+b", "previous_path": None}],
        "answers": [("Describe", "title: x")],
    }
    path = tmp_path / "prs.parquet"
    parquet.write_table(pa.Table.from_pylist([row], columns), path)
    loaded = next(load_rows(path, FIELD))

    assert loaded.origin == f"{path}:row 1"
    assert loaded.pr == make_pull(
        1,
        title="",
        description="",
        branch="",
        language="",
        commits=[],
        merged_at="2024-01-01T00:00:00+00:00",
        files=[{"path": "a.py", "patch": "@@ -1 +1 @@\n-a\n+b"}],
        answers={"Describe": "title: x"},
    )


def test_json_array_is_read(tmp_path: Path) -> None:
    """A JSON file holds an array of rows."""
    path = tmp_path / "prs.json"
    path.write_text(json.dumps([make_row(1), make_row(2)]))

    assert [row.origin for row in load_rows(path, FIELD)] == [f"{path}:row 1", f"{path}:row 2"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        pytest.param({"files": []}, "`files`", id="no files"),
        pytest.param({"id": None}, "`id`: Field required", id="no id"),
        pytest.param({"headline": "x"}, "`headline`: Extra inputs", id="unknown column"),
        pytest.param({"title": 3}, "`title`", id="wrong type"),
        pytest.param({"merged_at": "yesterday"}, "`merged_at` must be an RFC 3339", id="time"),
        pytest.param({"answers": {"Explain": "x"}}, "`answers.Explain", id="unknown tool"),
        pytest.param({"files": [{"path": "a", "status": "gone"}]}, "`files.0.status`", id="status"),
    ],
)
def test_broken_row_is_named_by_line_and_column(
    tmp_path: Path, change: dict[str, Any], words: str
) -> None:
    """A row that breaks the schema is an error with file, line and column."""
    path = save_rows(tmp_path / "prs.jsonl", [make_row(1), make_row(2, **change)])

    with pytest.raises(InputError) as caught:
        list(load_rows(path, FIELD))
    assert str(caught.value).startswith(f"{path}:2: broken row: ")
    assert words in str(caught.value)


@pytest.mark.parametrize(
    "line",
    [
        pytest.param(b"{", id="cut off"),
        pytest.param(b"[1]", id="array"),
        pytest.param(b'{"id": "\xff"}', id="no UTF-8"),
        pytest.param(b"[" * 100_000, id="deep"),
        pytest.param(b'{"id": "\\ud800"}', id="lone surrogate"),
    ],
)
def test_line_that_is_no_object_is_named(tmp_path: Path, line: bytes) -> None:
    """Whatever a line holds, the error names it."""
    path = tmp_path / "prs.jsonl"
    path.write_bytes(json.dumps(make_row(1)).encode() + b"\n" + line)

    with pytest.raises(InputError, match=f"{path}:2: broken row"):
        list(load_rows(path, FIELD))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        pytest.param("absent.jsonl", "must be an existing file", id="absent"),
        pytest.param("prs.csv", "must end in .jsonl, .json, .parquet", id="other kind"),
        pytest.param("prs.parquet", "must be a Parquet file", id="no Parquet"),
        pytest.param("prs.json", "must be JSON", id="no JSON"),
    ],
)
def test_unusable_file_is_named(tmp_path: Path, name: str, words: str) -> None:
    """A file that cannot be read is an error that names it."""
    for kind in ("csv", "parquet", "json"):
        (tmp_path / f"prs.{kind}").write_text("id,title")

    with pytest.raises(InputError, match=words):
        list(load_rows(tmp_path / name, FIELD))


def test_local_addresses_become_paths() -> None:
    """Paths and file URLs are read here; other schemes are refused by name."""
    assert parse_local_path("data/a b.jsonl", FIELD) == Path("data/a b.jsonl")
    assert parse_local_path("file:///data/a%20b.jsonl", FIELD) == Path("/data/a b.jsonl")
    with pytest.raises(InputError, match="gs://` is not supported yet"):
        parse_local_path("gs://bucket/a.jsonl", FIELD)
