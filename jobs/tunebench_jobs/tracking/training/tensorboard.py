"""TensorBoard: event files, written anew by each attempt so that no step is there twice."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

from tensorboardX import SummaryWriter

from tunebench_jobs.tracking.training.points import Point, Start


class TensorBoardTracker:
    """One folder of event files, a run to TensorBoard."""

    def __init__(self, start: Start) -> None:
        """Begin a new file; the points of earlier attempts come again."""
        folder = Path(start.folder) / start.model
        shutil.rmtree(start.folder, ignore_errors=True)
        # Relative to what it lies beside: the store may be anywhere.
        self.where = f"{folder.parent.name}/{folder.name}"
        self._writer = SummaryWriter(logdir=str(folder))
        settings = json.dumps({**start.settings, "run": start.run}, indent=1)
        # Four blanks make it code to TensorBoard's Markdown.
        text = "".join(f"    {line}\n" for line in settings.splitlines())
        self._writer.add_text("settings", text)

    def log(self, points: Sequence[Point]) -> None:
        """Write scalars."""
        for point in points:
            for name, value in point.metrics.items():
                self._writer.add_scalar(name, value, point.step, walltime=point.time)
        self._writer.flush()

    def close(self, *, succeeded: bool) -> None:
        """Close the file."""
        del succeeded
        self._writer.close()
