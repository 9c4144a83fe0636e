"""`python -m tunebench_jobs.tracking.mlflow_process`: log one run to MLflow.

A process of its own, because MLflow keeps its settings in the process and waits long for a server
that is away. It reads an order from standard input and prints what it did, or what was wrong.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict

from tunebench_jobs.tracking.entry import DIGEST_TAG, TrackedRun

_FINISHED = "FINISHED"
# MLflow takes no more at once.
MAX_METRICS = 1000
_MAX_PARAMS = 100


class Order(BaseModel):
    """Where to log what."""

    model_config = ConfigDict(frozen=True)

    uri: str
    experiment: str
    run: TrackedRun


class Logged(BaseModel):
    """Where a run was logged, or why it was not."""

    model_config = ConfigDict(frozen=True)

    run_id: str = ""
    problem: str = ""


def main() -> int:
    """Carry out the order on standard input."""
    order = Order.model_validate_json(sys.stdin.read())
    try:
        logged = Logged(run_id=log_run(order))
    except ImportError as error:
        logged = Logged(problem=f"the package `mlflow-skinny` must be installed: {error}")
    except Exception as error:  # noqa: BLE001 - whatever MLflow and its transports raise
        logged = Logged(problem=f"{type(error).__name__}: {error}"[:2000])
    sys.stdout.write(logged.model_dump_json() + "\n")
    return 0


def log_run(order: Order) -> str:
    """Log a run and return its id; one with the same results is completed, not doubled."""
    # Only here, because it takes seconds to import and need not be installed.
    from mlflow import MlflowClient  # noqa: PLC0415

    client = MlflowClient(tracking_uri=order.uri)
    tags = {DIGEST_TAG: order.run.digest}
    run_id = find_run(client, order.experiment, order.run.name, DIGEST_TAG, tags)
    _log_values(client, run_id, order.run)
    for path in order.run.artifacts:
        client.log_artifact(run_id, path)
    client.set_terminated(run_id, status=_FINISHED)
    return run_id


def find_run(client: Any, experiment: str, name: str, key: str, tags: Mapping[str, str]) -> str:
    """Return the id of the run that has the tag `key`, or of a new one with all tags."""
    known = client.get_experiment_by_name(experiment)
    place = known.experiment_id if known else client.create_experiment(experiment)
    found = client.search_runs([place], filter_string=f"tags.`{key}` = '{tags[key]}'")
    if found:
        return str(found[0].info.run_id)
    run = client.create_run(place, run_name=name, tags=dict(tags))
    return str(run.info.run_id)


def _log_values(client: Any, run_id: str, run: TrackedRun) -> None:
    from mlflow.entities import Metric, Param  # noqa: PLC0415 - as above

    there = client.get_run(run_id).data
    params = [Param(key, text) for key, text in run.params.items() if key not in there.params]
    metrics = [
        # Without a time: the results have none, and a second logging must be the same.
        Metric(key, value, timestamp=0, step=0)
        for key, value in run.metrics.items()
        if there.metrics.get(key) != value
    ]
    for start in range(0, len(params), _MAX_PARAMS):
        client.log_batch(run_id, params=params[start : start + _MAX_PARAMS])
    for start in range(0, len(metrics), MAX_METRICS):
        client.log_batch(run_id, metrics=metrics[start : start + MAX_METRICS])


if __name__ == "__main__":
    sys.exit(main())
