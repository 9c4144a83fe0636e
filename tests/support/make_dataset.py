"""The folder of a finished dataset, as `tunebench dataset build` writes it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
from make_pulls import make_row
from pyarrow import parquet

from tunebench_api.v1alpha1 import Tool
from tunebench_jobs.data.contents import build_row_schema
from tunebench_jobs.files import build_file_digest

SECRET_ROW = "a row with a password"  # noqa: S105 - none


def make_finished_row(number: int, **columns: Any) -> dict[str, Any]:
    """Return a row with every column that files have."""
    row: dict[str, Any] = {
        "license": "MIT",
        "author": "ada",
        "url": "",
        "commit": "",
        "languages": [],
    }
    row |= make_row(number, **columns)
    row["answered_by"] = dict.fromkeys(row["answers"], "openai/gpt-4o-2024-11-20")
    files = [{"status": "modified", "is_binary": False, **file} for file in row["files"]]
    return {**row, "files": files}


def make_dataset(
    folder: Path,
    train: Sequence[dict[str, Any]] | None = None,
    test: Sequence[dict[str, Any]] | None = None,
    **manifest: Any,
) -> Path:
    """Write a dataset of some rows, with what was left out."""
    folder.mkdir()
    rows = {
        "train.parquet": [make_finished_row(n) for n in range(1, 9)] if train is None else train,
        "eval.parquet": [make_finished_row(n) for n in (10, 11)] if test is None else test,
    }
    for name, listed in rows.items():
        parquet.write_table(pa.Table.from_pylist(listed, build_row_schema()), folder / name)
    parquet.write_table(pa.table({"data": [SECRET_ROW]}), folder / "dropped.parquet")
    (folder / "candidates.jsonl").write_text(json.dumps({"id": SECRET_ROW}) + "\n")
    names = (*rows, "candidates.jsonl", "dropped.parquet")
    files = {name: build_file_digest(folder / name) for name in names}
    document = {**make_manifest(), "files": files, **manifest}
    (folder / "manifest.json").write_text(json.dumps(document, indent=1), encoding="utf-8")
    return folder


def make_manifest() -> dict[str, Any]:
    """Return what a manifest tells besides the files."""
    server = "https://user:pass@git.example/acme/shop.git?token=abc"
    return {
        "format": 2,
        "answers": "Teacher",
        "tools": [str(tool) for tool in Tool],
        "seed": 7,
        "dataset": {
            "train": {"uri": "/data/ada/secret-project/prs.jsonl", "limit": 100},
            "eval": {"holdout": "Newest", "perTool": 2},
            "answers": "Teacher",
            "licenses": "Permissive",
            "teacher": {
                "model": "openai/gpt-4o-2024-11-20",
                "family": "openai",
                "apiBase": "http://internal.example/v1",
                "secretRef": {"name": "llm-keys", "key": "KEY"},
            },
            "cleaning": {"skip": [], "maxTokens": 20_000},
        },
        "prompts": {"name": "compact", "sha256": "1" * 64},
        "sources": [
            {"set": "train", "uri": "/data/ada/secret-project/prs.jsonl", "sha256": "2" * 64},
            {"set": "train", "repository": server, "commit": "3" * 40},
        ],
        "steps": [
            make_step("read", 20, {}),
            make_step("clean", 20, {"Bot": 3, "Secret": 2}),
            {**make_step("split", 15, {}), "moved": 2, "out": 13},
            make_step("gate", 13, {"SimilarToEval": 5}),
        ],
        "contamination": {
            "checked": ["SameId", "WordRuns"],
            "removed": {"WordRuns": 5},
            "train": 13,
            "eval": 2,
        },
        "warnings": [],
    }


def make_step(name: str, taken: int, dropped: dict[str, int]) -> dict[str, Any]:
    """Return a step of the funnel."""
    given = taken - sum(dropped.values())
    return {
        "step": name,
        "set": "train",
        "unit": "rows",
        "in": taken,
        "out": given,
        "dropped": dropped,
    }
