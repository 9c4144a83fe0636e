"""Rows of a published file, a JSON array or JSON lines, each with its place."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError, field_validator

from tunebench_jobs.errors import InputError
from tunebench_jobs.judge.ledger import mend_text
from tunebench_jobs.records import describe_validation_error

# Editors of Windows mark the byte order.
_ENCODING = "utf-8-sig"
_ARRAY_SUFFIX = ".json"


class PublishedRow(BaseModel):
    """A row of somebody else's file, which may have columns that mean nothing here."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    @field_validator("*", mode="before")
    @classmethod
    def _mend_texts(cls, value: Any) -> Any:
        return [mend_text(each) for each in value] if isinstance(value, list) else mend_text(value)


RowT = TypeVar("RowT", bound=PublishedRow)


class BrokenRowError(ValueError):
    """A row is not what its format says; the message says why."""


@dataclass(frozen=True)
class Row:
    """A row as it stands in its file, counted from 1; `value` may be anything."""

    file: Path
    number: int
    value: Any

    @property
    def place(self) -> str:
        """File and row, for people."""
        return f"{self.file}: row {self.number}"

    def parse(self, kind: type[RowT]) -> RowT:
        """Return the row as its format describes it.

        Raises:
            BrokenRowError: It is something else.
        """
        if isinstance(self.value, BrokenRowError):
            raise self.value
        try:
            return kind.model_validate(self.value)
        except ValidationError as error:
            raise BrokenRowError(describe_validation_error(error)) from error


def load_rows(path: Path) -> Iterator[Row]:
    """Yield the rows of a file; its name says whether it is an array (.json) or lines (.jsonl).

    Raises:
        InputError: The file is absent, no text, or no array.
    """
    try:
        if path.suffix == _ARRAY_SUFFIX:
            yield from _load_array(path)
        else:
            yield from _load_lines(path)
    except FileNotFoundError as error:
        msg = f"file `{path}` must exist; check the path"
        raise InputError(msg, reason="FileNotFound") from error
    except IsADirectoryError as error:
        msg = f"`{path}` must be a file, got a folder; name the files in it"
        raise InputError(msg, reason="FileNotFound") from error
    except UnicodeDecodeError as error:
        msg = f"file `{path}` must be UTF-8 text: {error}"
        raise InputError(msg, reason="BrokenFile") from error


def _load_array(path: Path) -> Iterator[Row]:
    try:
        values = json.loads(path.read_text(encoding=_ENCODING))
    except UnicodeDecodeError:
        raise
    # Numbers of thousands of digits are no JSON for Python, either.
    except (ValueError, RecursionError) as error:
        msg = f"file `{path}` must be JSON: {error}; if it has a row in each line, name it .jsonl"
        raise InputError(msg, reason="BrokenFile") from error
    if not isinstance(values, list):
        msg = f"file `{path}` must be a JSON array of rows, got {type(values).__name__}"
        raise InputError(msg, reason="BrokenFile")
    for number, value in enumerate(values, 1):
        yield Row(path, number, value)


def _load_lines(path: Path) -> Iterator[Row]:
    with path.open(encoding=_ENCODING) as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                value = json.loads(line)
            except (ValueError, RecursionError) as error:
                value = BrokenRowError(f"must be JSON: {error}")
            yield Row(path, number, value)
