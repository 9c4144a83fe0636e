"""Files at URLs, through fsspec: listed, and copied to this machine one after another."""

from __future__ import annotations

import posixpath
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tunebench_api.places import find_scheme, split_pattern
from tunebench_jobs.data.names import escape_controls
from tunebench_jobs.data.read_file import split_suffix
from tunebench_jobs.errors import InputError, JobError, RetryableError
from tunebench_jobs.files import disk_errors

_CHUNK_BYTES = 1 << 20
_CONNECT_SECONDS = 30
_SILENCE_SECONDS = 120


@dataclass(frozen=True)
class UrlFile:
    """A file that fsspec reads; `shown` has neither password nor signature."""

    field: str
    shown: str
    name: str
    path: str
    files: Any

    @contextmanager
    def open(self) -> Iterator[Path]:
        """Yield the path of a copy, which goes when it has been read.

        Raises:
            InputError: It is absent or denied.
            RetryableError: The server does not answer.
        """
        # Stream without asking for ranges, which not every web server has.
        options = {"block_size": 0} if _is_web(self.shown) else {}
        with tempfile.TemporaryDirectory(prefix="tunebench-") as folder:
            # Not by its own name, which a stranger chose.
            copy = Path(folder, f"rows{''.join(split_suffix(self.name))}")
            with (
                _errors(self.shown, self.field),
                disk_errors(copy.parent),
                self.files.open(self.path, "rb", **options) as source,
                copy.open("xb") as target,
            ):
                while chunk := source.read(_CHUNK_BYTES):
                    target.write(chunk)
            yield copy


def list_url_files(uri: str, field: str) -> list[UrlFile]:
    """Return the files that a URL names: itself, those of a folder or those of a pattern.

    Raises:
        InputError: The package for such URLs is missing, or there is no such file.
        RetryableError: The server does not answer.
    """
    shown = redact_uri(uri)
    files, path = _open_filesystem(uri, shown, field)
    # `?` begins the query there, and a server lists no folder.
    if _is_web(uri):
        return [UrlFile(field, shown, posixpath.basename(urlsplit(uri).path), path, files)]
    with _errors(shown, field):
        folder, pattern = split_pattern(path)
        if not pattern and not files.isdir(path):
            if not files.exists(path):
                raise FileNotFoundError(path)
            return [UrlFile(field, shown, posixpath.basename(path), path, files)]
        found = files.glob(path) if pattern else files.find(path)
    root = split_pattern(shown)[0].rstrip("/")
    base = f"{folder.rstrip('/')}/"
    names = {each: each.removeprefix(base) for each in found}
    return [UrlFile(field, f"{root}/{name}", name, each, files) for each, name in names.items()]


def read_url(uri: str, field: str, limit: int) -> bytes:
    """Return the content of a small file.

    Raises:
        InputError: It is absent, denied or larger than `limit` bytes.
        RetryableError: The server does not answer.
    """
    file = list_url_files(uri, field)[0]
    with file.open() as copy, copy.open("rb") as content:
        text = content.read(limit + 1)
    if len(text) > limit:
        msg = f"`{field}` must have at most {limit} bytes, got more at {file.shown}"
        raise InputError(msg, reason="InvalidSource")
    return text


def redact_uri(uri: str) -> str:
    """Return a URI without user name, password and query, which may hold a signature."""
    if not find_scheme(uri):
        return uri
    parts = urlsplit(uri)
    host = parts.netloc.rpartition("@")[2] if _is_web(uri) else parts.netloc
    query = "" if _is_web(uri) else parts.query
    return escape_controls(parts._replace(netloc=host, query=query, fragment="").geturl())


def _open_filesystem(uri: str, shown: str, field: str) -> tuple[Any, str]:
    import fsspec  # noqa: PLC0415 - few sources are URLs

    if "::" in uri:
        msg = f"`{field}` must be one URL and not a chain of them, got {shown}"
        raise InputError(msg, reason="InvalidSource")
    options = _build_web_options() if _is_web(uri) else {}
    try:
        files, path = fsspec.core.url_to_fs(uri, **options)
    except ImportError as error:
        msg = f"`{field}` needs another package to read {shown}: {error}"
        raise InputError(msg, reason="NotSupported") from error
    except (OSError, ValueError) as error:
        msg = f"`{field}` must be a URL that can be opened, got {shown}: {error}"
        raise InputError(msg, reason="InvalidSource") from error
    return files, path


def _build_web_options() -> dict[str, Any]:
    import aiohttp  # noqa: PLC0415 - few sources are URLs

    # Its own limit would end every download after five minutes.
    timeout = aiohttp.ClientTimeout(
        total=None, sock_connect=_CONNECT_SECONDS, sock_read=_SILENCE_SECONDS
    )
    return {"client_kwargs": {"timeout": timeout, "trust_env": True}}


def _is_web(uri: str) -> bool:
    return find_scheme(uri) in {"http", "https"}


@contextmanager
def _errors(shown: str, field: str) -> Iterator[None]:
    """Turn what libraries raise into our errors."""
    import aiohttp  # noqa: PLC0415 - few sources are URLs
    import httpx  # noqa: PLC0415 - likewise

    try:
        yield
    except FileNotFoundError as error:
        # fsspec says so of any page whose size it cannot learn.
        cause = error.__cause__
        if isinstance(cause, (aiohttp.ClientError, TimeoutError)) and not _is_absent(cause):
            raise build_transfer_error(cause, shown, field) from error
        msg = f"`{field}` must name a file that exists, got {shown}"
        raise InputError(msg, reason="FileNotFound") from error
    except (OSError, aiohttp.ClientError, httpx.HTTPError, TimeoutError) as error:
        raise build_transfer_error(error, shown, field) from error


def _is_absent(error: BaseException) -> bool:
    return getattr(error, "status", None) in {HTTPStatus.NOT_FOUND, HTTPStatus.GONE}


def build_transfer_error(error: Exception, shown: str, field: str) -> JobError:
    """Build the error for what a server said, or for its silence."""
    status = getattr(error, "status", None)
    if status is None:
        status = getattr(getattr(error, "response", None), "status_code", None)
    said = f"HTTP status {status}" if status else f"{type(error).__name__} {error}".strip()
    said = escape_controls(said.replace("\n", " "))[:300]
    refused = status is not None and status < HTTPStatus.INTERNAL_SERVER_ERROR
    refused = refused and status != HTTPStatus.TOO_MANY_REQUESTS
    if refused or isinstance(error, PermissionError):
        msg = f"`{field}`: {shown} is refused; check the address and your access to it: {said}"
        return InputError(msg, reason="SourceDenied")
    msg = f"`{field}`: {shown} does not answer as it should; start again: {said}"
    return RetryableError(msg, reason="SourceUnavailable")
