"""Resume points in a bucket: Ray Train sends each worker's files, and the manifest comes last.

Workers may run on machines that share nothing, so each has a folder of its own for copies, and the
digests of all files meet in the first worker's manifest.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from pydantic import ValidationError

from tunebench_jobs.checkpoints import CheckpointFile
from tunebench_jobs.errors import RetryableError
from tunebench_jobs.files import build_file_digest
from tunebench_jobs.storage.bucket import DAMAGED_REASON
from tunebench_jobs.storage.mirror import Mirror, check_inside
from tunebench_jobs.train.engine import Engine
from tunebench_jobs.train.layout import WORK_FOLDER, Position
from tunebench_jobs.train.place import Place
from tunebench_jobs.train.resume import KEPT, STATE_FILE, ResumePoint, build_files

Send = Callable[[Position, Path], None]


class BucketPoints:
    """The resume points of one training."""

    def __init__(self, mirror: Mirror, output: str, place: Place) -> None:
        """Know where they lie, there and here."""
        self._bucket = mirror.bucket
        self._there = f"{output}/{WORK_FOLDER}"
        self._here = mirror.folder / output / WORK_FOLDER / f"worker-{place.rank}"
        self._place = place

    def find(self, identity: str) -> tuple[Path, Position] | None:
        """Fetch the newest complete resume point of the same training."""
        found = self._bucket.list(self._there)
        names = (key.split("/")[0] for key in found if key.endswith(f"/{STATE_FILE}"))
        for name in sorted(names, reverse=True):
            point = self._load(name)
            if point and point.identity == identity and self._fetch_whole(name, point):
                return self._here / name, point.position
        return None

    def save(self, engine: Engine, position: Position, identity: str, send: Send) -> None:
        """Write a resume point with all workers; `send` has Ray Train bring it to the bucket."""
        folder = self._here / f"step-{position.step:08d}"
        shutil.rmtree(self._here, ignore_errors=True)
        folder.mkdir(parents=True)
        self._place.meet()
        engine.save(folder)
        files: dict[str, CheckpointFile] = {}
        for mine in self._place.gather(build_files(folder)):
            files |= mine
        send(position, folder)
        # A report of one worker does not wait for what another one sends.
        self._place.meet()
        if self._place.rank == 0:
            self._complete(
                folder.name, ResumePoint(identity=identity, position=position, files=files)
            )

    def _complete(self, name: str, point: ResumePoint) -> None:
        there = self._bucket.list(self._there)
        for file, facts in point.files.items():
            if there.get(f"{name}/{file}") != facts.bytes:
                msg = f"`{self._bucket.uri}/{self._there}/{name}/{file}` did not arrive whole"
                raise RetryableError(msg, reason="StoreUnavailable")
        content = point.model_dump_json(indent=1).encode()
        self._bucket.put(f"{self._there}/{name}/{STATE_FILE}", content)
        steps = sorted({key.split("/")[0] for key in there if key.startswith("step-")})
        for old in steps[:-KEPT]:
            self._bucket.remove_folder(f"{self._there}/{old}")

    def _load(self, name: str) -> ResumePoint | None:
        content = self._bucket.get(f"{self._there}/{name}/{STATE_FILE}")
        try:
            return ResumePoint.model_validate_json(content) if content else None
        except ValidationError:
            return None

    def _fetch_whole(self, name: str, point: ResumePoint) -> bool:
        try:
            return self._fetch(name, point)
        except RetryableError as error:
            if error.reason != DAMAGED_REASON:
                raise
            return False

    def _fetch(self, name: str, point: ResumePoint) -> bool:
        """Bring a resume point here; False: it is not what its manifest says."""
        for file, facts in point.files.items():
            check_inside(file, self._bucket.uri)
            path = self._here / name / file
            if path.is_file() and build_file_digest(path) == facts.sha256:
                continue
            if not self._bucket.download(f"{self._there}/{name}/{file}", path):
                return False
            if build_file_digest(path) != facts.sha256:
                return False
        return True
