"""Files that are either whole or absent."""

from __future__ import annotations

import errno
import hashlib
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from tunebench_jobs.errors import RetryableError

_CHUNK_BYTES = 1 << 20
# How libraries that are not written in Python say that a disk is full.
DISK_FULL_WORDS = os.strerror(errno.ENOSPC)


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn a full disk under `path` into an error that names it.

    Raises:
        RetryableError: No space or quota is left.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in {errno.ENOSPC, errno.EDQUOT}:
            raise
        raise build_store_full(path) from error


def build_store_full(path: Path) -> RetryableError:
    """Build the error for a store without space."""
    msg = f"the store at `{path}` is full; free space and start again, finished work is kept"
    return RetryableError(msg, reason="StoreFull")


def save_text(path: Path, text: str) -> None:
    """Write a file atomically: readers see the old one or the new one, never a part."""
    save_bytes(path, text.encode())


def save_bytes(path: Path, content: bytes) -> None:
    """Write a file atomically and durably."""
    with replace_file(path) as file:
        file.write(content)


def check_writable(path: Path) -> None:
    """Check that `replace_file` can make `path`, and leave nothing behind.

    Raises:
        OSError: It cannot; the error names `path`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _name_temporary(path)
    with _named_as(path, temporary):
        temporary.touch(exist_ok=False)
        temporary.unlink()


@contextmanager
def replace_file(path: Path) -> Iterator[IO[bytes]]:
    """Yield a file that takes the place of `path`, whole and durable, unless an error ends it."""
    with disk_errors(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = _name_temporary(path)
        try:
            with _named_as(path, temporary):
                with temporary.open("xb") as file:
                    yield file
                    file.flush()
                    os.fsync(file.fileno())
                temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


def _name_temporary(path: Path) -> Path:
    # Not `tempfile`, which makes files that nobody but their owner may read.
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}")


@contextmanager
def _named_as(path: Path, temporary: Path) -> Iterator[None]:
    """Let errors about `temporary` speak of the file that its user knows."""
    try:
        yield
    except OSError as error:
        if str(error.filename) == str(temporary):
            error.filename = str(path)
        raise


def build_file_digest(path: Path) -> str:
    """Return the SHA-256 of a file in hex."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()
