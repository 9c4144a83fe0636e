"""Rows on the disk while they wait: written once, read by number, few bytes of memory each."""

from __future__ import annotations

import os
from array import array
from pathlib import Path
from types import TracebackType
from typing import Any, Self


class Spool:
    """A file of entries; it belongs to one process and does not outlive it."""

    def __init__(self, path: Path, *, compressed: bool = True) -> None:
        """Begin an empty spool; hashes are not worth compressing, text becomes a third."""
        import pyarrow as pa  # noqa: PLC0415 - half a second that a broken row need not wait for

        self._codec: Any = pa.Codec("zstd", compression_level=1) if compressed else None
        self._file = path.open("xb+")
        # Where each entry ends, and how long it is before compression.
        self._ends = array("Q", [0])
        self._sizes = array("Q")

    def __enter__(self) -> Self:
        """Return what is to be closed."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the file."""
        self._file.close()

    def __len__(self) -> int:
        """How many entries there are."""
        return len(self._sizes)

    def append(self, entry: bytes) -> int:
        """Keep an entry and return its number."""
        packed = self._codec.compress(entry, asbytes=True) if self._codec else entry
        self._file.write(packed)
        self._ends.append(self._ends[-1] + len(packed))
        self._sizes.append(len(entry))
        return len(self._sizes) - 1

    def read(self, number: int) -> bytes:
        """Return the entry of a number."""
        self._file.flush()
        start, end = self._ends[number], self._ends[number + 1]
        packed = os.pread(self._file.fileno(), end - start, start)
        if self._codec is None:
            return packed
        entry: bytes = self._codec.decompress(packed, self._sizes[number], asbytes=True)
        return entry
