"""Read pull requests from a file on this machine, strictly; and find where a URI's file lies."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

from tunebench_api.places import (
    SAMPLE_SCHEME,
    SAMPLES_FOLDER,
    is_remote,
    resolve_place,
    resolve_sample,
)
from tunebench_jobs.data.opened import BrokenRow, Row
from tunebench_jobs.data.parse_row import parse_moment
from tunebench_jobs.data.read_file import check_data_name, read_rows
from tunebench_jobs.errors import InputError
from tunebench_jobs.storage.sources import fetch_source

__all__ = ["Row", "load_rows", "parse_local_path", "parse_moment"]

_LOCAL_SCHEMES = ("", "file", "local")


def parse_local_path(uri: str, field: str) -> Path:
    """Return the path that a URI names, here or by a copy; `field` is its place in the run.

    Raises:
        InputError: It lies elsewhere.
    """
    if is_remote(uri):
        return fetch_source(uri, field)
    try:
        if uri.startswith(SAMPLE_SCHEME):
            return Path(resolve_sample(uri, str(_samples_dir())))
        uri = resolve_place(uri)
    except ValueError as error:
        msg = f"`{field}` {error}"
        raise InputError(msg, reason="InvalidSource") from error
    parts = urlsplit(uri)
    # One letter before a colon is a drive, and a scheme needs its slashes.
    if "://" not in uri:
        return Path(uri)
    if parts.scheme not in _LOCAL_SCHEMES or parts.netloc not in {"", "localhost"}:
        msg = (
            f"`{field}` must be a path or a file:// URL: `{parts.scheme}://` is not supported yet; "
            "download the file first"
        )
        raise InputError(msg, reason="NotSupported")
    return Path(unquote(parts.path))


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


def _samples_dir() -> Path:
    """Return the folder of the files that ship with tunebench; an image names its own."""
    named = os.environ.get("TUNEBENCH_SAMPLES_DIR")
    return Path(named) if named else Path(__file__).resolve().parents[3] / SAMPLES_FOLDER
