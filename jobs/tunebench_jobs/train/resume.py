"""Resume points: what a killed run goes on from, complete or not used.

A resume point is a folder `step-<number>` with the engine's files and `state.json`, which is
written last and holds the SHA-256 of the others. All workers see the folder: it is in the store.
`bucket_points` has those of stores in a bucket.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

from pydantic import ValidationError

from tunebench_jobs.checkpoints import CheckpointFile
from tunebench_jobs.files import build_file_digest, save_text
from tunebench_jobs.records import Record
from tunebench_jobs.train.engine import Engine
from tunebench_jobs.train.layout import Position
from tunebench_jobs.train.place import Place

STATE_FILE = "state.json"
KEPT = 2


class ResumePoint(Record):
    """Contents of `state.json`."""

    # What was trained, on which data and over how many workers; another one starts from nothing.
    identity: str
    position: Position
    files: Mapping[str, CheckpointFile]


def find_resume_point(work: Path, identity: str) -> tuple[Path, Position] | None:
    """Return the newest complete resume point of the same training."""
    for folder in sorted(work.glob("step-*"), reverse=True):
        point = _load_point(folder)
        if point is not None and point.identity == identity:
            return folder, point.position
    return None


def save_resume_point(
    engine: Engine, position: Position, *, work: Path, identity: str, place: Place
) -> Path:
    """Write a resume point with all workers, and remove those that are no longer needed."""
    folder = work / f"step-{position.step:08d}"
    if place.rank == 0:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
    place.meet()
    engine.save(folder)
    place.meet()
    if place.rank == 0:
        point = ResumePoint(identity=identity, position=position, files=build_files(folder))
        save_text(folder / STATE_FILE, point.model_dump_json(indent=1))
        for old in sorted(work.glob("step-*"))[:-KEPT]:
            shutil.rmtree(old, ignore_errors=True)
    return folder


def build_files(folder: Path) -> dict[str, CheckpointFile]:
    """Return size and digest of every file below a folder."""
    return {
        path.relative_to(folder).as_posix(): CheckpointFile(
            sha256=build_file_digest(path), bytes=path.stat().st_size
        )
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def _load_point(folder: Path) -> ResumePoint | None:
    try:
        point = ResumePoint.model_validate_json((folder / STATE_FILE).read_bytes())
    except (FileNotFoundError, ValidationError):
        return None
    for name, file in point.files.items():
        path = folder / name
        if not path.is_file() or build_file_digest(path) != file.sha256:
            return None
    return point
