"""What trackers leave beside a checkpoint."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path, PurePosixPath

TENSORBOARD_FOLDER = "tensorboard"
WANDB_FOLDER = "wandb"
# W&B has a link to the newest folder beside it.
_PATTERNS = (f"{TENSORBOARD_FOLDER}/*/*tfevents*", f"{WANDB_FOLDER}/offline-run-*/*.wandb")


def list_tracker_files(output: Path) -> list[str]:
    """Return the files that a train stage keeps, relative to its output folder."""
    found = [path for pattern in _PATTERNS for path in output.glob(pattern) if path.is_file()]
    return sorted(path.relative_to(output).as_posix() for path in found)


def choose_tracker_files(names: Iterable[str]) -> list[str]:
    """Return those of the names below an output folder that are such files."""
    return [name for name in names if any(PurePosixPath(name).match(each) for each in _PATTERNS)]
