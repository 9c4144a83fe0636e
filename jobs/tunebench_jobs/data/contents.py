"""What the second pass makes of rows: training examples, tasks, or pull requests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from tunebench_api.v1alpha1 import Tool
from tunebench_jobs.data.drops import Finding
from tunebench_jobs.data.render import FoundAnswer, Renderer
from tunebench_jobs.prompts import Messages
from tunebench_jobs.records import Task, TrainExample
from tunebench_jobs.rows import ChangedFile, PullRequest


@dataclass(frozen=True, slots=True)
class Solved:
    """One tool of one row; what is found speaks against its answer, if not against its prompt."""

    pr: PullRequest
    tool: Tool
    answer: FoundAnswer | None
    finding: Finding | None
    is_kept: bool
    messages: Messages | None = None

    @property
    def good_answer(self) -> FoundAnswer | None:
        """The answer, unless something speaks against it."""
        return None if self.finding else self.answer


class Contents(Protocol):
    """Collects what a batch gives."""

    def add(self, pr: PullRequest, kept: Sequence[Solved]) -> None:
        """Take in the tools of a row that are kept."""

    def build(self) -> Any:
        """Return all of it as the file takes it."""


class Examples:
    """Training examples, as a record batch."""

    def __init__(self) -> None:
        """Begin without any."""
        self._columns: tuple[list[str], ...] = tuple([] for _ in TrainExample.model_fields)

    def add(self, pr: PullRequest, kept: Sequence[Solved]) -> None:
        """Add an example for each tool, in the order of its fields."""
        for solved in kept:
            answer, messages = solved.answer, solved.messages
            assert answer  # noqa: S101 - training keeps nothing without
            assert messages  # noqa: S101 - rendered in this form
            head = (pr.id, pr.repository, str(solved.tool))
            cells = (*head, messages.system, messages.user, answer.text)
            for column, value in zip(self._columns, cells, strict=True):
                column.append(value)

    def build(self) -> Any:
        """Return the record batch."""
        import pyarrow as pa  # noqa: PLC0415 - half a second that a broken row need not wait for

        arrays = [pa.array(column, pa.string()) for column in self._columns]
        return pa.RecordBatch.from_arrays(arrays, schema=build_example_schema())


class Tasks:
    """Tasks, as JSON lines."""

    def __init__(self, renderer: Renderer) -> None:
        """Ask `renderer` what an answer must have."""
        self._renderer = renderer
        self._lines: list[str] = []

    def add(self, pr: PullRequest, kept: Sequence[Solved]) -> None:
        """Add a task for each tool."""
        for solved in kept:
            assert solved.messages  # noqa: S101 - rendered in this form
            reference = solved.good_answer
            task = Task(
                id=f"{pr.id}:{solved.tool}",
                pr=pr.id,
                repository=pr.repository,
                language=pr.language,
                tool=solved.tool,
                system=solved.messages.system,
                user=solved.messages.user,
                reference=reference.text if reference else None,
                semantic_files=self._renderer.asks_for_files(solved.tool),
                paths=tuple(file.path for file in pr.files),
            )
            self._lines.append(f"{task.model_dump_json()}\n")

    def build(self) -> bytes:
        """Return the lines."""
        return "".join(self._lines).encode()


class Rows:
    """Pull requests with the answers that were found good, as a record batch."""

    def __init__(self) -> None:
        """Begin without any."""
        self._rows: list[dict[str, Any]] = []

    def add(self, pr: PullRequest, kept: Sequence[Solved]) -> None:
        """Add a pull request."""
        found = {solved.tool: solved.good_answer for solved in kept}
        good = {str(tool): answer for tool, answer in found.items() if answer}
        authors = {tool: answer.author for tool, answer in good.items() if answer.author}
        row = pr.model_dump(mode="json")
        row["languages"] = [{"name": each, "bytes": size} for each, size in pr.languages.items()]
        row["answers"] = {tool: answer.text for tool, answer in good.items()}
        self._rows.append({**row, "answered_by": authors})

    def build(self) -> Any:
        """Return the record batch."""
        import pyarrow as pa  # noqa: PLC0415 - as above

        return pa.RecordBatch.from_pylist(self._rows, schema=build_row_schema())


def build_example_schema() -> Any:
    """Build the columns of training examples."""
    import pyarrow as pa  # noqa: PLC0415 - as above

    return pa.schema([(name, pa.string()) for name in TrainExample.model_fields])


def build_row_schema() -> Any:
    """Build the columns of pull requests: plain types, which every reader of Parquet knows."""
    import pyarrow as pa  # noqa: PLC0415 - as above

    text = pa.string()
    by_tool = pa.struct([(str(tool), text) for tool in Tool])
    file = [
        (name, pa.bool_() if name == "is_binary" else text) for name in ChangedFile.model_fields
    ]
    special = {
        # Not a map, which the `datasets` library does not know.
        "languages": pa.list_(pa.struct([("name", text), ("bytes", pa.int64())])),
        "commits": pa.list_(text),
        "files": pa.list_(pa.struct(file)),
        "answers": by_tool,
        "answered_by": by_tool,
    }
    return pa.schema([(name, special.get(name, text)) for name in PullRequest.model_fields])
