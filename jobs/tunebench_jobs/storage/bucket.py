"""One folder of a bucket, through Arrow's file systems: the only module that talks to them."""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tunebench_api.places import is_remote
from tunebench_jobs.errors import InputError, JobError, RetryableError
from tunebench_jobs.files import disk_errors

STORE_FIELD = "spec.storage.uri"
DAMAGED_REASON = "ObjectDamaged"

_CHUNK_BYTES = 8 << 20
_CONNECT_SECONDS = 10
_REQUEST_SECONDS = 60
_ATTEMPTS = 4
_DENIED = re.compile(
    r"ACCESS_DENIED|INVALID_ACCESS_KEY_ID|SIGNATURE_DOES_NOT_MATCH|INVALID_CLIENT_TOKEN_ID"
    r"|MISSING_AUTHENTICATION_TOKEN|UNRECOGNIZED_CLIENT|InvalidAccessKeyId|ExpiredToken"
    r"|AdminUserNotFound|Forbidden|HTTP status 40[13]"
)
_FULL = re.compile(r"insufficient|quota|no space|HTTP status 507", re.IGNORECASE)
# What servers that keep checksums say of an object that rotted; others leave that to our digests.
_DAMAGED = re.compile(r"checksums? mismatch", re.IGNORECASE)
_NO_BUCKET = re.compile(r"NO_SUCH_BUCKET|NoSuchBucket|Bucket '[^']*' not found")


@dataclass(frozen=True)
class ObjectFacts:
    """What a bucket says of an object without sending it."""

    size: int
    # Changes with the content; some servers have none.
    etag: str


