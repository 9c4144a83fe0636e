"""Brings a model from a store in a bucket to the machine of the replica that serves it."""

from __future__ import annotations

from tunebench_api.contract import Progress, ServeConfig, parse_stage_document
from tunebench_jobs.context import StageContext, timestamp
from tunebench_jobs.errors import JobError
from tunebench_jobs.files import disk_errors
from tunebench_jobs.serve.deployment import Model
from tunebench_jobs.serve.stage import build_model
from tunebench_jobs.stage import build_failure


def fetch_model(document: str) -> Model:
    """Fetch and check what a replica is to load.

    Raises:
        JobError: It cannot be served; it has been reported.
    """
    stage = parse_stage_document(document)
    assert isinstance(stage.config, ServeConfig)  # noqa: S101 - the application checked it
    context, started = StageContext(stage.runtime), timestamp()
    context.report(Progress(message="fetching the model"))
    try:
        with disk_errors(context.store):
            model = build_model(stage.config, context)
    except JobError as error:
        context.finish(build_failure(error, started=started))
        raise
    context.report(Progress(message="loading the model"))
    return model
