"""Turn what a file holds into a pull request, or say why it cannot be one."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from pydantic import ValidationError
from pydantic_core import from_json

from tunebench_jobs.data.drops import DETAIL_CHARACTERS
from tunebench_jobs.data.names import (
    escape_controls,
    find_path_problem,
    is_steering,
    neutralise_prose,
)
from tunebench_jobs.data.opened import BrokenRow, Row
from tunebench_jobs.records import describe_validation_error
from tunebench_jobs.rows import PullRequest

# What a row may hold at most, so that no row takes the memory of all others.
MAX_FILES = 10_000
MAX_COMMITS = 10_000
MAX_KEYS = 1000

_URL = re.compile(r"https?://[^\s\x00-\x20\x7f]+")


def parse_row(raw: Any, origin: str) -> Row | BrokenRow:
    """Return the row that plain values mean."""
    if not isinstance(raw, dict):
        return build_broken(origin, f"must be an object, got {type(raw).__name__}")
    if too_much := _find_too_much(raw):
        return build_broken(origin, too_much)
    try:
        pull = PullRequest.model_validate(_clean_row(raw))
    except ValidationError as error:
        return build_broken(origin, describe_validation_error(error))
    problem = next(_find_problems(pull), None)
    return build_broken(origin, problem) if problem else Row(neutralise_prose(pull), origin)


def parse_json(text: bytes, origin: str) -> Any | BrokenRow:
    """Parse JSON with pydantic's parser, which also refuses deep nests and lone surrogates."""
    try:
        return from_json(text)
    except ValueError as error:
        return build_broken(origin, f"must be JSON in UTF-8, got {error}")


def build_broken(origin: str, detail: str) -> BrokenRow:
    """Build a broken row from texts that quote what a stranger wrote."""
    return BrokenRow(escape_controls(origin), escape_controls(detail)[:DETAIL_CHARACTERS])


def parse_moment(text: str) -> datetime:
    """Parse an RFC 3339 time; one without an offset is UTC.

    Raises:
        ValueError: It is none.
    """
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _find_too_much(raw: Mapping[str, Any]) -> str | None:
    """Look before the types are checked, because a list of errors costs more than the values."""
    sizes = (
        ("row", raw, MAX_KEYS),
        ("files", raw.get("files"), MAX_FILES),
        ("commits", raw.get("commits"), MAX_COMMITS),
        ("answers", raw.get("answers"), MAX_KEYS),
        ("answered_by", raw.get("answered_by"), MAX_KEYS),
        ("languages", raw.get("languages"), MAX_KEYS),
        *(("files", file, MAX_KEYS) for file in _list(raw.get("files"))[:MAX_FILES]),
    )
    return next(
        (
            f"`{name}` must have at most {limit} entries, got {len(value)}"
            for name, value, limit in sizes
            if isinstance(value, dict | list | tuple) and len(value) > limit
        ),
        None,
    )


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _find_problems(pull: PullRequest) -> Iterator[str]:
    for name in ("id", "repository"):
        if is_steering(getattr(pull, name)):
            yield f"`{name}` must not hold control characters, got {getattr(pull, name)!r}"
    if pull.url and not _URL.fullmatch(pull.url):
        yield f"`url` must begin with https:// or http://, got {pull.url!r}"
    if pull.merged_at is not None and not _is_moment(pull.merged_at):
        yield f"`merged_at` must be an RFC 3339 time, got {pull.merged_at!r}"
    yield from _find_path_problems(pull)


def _find_path_problems(pull: PullRequest) -> Iterator[str]:
    for number, file in enumerate(pull.files):
        for name, path in (("path", file.path), ("previous_path", file.previous_path)):
            problem = find_path_problem(path) if path is not None else None
            if problem:
                yield f"`files.{number}.{name}` {problem}, got {path!r}"


def _is_moment(text: str) -> bool:
    try:
        parse_moment(text)
    except ValueError:
        return False
    return True


def _clean_row(raw: Mapping[str, Any]) -> dict[str, Any]:
    """Drop nulls, which is how Parquet shows absent values, and undo its types for maps, times."""
    row = _drop_nulls(raw)
    if isinstance(row.get("files"), list):
        row["files"] = [
            _drop_nulls(file) if isinstance(file, dict) else file for file in row["files"]
        ]
    for name in ("answers", "answered_by", "languages"):
        row |= {name: _build_map(row[name])} if name in row else {}
    if isinstance(row.get("merged_at"), datetime):
        row["merged_at"] = row["merged_at"].isoformat()
    return row


def _build_map(value: Any) -> Any:
    """Undo a map column, which JSON does not have, and a struct's absent members."""
    # JSON has no tuples; other keys than text are for the types to refuse.
    if isinstance(value, list) and all(
        isinstance(entry, tuple) and isinstance(entry[0], str) for entry in value
    ):
        value = dict(value)
    # As `tunebench dataset build` writes `languages`.
    if isinstance(value, list) and all(_is_pair(entry) for entry in value):
        value = {entry["name"]: entry["bytes"] for entry in value}
    return _drop_nulls(value) if isinstance(value, dict) else value


def _is_pair(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and value.keys() == {"name", "bytes"}
        and isinstance(value["name"], str)
    )


def _drop_nulls(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}
