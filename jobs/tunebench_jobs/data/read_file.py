"""Read the rows of one file on this machine: JSONL, JSON or Parquet, compressed or not.

Whatever a file holds, little of it is in memory, and damage is a broken row and not the end.
"""

from __future__ import annotations

import io
import lzma
import zlib
from codecs import BOM_UTF8
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from tunebench_jobs.data.opened import BrokenRow, Row
from tunebench_jobs.data.parse_row import build_broken, parse_json, parse_row
from tunebench_jobs.errors import InputError

SUFFIXES = (".jsonl", ".json", ".parquet")
COMPRESSIONS = (".gz", ".bz2", ".xz", ".zst")
MAX_ROW_BYTES = 32 << 20
# An array has to be parsed at once, so a large set of rows should be JSONL. At the worst, as lists
# that are empty, it takes 30 times as much memory.
MAX_ARRAY_BYTES = 64 << 20

_BUFFER_BYTES = 1 << 20
# What decompressors say of a file that is cut off or not what its name says.
_DAMAGES = (EOFError, OSError, lzma.LZMAError, zlib.error)
# What Arrow holds and Python cannot say: text that is no UTF-8, moments of no calendar or zone.
_NO_VALUES = (ValueError, OverflowError)
# So few that even rows of the largest size fit into memory together.
_BATCH_ROWS = 32


def is_data_name(name: str) -> bool:
    """Whether a file's name ends as those of rows do."""
    return split_suffix(name)[0] in SUFFIXES


def split_suffix(name: str) -> tuple[str, str]:
    """Return the kind of file and its compression, either of which may be empty."""
    suffixes = [suffix.lower() for suffix in Path(name).suffixes]
    compression = suffixes.pop() if suffixes and suffixes[-1] in COMPRESSIONS else ""
    kind = suffixes[-1] if suffixes else ""
    # A Parquet file compresses its pages itself.
    return ("" if compression and kind == ".parquet" else kind), compression


def check_data_name(name: str, field: str) -> None:
    """Refuse a file of which the name does not say how to read it.

    Raises:
        InputError: Its ending is another.
    """
    if not is_data_name(name):
        msg = (
            f"`{field}` must end in {', '.join(SUFFIXES)}, perhaps with {', '.join(COMPRESSIONS)} "
            f"(not on .parquet), got `{name}`"
        )
        raise InputError(msg, reason="InvalidSource")


def read_rows(path: Path, shown: str) -> Iterator[Row | BrokenRow]:
    """Yield the rows of a file in its order; `shown` is its name in origins."""
    for raw in _read_raw(path, shown):
        yield raw if isinstance(raw, BrokenRow) else parse_row(*raw)


def _read_raw(path: Path, shown: str) -> Iterator[tuple[Any, str] | BrokenRow]:
    kind, compression = split_suffix(path.name)
    if kind == ".parquet":
        yield from _read_parquet(path, shown)
        return
    with _open(path, compression) as stream:
        # Many tools write JSONL under the name of JSON.
        is_array = kind == ".json" and _is_array(stream)
        yield from (_read_array if is_array else _read_lines)(stream, shown)


@contextmanager
def _open(path: Path, compression: str) -> Iterator[io.BufferedReader]:
    """Yield a file as it was before it was compressed."""
    with path.open("rb", buffering=0) as packed:
        if not compression:
            yield io.BufferedReader(packed, _BUFFER_BYTES)
            return
        with _unpack(packed, compression) as unpacked:
            yield io.BufferedReader(unpacked, _BUFFER_BYTES)


def _unpack(packed: IO[bytes], compression: str) -> Any:
    if compression == ".zst":
        import pyarrow as pa  # noqa: PLC0415 - half a second that other files need not pay

        return pa.CompressedInputStream(pa.PythonFile(packed, "r"), "zstd")
    from fsspec.compression import compr  # noqa: PLC0415 - likewise
    from fsspec.utils import compressions  # noqa: PLC0415 - likewise

    return compr[compressions[compression[1:]]](packed, mode="rb")


