"""What is left out, kept whole beside the manifest: `dropped.parquet`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tunebench_jobs.data.drops import DroppedRow
from tunebench_jobs.data.layout import DROPPED_FILE
from tunebench_jobs.data.parquet import ParquetFile, open_parquet

COLUMNS = ("set", "row", "pr", "tool", "reason", "detail", "answer", "data")
_REPEATED = ("set", "tool", "reason")
_BATCH_ROWS = 256
_BATCH_BYTES = 4 << 20


@contextmanager
def open_dropped(folder: Path, work: Path) -> Iterator[DroppedFile]:
    """Write the file in `folder`, whole or not at all; `work` is on the same disk."""
    import pyarrow as pa  # noqa: PLC0415 - half a second that need not be waited for

    schema = pa.schema([(name, pa.string()) for name in COLUMNS])
    with open_parquet(folder / DROPPED_FILE, work, schema, repeated=_REPEATED) as file:
        dropped = DroppedFile(file, schema)
        yield dropped
        dropped.flush()


class DroppedFile:
    """Writes every dropped row, and every dropped answer, with its reason.

    `data` is the pull request as JSON where all of it is dropped, and `answer` the text where only
    the answer to `tool` is.
    """

    def __init__(self, file: ParquetFile, schema: Any) -> None:
        """Begin without rows."""
        self._file = file
        self._schema = schema
        self._rows: list[tuple[str | bytes | None, ...]] = []
        self._bytes = 0

    def append(self, drop: DroppedRow, *, answer: str | None = None, data: bytes = b"") -> None:
        """Keep a dropped row, or a dropped answer."""
        head = (drop.dataset, drop.origin, drop.pr, drop.tool, drop.reason, drop.detail)
        self._rows.append((*map(_build_cell, head), answer, data or None))
        self._bytes += len(data) + len(answer or "")
        if len(self._rows) >= _BATCH_ROWS or self._bytes >= _BATCH_BYTES:
            self.flush()

    def flush(self) -> None:
        """Write what was gathered."""
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
