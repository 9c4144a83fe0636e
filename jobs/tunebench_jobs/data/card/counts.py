"""What the Parquet file of a set holds, counted in one pass."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tunebench_api.v1alpha1 import Tool
from tunebench_jobs.errors import InputError

# Measures of a pull request.
FILES, CHANGED_LINES, DIFF_CHARACTERS = "changed files", "changed lines", "characters of diff"
MEASURES = (FILES, CHANGED_LINES, DIFF_CHARACTERS)

_PLAIN = ("repository", "license", "language", "merged_at", "answers", "answered_by")
_PATCH = "files.list.element.patch"
_BATCH_ROWS = 256
# A line of a patch that is added or removed.
_CHANGED_LINE = "(?m)^[+-]"


@dataclass
class SetFacts:
    """The counts of one set."""

    rows: int = 0
    repositories: Counter[str] = field(default_factory=Counter)
    licenses: Counter[str] = field(default_factory=Counter)
    languages: Counter[str] = field(default_factory=Counter)
    # By tool and who wrote them; empty where that is not known.
    authors: Counter[tuple[str, str]] = field(default_factory=Counter)
    # The first and the last day of merging; empty where no row has one.
    first: str = ""
    last: str = ""
    # One value for each row.
    sizes: dict[str, list[int]] = field(default_factory=lambda: {name: [] for name in MEASURES})
    # Characters of each answer, by tool.
    answers: dict[str, list[int]] = field(default_factory=lambda: {str(tool): [] for tool in Tool})


def count_set(path: Path) -> SetFacts:
    """Count what a file of pull requests holds, some hundred rows at a time.

    Raises:
        InputError: It is absent, or no such file.
    """
    import pyarrow as pa  # noqa: PLC0415 - half a second that other commands need not pay
    from pyarrow import parquet  # noqa: PLC0415 - likewise

    facts = SetFacts()
    try:
        with parquet.ParquetFile(path) as file:
            columns = _choose_columns(file, path)
            for batch in file.iter_batches(batch_size=_BATCH_ROWS, columns=columns):
                _count_batch(batch, facts)
    except (OSError, pa.ArrowInvalid) as error:
        msg = f"`{path}` must be a Parquet file of pull requests: {error}"
        raise InputError(msg, reason="InvalidDataset") from error
    return facts


def _choose_columns(file: Any, path: Path) -> list[str]:
    """Return the columns to read; whole files are not among them."""
    there = [file.schema.column(place).path for place in range(len(file.schema))]
    chosen = [name for name in there if name.split(".")[0] in _PLAIN or name == _PATCH]
    missing = {*_PLAIN, "files"} - {name.split(".")[0] for name in chosen}
    if missing:
        msg = (
            f"`{path}` must hold pull requests, got no column {', '.join(sorted(missing))}; "
            "make the folder with `tunebench dataset build`"
        )
        raise InputError(msg, reason="InvalidDataset")
    return chosen


def _count_batch(batch: Any, facts: SetFacts) -> None:
    facts.rows += batch.num_rows
    named = (
        ("repository", facts.repositories),
        ("license", facts.licenses),
        ("language", facts.languages),
    )
    for name, counter in named:
        counter.update(value or "" for value in batch.column(name).to_pylist())
    days = [str(moment)[:10] for moment in batch.column("merged_at").to_pylist() if moment]
    if days:
        facts.first = min([*days, facts.first] if facts.first else days)
        facts.last = max([*days, facts.last])
    _count_sizes(batch, facts)
    _count_answers(batch, facts)


def _count_sizes(batch: Any, facts: SetFacts) -> None:
    import numpy as np  # noqa: PLC0415 - there since the file was opened
    from pyarrow import compute  # noqa: PLC0415 - likewise

    files = batch.column("files")
    parents = compute.list_parent_indices(files).to_numpy()
    patches = compute.struct_field(compute.list_flatten(files), "patch").fill_null("")
    lines = compute.count_substring_regex(patches, _CHANGED_LINE)
    found = {
        FILES: np.ones(len(parents)),
        CHANGED_LINES: lines.to_numpy(zero_copy_only=False),
        DIFF_CHARACTERS: compute.utf8_length(patches).to_numpy(zero_copy_only=False),
    }
    for name, values in found.items():
        sums = np.bincount(parents, weights=values, minlength=batch.num_rows)
        facts.sizes[name] += sums.astype(int).tolist()


def _count_answers(batch: Any, facts: SetFacts) -> None:
    from pyarrow import compute  # noqa: PLC0415 - there since the file was opened

    answers, authors = batch.column("answers"), batch.column("answered_by")
    for tool in Tool:
        texts = compute.struct_field(answers, str(tool))
        lengths = compute.utf8_length(texts).to_pylist()
        names = compute.struct_field(authors, str(tool)).to_pylist()
        for length, name in zip(lengths, names, strict=True):
            if length:
                facts.answers[str(tool)].append(length)
                facts.authors[str(tool), name or ""] += 1
