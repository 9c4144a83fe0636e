"""Data, prompts and completions that a run names by `s3://`: fetched to this machine's cache."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable
from pathlib import Path, PurePosixPath

from tunebench_api.places import split_pattern
from tunebench_jobs.errors import InputError
from tunebench_jobs.files import save_text
from tunebench_jobs.storage.bucket import Bucket

_WHOLE_FILE = ".whole"


def cache_dir() -> Path:
    """Return this user's folder for copies of what lies elsewhere."""
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path.home() / ".cache") / "tunebench"


def fetch_source(uri: str, field: str) -> Path:
    """Return a local copy of the file or folder that a URI names; a changed one is fetched anew.

    Of a pattern such as `s3://bench/prs/2024-*.jsonl`, it is a folder with the files that match.

    Raises:
        InputError: There is none.
        RetryableError: The server does not answer.
    """
    place, pattern = split_pattern(uri)
    parent, _, name = place.rstrip("/").rpartition("/")
    if parent.endswith(":/") or not name:
        msg = f"`{field}` must name a file or a folder of a bucket, got {uri}"
        raise InputError(msg, reason="InvalidSource")
    bucket = Bucket(parent, field)
    facts = None if pattern else bucket.look(name)
    if facts is None or uri.endswith("/"):
        return _fetch_folder(bucket, name, field, pattern)
    folder = _find_place(f"{uri}|{facts.size}|{facts.etag}")
    path = folder / name
    # Without a mark of the content, only reading it tells whether it changed.
    if not facts.etag or not path.is_file():
        bucket.download(name, path)
    return path


def _fetch_folder(bucket: Bucket, name: str, field: str, pattern: str) -> Path:
    matches = build_matcher(pattern or "**", field)
    keys = sorted(filter(matches, bucket.list(name)))
    if not keys:
        place = "/".join(part for part in (bucket.uri, name, pattern) if part)
        msg = f"`{field}` must name a file or folder that exists, got {place}"
        raise InputError(msg, reason="FileNotFound")
    found = {key: bucket.look(f"{name}/{key}") for key in keys}
    marks = "\n".join(f"{key}|{facts.size}|{facts.etag}" for key, facts in found.items() if facts)
    folder = _find_place(f"{bucket.uri}/{name}|{marks}")
    if not (folder / _WHOLE_FILE).is_file() or not all(
        facts and facts.etag for facts in found.values()
    ):
        for key in found:
            if ".." not in PurePosixPath(key).parts:
                bucket.download(f"{name}/{key}", folder / name / key)
        save_text(folder / _WHOLE_FILE, "")
    return folder / name


def build_matcher(pattern: str, field: str) -> Callable[[str], object]:
    """Return what tells whether a path matches; `**` stands for folders in between.

    Raises:
        InputError: It is no pattern.
    """
    from fsspec.utils import glob_translate  # noqa: PLC0415 - few sources are patterns

    try:
        return re.compile(glob_translate(pattern)).match
    except (ValueError, re.error) as error:
        msg = f"`{field}` must be a pattern with `*`, `?`, `[...]` or `/**/`, got {pattern}"
        raise InputError(msg, reason="InvalidSource") from error


def _find_place(identity: str) -> Path:
    return cache_dir() / "sources" / hashlib.sha256(identity.encode()).hexdigest()[:24]
