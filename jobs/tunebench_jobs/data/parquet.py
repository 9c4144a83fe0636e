"""Parquet files of any length: written a row group at a time, whole or absent."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tunebench_jobs.files import disk_errors

# Of a row group in memory; readers hold one of them at a time, too.
GROUP_BYTES = 32 << 20
GROUP_ROWS = 16_384


@contextmanager
def open_parquet(
    path: Path, work: Path, schema: Any, *, repeated: Sequence[str]
) -> Iterator[ParquetFile]:
    """Write a file where nobody looks, and move it to its place when the block ends well.

    The same batches give the same bytes.

    Args:
        path: Where the file goes.
        work: Folder on the same disk to write it in.
        schema: Its columns.
        repeated: Columns whose values occur again and again.
    """
    from pyarrow import parquet  # noqa: PLC0415 - half a second that need not be waited for

    temporary = work / path.name
    with disk_errors(path.parent):
        with parquet.ParquetWriter(
            temporary, schema, compression="zstd", use_dictionary=list(repeated)
        ) as writer:
            file = ParquetFile(writer, schema)
            yield file
            file.flush()
        place_file(temporary, path)


class ParquetFile:
    """A file on its way: record batches, gathered into row groups."""

    def __init__(self, writer: Any, schema: Any) -> None:
        """Begin without rows."""
        self._writer = writer
        self._schema = schema
        self._batches: list[Any] = []
        self._bytes = 0
        self._rows = 0

    def append(self, batch: Any) -> None:
        """Add a record batch."""
        self._batches.append(batch)
        self._bytes += batch.nbytes
        self._rows += batch.num_rows
        if self._bytes >= GROUP_BYTES or self._rows >= GROUP_ROWS:
            self.flush()

    def flush(self) -> None:
        """Write what was gathered."""
        import pyarrow as pa  # noqa: PLC0415 - there since the beginning

        if self._rows:
            table = pa.Table.from_batches(self._batches, self._schema)
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
