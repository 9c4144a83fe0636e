"""Read pull requests from a file on this machine, strictly."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tunebench_jobs.data.opened import BrokenRow, Row
from tunebench_jobs.data.read_file import check_data_name, read_rows
from tunebench_jobs.errors import InputError


def load_rows(path: Path, field: str) -> Iterator[Row]:
    """Yield the pull requests of a file, in its order; the first broken row ends it.

    Raises:
        InputError: The file is absent or of another kind, or a row is broken.
    """
    if not path.is_file():
        msg = f"`{field}` must be an existing file, got `{path}`"
        raise InputError(msg, reason="FileNotFound")
    check_data_name(path.name, field)
    for row in read_rows(path, str(path)):
        if isinstance(row, BrokenRow):
            raise row.build_error()
        yield row
