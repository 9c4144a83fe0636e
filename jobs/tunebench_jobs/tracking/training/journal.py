"""The points that a tracker's process was given, in a file that outlives it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from pydantic import ValidationError

from tunebench_jobs.files import save_text
from tunebench_jobs.tracking.training.points import Point


def load_points(path: Path) -> list[Point]:
    """Return the points of a journal; a last line that was cut off is none."""
    if not path.is_file():
        return []
    points = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            points.append(Point.model_validate_json(line))
        except ValidationError:
            continue
    return points


def save_points(path: Path, points: Iterable[Point]) -> None:
    """Begin a journal with some points."""
    save_text(path, "".join(f"{point.model_dump_json()}\n" for point in points))


def append_points(path: Path, points: Iterable[Point]) -> None:
    """Add points, which are on their way to the disk when this returns."""
    with path.open("a", encoding="utf-8") as file:
        file.writelines(f"{point.model_dump_json()}\n" for point in points)
