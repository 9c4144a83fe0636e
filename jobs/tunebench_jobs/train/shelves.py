"""Where resume points lie: in a folder that all workers see, or in a bucket.

A resume point is a folder `step-<number>-<training group>` with the shards of the workers, and
beside each one its note, which is written last and holds the shard's SHA-256.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

from tunebench_jobs.checkpoints import CheckpointFile
from tunebench_jobs.errors import RetryableError
from tunebench_jobs.files import build_file_digest, save_bytes
from tunebench_jobs.storage.bucket import DAMAGED_REASON
from tunebench_jobs.storage.mirror import Mirror
from tunebench_jobs.train.layout import WORK_FOLDER
from tunebench_jobs.train.shards import Shard, save_shard

_PREFIX = "step-"


class Shelf(Protocol):
    """The resume points of one training; `point` is the name of one of them."""

    def list_files(self) -> dict[str, set[str]]:
        """Return the names of the files of each point."""

    def read_note(self, point: str, name: str) -> bytes | None:
        """Return a note, or nothing where there is none."""

    def fetch(self, point: str, name: str, facts: CheckpointFile) -> Path | None:
        """Return a shard as a file of this machine; nothing where it is not what its note says."""

    def put_shard(self, point: str, name: str, shard: Shard) -> CheckpointFile:
        """Write a shard; it is there for good when this returns."""

    def put_note(self, point: str, name: str, content: bytes) -> None:
        """Write a note, which others see whole or not at all."""

    def remove(self, point: str) -> None:
        """Remove a point."""

    def release(self) -> None:
        """Forget what was fetched."""


class FolderShelf:
    """A folder of the store that all workers see."""

    def __init__(self, folder: Path) -> None:
        """Know where the points lie."""
        self._folder = folder

    def list_files(self) -> dict[str, set[str]]:
        """Look into the folder."""
        return _group(
            path.relative_to(self._folder).as_posix() for path in self._folder.glob(f"{_PREFIX}*/*")
        )

    def read_note(self, point: str, name: str) -> bytes | None:
        """Read a file."""
        path = self._folder / point / name
        return path.read_bytes() if path.is_file() else None

    def fetch(self, point: str, name: str, facts: CheckpointFile) -> Path | None:
        """Check the file where it lies."""
        path = self._folder / point / name
        return path if _is_same(path, facts) else None

    def put_shard(self, point: str, name: str, shard: Shard) -> CheckpointFile:
        """Write a file."""
        path = self._folder / point / name
        path.parent.mkdir(parents=True, exist_ok=True)
        save_shard(shard, path)
        return _build_facts(path)

    def put_note(self, point: str, name: str, content: bytes) -> None:
        """Write a file, and make its name and the shard's last."""
        path = self._folder / point / name
        save_bytes(path, content)
        for folder in (path.parent, self._folder):
            _sync_folder(folder)

    def remove(self, point: str) -> None:
        """Remove the folder."""
        shutil.rmtree(self._folder / point, ignore_errors=True)

    def release(self) -> None:
        """Do nothing: files are used where they lie."""


class BucketShelf:
    """A folder of a bucket; workers may be on machines that share nothing else."""

    def __init__(self, mirror: Mirror, output: str, rank: int) -> None:
        """Know where the points lie, and where this worker's copies do."""
        self._bucket = mirror.bucket
        self._there = f"{output}/{WORK_FOLDER}"
        self._here = mirror.folder / output / WORK_FOLDER / f"worker-{rank}"

    def list_files(self) -> dict[str, set[str]]:
        """Ask the bucket."""
        keys = self._bucket.list(self._there)
        return _group(key for key in keys if key.startswith(_PREFIX))

    def read_note(self, point: str, name: str) -> bytes | None:
        """Read an object."""
        return self._bucket.get(self._build_key(point, name))

    def fetch(self, point: str, name: str, facts: CheckpointFile) -> Path | None:
        """Bring an object here."""
        path = self._here / point / name
        try:
            found = self._bucket.download(self._build_key(point, name), path)
        except RetryableError as error:
            if error.reason != DAMAGED_REASON:
                raise
            return None
        return path if found and _is_same(path, facts) else None

    def put_shard(self, point: str, name: str, shard: Shard) -> CheckpointFile:
        """Write a file here, and send it."""
        path = self._here / point / name
        path.parent.mkdir(parents=True, exist_ok=True)
        save_shard(shard, path)
        facts = _build_facts(path)
        key = self._build_key(point, name)
        self._bucket.upload(path, key)
        there = self._bucket.look(key)
        if there is None or there.size != facts.bytes:
            msg = f"`{self._bucket.uri}/{key}` did not arrive whole"
            raise RetryableError(msg, reason="StoreUnavailable")
        shutil.rmtree(path.parent, ignore_errors=True)
        return facts

    def put_note(self, point: str, name: str, content: bytes) -> None:
        """Write an object."""
        self._bucket.put(self._build_key(point, name), content)

    def remove(self, point: str) -> None:
        """Remove the objects."""
        self._bucket.remove_folder(f"{self._there}/{point}")

    def release(self) -> None:
        """Remove the copies."""
        shutil.rmtree(self._here, ignore_errors=True)

    def _build_key(self, point: str, name: str) -> str:
        return f"{self._there}/{point}/{name}"


def _group(names: Iterable[str]) -> dict[str, set[str]]:
    points: dict[str, set[str]] = {}
    for name in names:
        point, _, file = name.partition("/")
        points.setdefault(point, set()).add(file)
    return points


def _build_facts(path: Path) -> CheckpointFile:
    return CheckpointFile(sha256=build_file_digest(path), bytes=path.stat().st_size)


def _is_same(path: Path, facts: CheckpointFile) -> bool:
    return (
        path.is_file()
        and path.stat().st_size == facts.bytes
        and build_file_digest(path) == facts.sha256
    )


def _sync_folder(folder: Path) -> None:
    """Make new names in a folder survive the machine."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
