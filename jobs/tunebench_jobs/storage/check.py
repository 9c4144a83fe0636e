"""Whether a store in a bucket can be used, found out before anything is computed."""

from __future__ import annotations

import secrets

from tunebench_jobs.errors import InputError
from tunebench_jobs.storage.bucket import Bucket

_PROBE_FOLDER = "preflight/.probes"


def check_bucket(bucket: Bucket) -> None:
    """Write, list, read and remove a small object.

    Raises:
        InputError: The bucket does not exist, the key may not do that, or what is read differs.
        RetryableError: The server does not answer, or is full.
    """
    name, content = secrets.token_hex(8), secrets.token_bytes(16)
    key = f"{_PROBE_FOLDER}/{name}"
    bucket.put(key, content)
    listed = bucket.list(_PROBE_FOLDER)
    found = bucket.get(key)
    bucket.remove(key)
    if found != content or listed.get(name) != len(content):
        msg = (
            f"`{bucket.field}`: `{bucket.uri}` must give back what was just written to it; use a "
            "server whose reads and lists are consistent"
        )
        raise InputError(msg, reason="StoreInconsistent")
