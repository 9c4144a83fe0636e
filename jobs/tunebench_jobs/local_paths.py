"""Where the file or folder that a URI names lies on this machine."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import unquote, urlsplit

from tunebench_api.places import (
    SAMPLE_SCHEME,
    SAMPLES_FOLDER,
    is_remote,
    resolve_place,
    resolve_sample,
)
from tunebench_jobs.errors import InputError
from tunebench_jobs.storage.sources import fetch_source

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


def _samples_dir() -> Path:
    """Return the folder of the files that ship with tunebench; an image names its own."""
    named = os.environ.get("TUNEBENCH_SAMPLES_DIR")
    return Path(named) if named else Path(__file__).resolve().parents[2] / SAMPLES_FOLDER
