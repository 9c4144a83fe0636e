"""Open files of rows, wherever they lie, as one stream."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tunebench_jobs.data.data_files import DataFile, find_data_files
from tunebench_jobs.data.opened import BrokenRow, OpenedSource, Row
from tunebench_jobs.data.read_file import read_rows
from tunebench_jobs.data.urls import redact_uri
from tunebench_jobs.errors import InputError
from tunebench_jobs.files import build_file_digest


def open_files(uri: str, dataset: str, field: str) -> OpenedSource:
    """Open the files of rows that a URI names.

    Raises:
        InputError: There is none.
        RetryableError: A server does not answer.
    """
    files = find_data_files(uri, field)
    facts: dict[str, Any] = {"uri": redact_uri(uri)}
    return OpenedSource(dataset, _read_files(files, facts, field), facts)


def _read_files(
    files: Sequence[DataFile], facts: dict[str, Any], field: str
) -> Iterator[Row | BrokenRow]:
    found = []
    for file in files:
        counts = {"rows": 0, "broken": 0}
        with file.open() as path:
            digest = _digest(path, file.shown, field)
            for row in read_rows(path, file.shown):
                counts["broken" if isinstance(row, BrokenRow) else "rows"] += 1
                yield row
        found.append({"name": file.name, "sha256": digest, **_drop_zero_broken(counts)})
        facts |= _sum_up(found)


def _digest(path: Path, shown: str, field: str) -> str:
    try:
        return build_file_digest(path)
    except PermissionError as error:
        msg = f"`{field}` must name files that may be read, got `{shown}`: {error.strerror}"
        raise InputError(msg, reason="SourceDenied") from error


def _sum_up(found: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Build the facts of a source: of one file its own, of several those of all."""
    counts = {name: sum(file.get(name, 0) for file in found) for name in ("rows", "broken")}
    counts = _drop_zero_broken(counts)
    if len(found) == 1:
        return {"sha256": found[0]["sha256"], **counts}
    lines = "".join(f"{file['name']}\0{file['sha256']}\n" for file in found)
    digest = hashlib.sha256(lines.encode()).hexdigest()
    return {"sha256": digest, **counts, "files": list(found)}


def _drop_zero_broken(counts: dict[str, int]) -> dict[str, int]:
    return {name: count for name, count in counts.items() if count or name == "rows"}
