"""Weights & Biases: a run for each training, online or as a file for `wandb sync`."""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import wandb

from tunebench_jobs.tracking.training.points import Point, Start

# Of a run's id.
_MAX_ID = 128
_INIT_SECONDS = 60.0


class WandbTracker:
    """One run at W&B."""

    def __init__(self, start: Start) -> None:
        """Go on with the run of an earlier attempt, or begin one.

        Offline there is no going on: the file is written anew, and the points come again.
        """
        folder = Path(start.folder)
        shutil.rmtree(folder, ignore_errors=True)
        folder.parent.mkdir(parents=True, exist_ok=True)
        self._scratch = None if start.offline else folder
        self._run: Any = wandb.init(
            project=start.project,
            entity=start.entity,
            id=build_id(start),
            name=f"{start.run}/{start.model}",
            group=start.run,
            config=start.settings,
            # Which makes the folder `wandb` itself.
            dir=str(folder.parent),
            mode="offline" if start.offline else "online",
            resume=None if start.offline else "allow",
            settings=_build_settings(),
        )
        # Steps that it has are left out; W&B's own step is the next one.
        self._next = 0 if start.offline else int(self._run.step)
        self.where = folder.name if start.offline else str(self._run.url)

    def log(self, points: Sequence[Point]) -> None:
        """Hand over the metrics of the steps that are not there, in order."""
        for point in points:
            if point.step >= self._next:
                self._run.log(point.metrics, step=point.step)
                self._next = point.step + 1

    def close(self, *, succeeded: bool) -> None:
        """Wait until all is sent or written."""
        self._run.finish(exit_code=0 if succeeded else 1)
        if self._scratch is not None:
            shutil.rmtree(self._scratch, ignore_errors=True)


def build_id(start: Start) -> str:
    """Return the id by which W&B knows the run again: of letters, digits and `-`."""
    text = f"{start.run}-{start.model}-{start.digest}"
    return re.sub(r"[^A-Za-z0-9-]+", "-", text)[-_MAX_ID:].strip("-")


def _build_settings() -> Any:
    """Return settings by which nothing of this machine leaves it but the metrics."""
    return wandb.Settings(
        console="off",
        disable_code=True,
        disable_git=True,
        disable_job_creation=True,
        host="",
        init_timeout=_INIT_SECONDS,
        save_code=False,
        x_disable_machine_info=True,
        x_disable_meta=True,
        x_disable_stats=True,
    )
