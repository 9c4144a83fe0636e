"""Parquet files of any length: written a row group at a time, whole or absent."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tunebench_jobs.files import disk_errors

# Of a row group in memory; readers hold one of them at a time, too.
GROUP_BYTES = 32 << 20
GROUP_ROWS = 16_384


class ParquetFile:
    """A file that is written where nobody looks, and moved to its place when it is whole.

    The same batches give the same bytes.
    """

    def __init__(self, path: Path, work: Path, schema: Any, *, repeated: Sequence[str]) -> None:
        """Begin a file.

        Args:
            path: Where the file goes.
            work: Folder on the same disk to write it in.
            schema: Its columns.
            repeated: Columns whose values occur again and again.
        """
        from pyarrow import parquet  # noqa: PLC0415 - half a second that need not be waited for

        self._path = path
        self._temporary = work / path.name
        self._schema = schema
        self._writer = parquet.ParquetWriter(
            self._temporary, schema, compression="zstd", use_dictionary=list(repeated)
        )
        self._batches: list[Any] = []
        self._bytes = 0
        self._rows = 0

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
        with disk_errors(self._path.parent):
            if kind is None:
                self._flush()
            self._writer.close()
            if kind is None:
                place_file(self._temporary, self._path)

    def append(self, batch: Any) -> None:
        """Add a record batch."""
        self._batches.append(batch)
        self._bytes += batch.nbytes
        self._rows += batch.num_rows
        if self._bytes >= GROUP_BYTES or self._rows >= GROUP_ROWS:
            self._flush()

    def _flush(self) -> None:
        import pyarrow as pa  # noqa: PLC0415 - there since the beginning

        if self._rows:
            table = pa.Table.from_batches(self._batches, self._schema)
            with disk_errors(self._path.parent):
                self._writer.write_table(table, row_group_size=self._rows)
        self._batches, self._bytes, self._rows = [], 0, 0


def place_file(temporary: Path, path: Path) -> None:
    """Move a finished file to its place; readers see the old one or the new one."""
    descriptor = os.open(temporary, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    temporary.replace(path)
