"""MLflow: a run of the experiment for each training, found again by the training's digest."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Metric, Param

from tunebench_jobs.tracking.mlflow_process import MAX_METRICS, find_run
from tunebench_jobs.tracking.training.points import LOSS, Point, Start

TRAINING_TAG = "tunebench.training"
_RUN_TAG = "tunebench.run"


class MlflowTracker:
    """One run at MLflow."""

    def __init__(self, start: Start) -> None:
        """Find the run of an earlier attempt, or make one, and see which steps it has."""
        self._client: Any = MlflowClient(tracking_uri=start.uri)
        tags = {TRAINING_TAG: start.digest, _RUN_TAG: start.run}
        name = f"{start.run}/{start.model}"
        self._run = find_run(self._client, start.project, name, TRAINING_TAG, tags)
        self.where = f"experiment {start.project}, run {self._run}"
        self._client.update_run(self._run, status="RUNNING")
        there = self._client.get_run(self._run).data.params
        params = [Param(key, text) for key, text in start.settings.items() if key not in there]
        self._client.log_batch(self._run, params=params)
        history = self._client.get_metric_history(self._run, LOSS)
        self._there = {each.step for each in history}

    def log(self, points: Sequence[Point]) -> None:
        """Send the metrics of the steps that are not there, in order."""
        new = [point for point in points if point.step not in self._there]
        at_once = MAX_METRICS // max((len(point.metrics) for point in new), default=1)
        for at in range(0, len(new), at_once):
            some = new[at : at + at_once]
            metrics = [
                Metric(name, value, timestamp=int(point.time * 1000), step=point.step)
                for point in some
                for name, value in point.metrics.items()
            ]
            self._client.log_batch(self._run, metrics=metrics)
            self._there |= {point.step for point in some}

    def close(self, *, succeeded: bool) -> None:
        """End the run; a later attempt opens it again."""
        status = "FINISHED" if succeeded else "FAILED"
        self._client.set_terminated(self._run, status=status)