class Bucket:
    """A folder of a bucket; keys are relative to it."""

    def __init__(self, uri: str, field: str = STORE_FIELD) -> None:
        """Connect; `field` is the place of the URI in the run, for messages.

        Raises:
            JobError: The bucket cannot be found.
        """
        self.uri = uri.rstrip("/")
        self.field = field
        place = urlsplit(self.uri)
        self.name = place.netloc
        self.root = f"{place.netloc}{place.path}".rstrip("/")
        with self.errors():
            self.files = build_filesystem(self.name, os.environ)

    def get(self, key: str) -> bytes | None:
        """Return the content of an object, or nothing where there is none."""
        with self.errors():
            try:
                with self.files.open_input_file(self._path(key)) as file:
                    return bytes(file.read())
            except FileNotFoundError:
                return None

    def put(self, key: str, content: bytes) -> None:
        """Write an object; readers see the old one or the new one."""
        # Not with `with`, which would complete an object that an error cut short.
        with self.errors():
            stream = self.files.open_output_stream(self._path(key))
            stream.write(content)
            stream.close()

    def look(self, key: str) -> ObjectFacts | None:
        """Return the facts of an object, or nothing where there is none."""
        with self.errors():
            try:
                with self.files.open_input_file(self._path(key)) as file:
                    etag = file.metadata().get(b"ETag") or file.metadata().get("ETag") or b""
                    return ObjectFacts(file.size(), _decode(etag))
            except FileNotFoundError:
                return None

    def list(self, folder: str = "") -> dict[str, int]:
        """Return the sizes of all objects below a folder, by key relative to it."""
        from pyarrow import fs  # noqa: PLC0415 - half a second that local stores need not pay

        base = self._path(folder)
        selector = fs.FileSelector(base, allow_not_found=True, recursive=True)
        with self.errors():
            found = self.files.get_file_info(selector)
        return {
            facts.path.removeprefix(f"{base}/"): facts.size
            for facts in found
            if facts.type == fs.FileType.File
        }

    def download(self, key: str, path: Path) -> bool:
        """Bring an object to a file, which is whole or untouched; False: there is none."""
        with disk_errors(path.parent):
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
            try:
                with (
                    self.errors(),
                    self.files.open_input_file(self._path(key)) as source,
                    temporary.open("xb") as target,
                ):
                    while chunk := source.read(_CHUNK_BYTES):
                        target.write(chunk)
                temporary.replace(path)
            except FileNotFoundError:
                return False
            finally:
                temporary.unlink(missing_ok=True)
        return True

    def read(self, key: str) -> Iterator[bytes]:
        """Yield an object that is there, in pieces."""
        with self.errors(), self.files.open_input_file(self._path(key)) as source:
            while chunk := source.read(_CHUNK_BYTES):
                yield chunk

    def upload(self, path: Path, key: str) -> None:
        """Send a file.

        Arrow's `copy_files` would say nothing of a server that went away.
        """
        with path.open("rb") as source, self.errors():
            stream = self.files.open_output_stream(self._path(key))
            while chunk := source.read(_CHUNK_BYTES):
                stream.write(chunk)
            stream.close()

    def remove(self, key: str) -> None:
        """Remove an object, if it is there."""
        with self.errors():
            try:
                self.files.delete_file(self._path(key))
            except FileNotFoundError:
                return

    def remove_folder(self, folder: str) -> None:
        """Remove all objects below a folder."""
        with self.errors():
            try:
                self._remove_folder(self._path(folder))
            except FileNotFoundError:
                return

    def _remove_folder(self, path: str) -> None:
        try:
            self.files.delete_dir(path)
        except FileNotFoundError:
            raise
        except OSError:
            # Arrow names objects and their folders in one request. A server that keeps objects as
            # files may refuse to remove a folder before what lies in it, which has gone then.
            self.files.delete_dir(path)

    def _path(self, key: str) -> str:
        return f"{self.root}/{key}" if key else self.root

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Turn what Arrow says into our errors; a file that is absent stays one."""
        try:
            yield
        except FileNotFoundError:
            raise
        except OSError as error:
            # This machine's own errors have a number.
            if error.errno is not None:
                raise
            raise build_bucket_error(self.uri, self.field, str(error)) from error


def build_bucket_error(uri: str, field: str, text: str) -> JobError:
    """Build the error for what a server said, or for its silence."""
    if _NO_BUCKET.search(text):
        msg = (
            f"`{field}` must name a bucket that exists, got `{uri}`; create the bucket, or mend "
            "the name or `spec.storage.endpoint` (AWS_ENDPOINT_URL)"
        )
        return InputError(msg, reason="StoreNotFound")
    if _DENIED.search(text):
        msg = (
            f"`{field}`: `{uri}` is denied to this key; check `spec.storage.secretRef` "
            "(AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY) and the bucket's policy, which must "
            f"let it read, write, list and delete: {text}"
        )
        return InputError(msg, reason="StoreDenied")
    if _FULL.search(text):
        msg = f"the store at `{uri}` is full; free space and start again, finished work is kept"
        return RetryableError(msg, reason="StoreFull")
    if _DAMAGED.search(text):
        msg = f"an object of `{uri}` is not what was written: {text}"
        return RetryableError(msg, reason=DAMAGED_REASON)
    msg = (
        f"`{field}`: `{uri}` does not answer as it should; check `spec.storage.endpoint` "
        f"(AWS_ENDPOINT_URL), the network and the server, then start again: {text}"
    )
    return RetryableError(msg, reason="StoreUnavailable")


def build_filesystem(bucket: str, environment: Mapping[str, str], *, at_once: bool = False) -> Any:
    """Return Arrow's file system for a bucket; keys come from the environment, as for AWS' tools.

    Args:
        bucket: Its name.
        environment: Address, region and certificates.
        at_once: Begin to write when a file is opened. Arrow's own copying loses errors that come
            when a file is closed.

    Raises:
        OSError: No such bucket, or no answer, where the region has to be asked for.
    """
    from pyarrow import fs  # noqa: PLC0415 - half a second that local stores need not pay

    endpoint = environment.get("AWS_ENDPOINT_URL_S3") or environment.get("AWS_ENDPOINT_URL") or ""
    region = environment.get("AWS_REGION") or environment.get("AWS_DEFAULT_REGION")
    if not region:
        region = "us-east-1" if endpoint else fs.resolve_s3_region(bucket)
    place = urlsplit(endpoint)
    return fs.S3FileSystem(
        region=region,
        endpoint_override=place.netloc or None,
        scheme=place.scheme or "https",
        tls_ca_file_path=environment.get("AWS_CA_BUNDLE"),
        connect_timeout=_CONNECT_SECONDS,
        request_timeout=_REQUEST_SECONDS,
        retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=_ATTEMPTS),
        # One request for a small object instead of three.
        allow_delayed_open=not at_once,
        background_writes=False,
    )


def open_bucket(uri: str) -> Bucket | None:
    """Return the bucket of a store; none where the store is a folder of this machine."""
    return Bucket(uri) if is_remote(uri) else None


def _decode(text: bytes | str) -> str:
    return text.decode() if isinstance(text, bytes) else text