def _is_array(stream: io.BufferedReader) -> bool:
    try:
        return stream.peek(64).removeprefix(BOM_UTF8).lstrip()[:1] == b"["
    except _DAMAGES:
        # Reading it says what is wrong.
        return False


def _read_lines(stream: io.BufferedReader, shown: str) -> Iterator[tuple[Any, str] | BrokenRow]:
    # Bytes, because only `\n` ends a line here, and a broken encoding has a line too.
    number = 0
    while True:
        origin = f"{shown}:{number + 1}"
        try:
            line = stream.readline(MAX_ROW_BYTES + 1)
            extra = _skip_line(stream) if len(line) > MAX_ROW_BYTES else 0
        except _DAMAGES as error:
            yield _build_damage(error, origin)
            return
        if not line:
            return
        number += 1
        text = line.removeprefix(BOM_UTF8) if number == 1 else line
        if extra or len(line) > MAX_ROW_BYTES:
            yield _build_too_long(origin, len(line) + extra)
        elif text.strip():
            parsed = parse_json(text, origin)
            yield parsed if isinstance(parsed, BrokenRow) else (parsed, origin)


def _skip_line(stream: io.BufferedReader) -> int:
    """Read to the end of a line and return how much that was."""
    size = 0
    while part := stream.readline(_BUFFER_BYTES):
        size += len(part)
        if part.endswith(b"\n"):
            break
    return size


def _read_array(stream: io.BufferedReader, shown: str) -> Iterator[tuple[Any, str] | BrokenRow]:
    try:
        text = stream.read(MAX_ARRAY_BYTES + 1)
    except _DAMAGES as error:
        yield _build_damage(error, shown)
        return
    if len(text) > MAX_ARRAY_BYTES:
        most = MAX_ARRAY_BYTES >> 20
        yield build_broken(shown, f"a JSON array must have at most {most} MiB; make it JSONL")
        return
    rows = parse_json(text.removeprefix(BOM_UTF8), shown)
    if isinstance(rows, BrokenRow):
        yield rows
        return
    for number, raw in enumerate(rows, 1):
        yield raw, f"{shown}:row {number}"


def _read_parquet(path: Path, shown: str) -> Iterator[tuple[Any, str] | BrokenRow]:
    import pyarrow as pa  # noqa: PLC0415 - half a second that JSONL need not pay
    from pyarrow import parquet  # noqa: PLC0415

    number = 0
    try:
        with parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=_BATCH_ROWS):
                for raw in _read_batch(batch, shown, number):
                    number += 1
                    yield raw
    # A damaged page is an OSError.
    except (pa.ArrowException, OSError) as error:
        _check_damage(error)
        yield build_broken(shown, f"must be a Parquet file; after row {number}: {error}")


def _read_batch(batch: Any, shown: str, before: int) -> Iterator[tuple[Any, str] | BrokenRow]:
    origins = [f"{shown}:row {before + place + 1}" for place in range(batch.num_rows)]
    if batch.nbytes <= MAX_ROW_BYTES:
        try:
            rows = batch.to_pylist()
        except _NO_VALUES:
            # Which row it was, only reading them one by one tells.
            pass
        else:
            yield from zip(rows, origins, strict=True)
            return
    for place, origin in enumerate(origins):
        yield _read_slice(batch.slice(place, 1), origin)


def _read_slice(row: Any, origin: str) -> tuple[Any, str] | BrokenRow:
    if row.nbytes > MAX_ROW_BYTES:
        return _build_too_long(origin, row.nbytes)
    try:
        return row.to_pylist()[0], origin
    except _NO_VALUES as error:
        return build_broken(origin, f"must hold values that a row can have: {error}")


def _check_damage(error: Exception) -> None:
    """Let this machine's own errors, which have a number, go on: a row is not to blame."""
    if getattr(error, "errno", None) is not None:
        raise error


def _build_damage(error: Exception, origin: str) -> BrokenRow:
    _check_damage(error)
    return build_broken(origin, f"the file is damaged from here on: {error}")


def _build_too_long(origin: str, size: int) -> BrokenRow:
    return build_broken(origin, f"must have at most {MAX_ROW_BYTES >> 20} MiB, got {size} bytes")
