"""What is left out, kept whole beside the manifest: `dropped.parquet`."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tunebench_jobs.data.drops import DroppedRow
from tunebench_jobs.data.layout import DROPPED_FILE
from tunebench_jobs.data.parquet import ParquetFile

COLUMNS = ("set", "row", "pr", "tool", "reason", "detail", "answer", "data")
_BATCH_ROWS = 256
_BATCH_BYTES = 4 << 20


class DroppedFile:
    """Writes every dropped row, and every dropped answer, with its reason.

    `data` is the pull request as JSON where all of it is dropped, and `answer` the text where only
    the answer to `tool` is.
    """

    def __init__(self, folder: Path, work: Path) -> None:
        """Begin the file in `folder`; `work` is on the same disk."""
        import pyarrow as pa  # noqa: PLC0415 - half a second that need not be waited for

        self._schema = pa.schema([(name, pa.string()) for name in COLUMNS])
        repeated = ("set", "tool", "reason")
        self._file = ParquetFile(folder / DROPPED_FILE, work, self._schema, repeated=repeated)
        self._rows: list[tuple[str | bytes | None, ...]] = []
        self._bytes = 0

    def __enter__(self) -> Self:
        """Return what is to be finished."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Put the file in its place, unless something went wrong."""
        if kind is None:
            self._flush()
        self._file.__exit__(kind, error, trace)

    def append(self, drop: DroppedRow, *, answer: str | None = None, data: bytes = b"") -> None:
        """Keep a dropped row, or a dropped answer."""
        head = (drop.dataset, drop.origin, drop.pr, drop.tool, drop.reason, drop.detail)
        self._rows.append((*map(_build_cell, head), answer, data or None))
        self._bytes += len(data) + len(answer or "")
        if len(self._rows) >= _BATCH_ROWS or self._bytes >= _BATCH_BYTES:
            self._flush()

    def _flush(self) -> None:
        import pyarrow as pa  # noqa: PLC0415 - there since the beginning

        if self._rows:
            columns: list[Any] = [
                pa.array(column, pa.string()) for column in zip(*self._rows, strict=True)
            ]
            self._file.append(pa.RecordBatch.from_arrays(columns, schema=self._schema))
        self._rows, self._bytes = [], 0


def _build_cell(text: str | None) -> str | None:
    """Build a value that Parquet takes: a file's name may hold bytes that are no text."""
    return str(text).encode(errors="backslashreplace").decode() if text else None
