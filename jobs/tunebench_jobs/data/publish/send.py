"""Bring a bundle to a folder or a bucket, file by file, the manifest last.

What has arrived stays when the sending is interrupted, and is not sent again. While another dataset
is replaced its manifest is gone, so nobody takes a mixture for a whole one.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path

from tunebench_jobs.data.layout import MANIFEST_FILE
from tunebench_jobs.data.publish.bundle import Bundle, BundleFile
from tunebench_jobs.errors import InputError, JobError
from tunebench_jobs.files import build_file_digest, disk_errors, replace_file
from tunebench_jobs.storage.bucket import DAMAGED_REASON, Bucket

Tell = Callable[[str], None]


def send_to_folder(bundle: Bundle, folder: Path, tell: Tell) -> int:
    """Copy a bundle, and return how many files had to be.

    Raises:
        InputError: The folder is the dataset's own, or something else is there.
        RetryableError: The disk is full.
    """
    sources = [file.source.parent for file in bundle.files if isinstance(file.source, Path)]
    if folder.exists() and any(folder.samefile(source) for source in sources):
        msg = f"`--to` must be another folder than the dataset's own, got `{folder}`"
        raise InputError(msg)
    if folder.exists() and not folder.is_dir():
        msg = f"`--to` must be a folder, got the file `{folder}`"
        raise InputError(msg)
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        waiting = [file for file in bundle.files if not _is_there(folder / file.name, file)]
        if bundle.manifest in waiting:
            (folder / MANIFEST_FILE).unlink(missing_ok=True)
        for file in waiting:
            tell(f"copying {file.name}")
            _copy(file, folder / file.name)
    return len(waiting)


def send_to_bucket(bundle: Bundle, uri: str, tell: Tell) -> int:
    """Upload a bundle, and return how many files had to be.

    Raises:
        JobError: The bucket is absent, denied, full or does not answer.
    """
    bucket = Bucket(uri, "--to")
    waiting = [file for file in bundle.files if not _is_sent(bucket, file)]
    if bundle.manifest in waiting:
        bucket.remove(MANIFEST_FILE)
    for file in waiting:
        tell(f"sending {file.name}")
        if isinstance(file.source, bytes):
            bucket.put(file.name, file.source)
        else:
            bucket.upload(file.source, file.name)
    return len(waiting)


def _is_there(path: Path, file: BundleFile) -> bool:
    is_alike = path.is_file() and path.stat().st_size == file.size
    return is_alike and build_file_digest(path) == file.sha256


def _is_sent(bucket: Bucket, file: BundleFile) -> bool:
    """Whether a bucket has a file already; read back, because no mark of a server is a SHA-256."""
    facts = bucket.look(file.name)
    if facts is None or facts.size != file.size:
        return False
    digest = hashlib.sha256()
    try:
        for chunk in bucket.read(file.name):
            digest.update(chunk)
    except JobError as error:
        if error.reason == DAMAGED_REASON:
            return False
        raise
    return digest.hexdigest() == file.sha256


def _copy(file: BundleFile, path: Path) -> None:
    with replace_file(path) as target:
        if isinstance(file.source, bytes):
            target.write(file.source)
            return
        with file.source.open("rb") as source:
            shutil.copyfileobj(source, target)
