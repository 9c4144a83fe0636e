"""Rows that stages hand to each other, one JSON object to a line.

`train.parquet` holds `TrainExample`, `eval.jsonl` holds `Task`, `completions.jsonl` holds
`Completion`. Column names are snake_case, as in Hugging Face datasets.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from tunebench_api.v1alpha1 import Tool
from tunebench_jobs.errors import InputError

COMPLETIONS_FILE = "completions.jsonl"


class Record(BaseModel):
    """A frozen row that refuses columns it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class TrainExample(Record):
    """A rendered prompt with the answer to learn."""

    pr: str
    repository: str
    tool: Tool
    system: str
    user: str
    answer: str


class Task(Record):
    """One pull request for one tool, to be solved; `id` is `<pr>:<tool>`."""

    id: str
    pr: str
    repository: str
    language: str
    tool: Tool
    system: str
    user: str
    # The good answer, where the dataset has one; shown to no model and to no LLM judge.
    reference: str | None = None
    # Whether the prompt asks for `pr_files` (Describe), so that validity is judged likewise.
    semantic_files: bool = True
    # Changed files.
    paths: tuple[str, ...] = ()


class Completion(Record):
    """A model's answer to a task."""

    task: str
    completion: str
    # `stop`, `length` (cut off at the token limit) or `stored`.
    finish_reason: str
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost_usd: float = 0.0


RecordT = TypeVar("RecordT", bound=BaseModel)


def load_jsonl(path: Path, record: type[RecordT]) -> Iterator[RecordT]:
    """Yield the rows of a JSONL file.

    Raises:
        InputError: The file is absent, or a row is broken; names file and line.
    """
    try:
        with path.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, 1):
                if line.strip():
                    yield _parse_line(line, record, path, number)
    except FileNotFoundError as error:
        msg = f"file `{path}` must exist; check the path"
        raise InputError(msg, reason="FileNotFound") from error
    except UnicodeDecodeError as error:
        msg = f"file `{path}` must be UTF-8 text: {error}"
        raise InputError(msg, reason="BrokenRow") from error


def dump_jsonl(rows: Iterable[BaseModel]) -> str:
    """Return rows as JSON lines."""
    return "".join(row.model_dump_json() + "\n" for row in rows)


def describe_validation_error(error: ValidationError) -> str:
    """Return what is wrong with a row, each problem with its column."""
    return "; ".join(
        f"`{'.'.join(str(part) for part in problem['loc']) or 'row'}`: {problem['msg']}"
        for problem in error.errors()
    )


def _parse_line(line: str, record: type[RecordT], path: Path, number: int) -> RecordT:
    try:
        return record.model_validate_json(line)
    except ValidationError as error:
        msg = f"{path}:{number}: broken row: {describe_validation_error(error)}"
        raise InputError(msg, reason="BrokenRow") from error
