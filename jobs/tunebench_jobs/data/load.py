"""Read pull requests from JSONL, JSON and Parquet files, and say which row is broken."""

from __future__ import annotations

import os
from codecs import BOM_UTF8
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from pydantic import ValidationError
from pydantic_core import from_json

from tunebench_api.places import (
    SAMPLE_SCHEME,
    SAMPLES_FOLDER,
    is_remote,
    resolve_place,
    resolve_sample,
)
from tunebench_api.v1alpha1 import Tool
from tunebench_jobs.errors import InputError
from tunebench_jobs.records import describe_validation_error
from tunebench_jobs.rows import PullRequest
from tunebench_jobs.storage.sources import fetch_source

SUFFIXES = (".jsonl", ".json", ".parquet")
_LOCAL_SCHEMES = ("", "file", "local")


@dataclass(frozen=True)
class Row:
    """A pull request and where it came from: `file:line`, `file:row` or `repository@commit`."""

    pr: PullRequest
    origin: str
    # Whose answer a person wrote in place of any other.
    edited_tools: frozenset[Tool] = frozenset()


def parse_local_path(uri: str, field: str) -> Path:
    """Return the path that a URI names, here or by a copy; `field` is its place in the run.

    Raises:
        InputError: It lies elsewhere.
    """
    if is_remote(uri):
        return fetch_source(uri, field)
    try:
        if uri.startswith(SAMPLE_SCHEME):
            return Path(resolve_sample(uri, str(_samples_dir())))
        uri = resolve_place(uri)
    except ValueError as error:
        msg = f"`{field}` {error}"
        raise InputError(msg, reason="InvalidSource") from error
    parts = urlsplit(uri)
    # One letter before a colon is a drive, and a scheme needs its slashes.
    if "://" not in uri:
        return Path(uri)
    if parts.scheme not in _LOCAL_SCHEMES or parts.netloc not in {"", "localhost"}:
        msg = (
            f"`{field}` must be a path or a file:// URL: `{parts.scheme}://` is not supported yet; "
            "download the file first"
        )
        raise InputError(msg, reason="NotSupported")
    return Path(unquote(parts.path))


def load_rows(path: Path, field: str) -> Iterator[Row]:
    """Yield the pull requests of a file, in its order.

    Raises:
        InputError: The file is absent or of another kind, or a row is broken.
    """
    if not path.is_file():
        msg = f"`{field}` must be an existing file, got `{path}`"
        raise InputError(msg, reason="FileNotFound")
    if path.suffix not in SUFFIXES:
        msg = f"`{field}` must end in {', '.join(SUFFIXES)}, got `{path}`"
        raise InputError(msg, reason="InvalidSource")
    read = {".jsonl": _read_lines, ".json": _read_array, ".parquet": _read_parquet}[path.suffix]
    for raw, origin in read(path):
        yield Row(_parse_row(raw, origin), origin)


def parse_moment(text: str) -> datetime:
    """Parse an RFC 3339 time; one without an offset is UTC.

    Raises:
        ValueError: It is none.
    """
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _samples_dir() -> Path:
    """Return the folder of the files that ship with tunebench; an image names its own."""
    named = os.environ.get("TUNEBENCH_SAMPLES_DIR")
    return Path(named) if named else Path(__file__).resolve().parents[3] / SAMPLES_FOLDER


def _read_lines(path: Path) -> Iterator[tuple[Any, str]]:
    # Bytes, because only `\n` ends a line here, and a broken encoding has a line too.
    with path.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            text = line.removeprefix(BOM_UTF8) if number == 1 else line
            if text.strip():
                yield _parse_json(text, f"{path}:{number}"), f"{path}:{number}"


def _read_array(path: Path) -> Iterator[tuple[Any, str]]:
    rows = _parse_json(path.read_bytes(), str(path))
    if not isinstance(rows, list):
        msg = f"{path} must hold a JSON array of rows, got {type(rows).__name__}"
        raise InputError(msg, reason="BrokenRow")
    for number, raw in enumerate(rows, 1):
        yield raw, f"{path}:row {number}"


def _read_parquet(path: Path) -> Iterator[tuple[Any, str]]:
    import pyarrow as pa  # noqa: PLC0415 - half a second that JSONL need not pay
    from pyarrow import parquet  # noqa: PLC0415

    number = 0
    try:
        with parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=256):
                for raw in batch.to_pylist():
                    number += 1
                    yield raw, f"{path}:row {number}"
    # A damaged page is an OSError, and damaged text is what Python says of it.
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        msg = f"{path} must be a Parquet file; after row {number}: {error}"
        raise InputError(msg, reason="BrokenRow") from error


def _parse_json(text: bytes, origin: str) -> Any:
    """Parse JSON with pydantic's parser, which also refuses deep nests and lone surrogates."""
    try:
        return from_json(text)
    except ValueError as error:
        msg = f"{origin}: broken row: must be JSON in UTF-8, got {error}"
        raise InputError(msg, reason="BrokenRow") from error


def _parse_row(raw: Any, origin: str) -> PullRequest:
    if not isinstance(raw, dict):
        msg = f"{origin}: broken row: must be an object, got {type(raw).__name__}"
        raise InputError(msg, reason="BrokenRow")
    try:
        pull = PullRequest.model_validate(_clean_row(raw))
    except ValidationError as error:
        msg = f"{origin}: broken row: {describe_validation_error(error)}"
        raise InputError(msg, reason="BrokenRow") from error
    if pull.merged_at is not None:
        _check_moment(pull.merged_at, origin)
    return pull


def _clean_row(raw: Mapping[str, Any]) -> dict[str, Any]:
    """Drop nulls, which is how Parquet shows absent values, and undo its types for maps, times."""
    row = {name: value for name, value in raw.items() if value is not None}
    if isinstance(row.get("files"), list):
        row["files"] = [
            _drop_nulls(file) if isinstance(file, dict) else file for file in row["files"]
        ]
    answers = row.get("answers")
    # A map column; JSON has no tuples.
    if isinstance(answers, list) and all(isinstance(entry, tuple) for entry in answers):
        row["answers"] = dict(answers)
    if isinstance(row.get("merged_at"), datetime):
        row["merged_at"] = row["merged_at"].isoformat()
    return row


def _drop_nulls(value: Mapping[str, Any]) -> dict[str, Any]:
    return {name: entry for name, entry in value.items() if entry is not None}


def _check_moment(text: str, origin: str) -> None:
    try:
        parse_moment(text)
    except ValueError as error:
        msg = f"{origin}: broken row: `merged_at` must be an RFC 3339 time, got {text!r}"
        raise InputError(msg, reason="BrokenRow") from error
