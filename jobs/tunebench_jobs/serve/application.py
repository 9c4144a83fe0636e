"""What a RayService runs: the application of one stage document."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tunebench_api.contract import Progress, ServeConfig, StageDocument, parse_stage_document
from tunebench_jobs.context import StageContext, timestamp
from tunebench_jobs.errors import InputError, JobError
from tunebench_jobs.files import disk_errors
from tunebench_jobs.serve.deployment import build_deployment, build_fetching_deployment
from tunebench_jobs.serve.stage import build_model
from tunebench_jobs.stage import build_failure

logger = logging.getLogger(__name__)


def build(arguments: Mapping[str, str]) -> Any:
    """Build the application that Ray Serve deploys; `config` is the path of the stage document.

    Raises:
        JobError: A model or checkpoint cannot be served; it has been reported.
    """
    document = parse_stage_document(Path(arguments["config"]).read_bytes())
    context = StageContext(document.runtime)
    started = timestamp()
    try:
        with disk_errors(context.store):
            return _build(document, context)
    except JobError as error:
        # Ray Serve would only say that it failed.
        context.finish(build_failure(error, started=started))
        raise


def _build(document: StageDocument, context: StageContext) -> Any:
    config = document.config
    if not isinstance(config, ServeConfig):
        msg = f"`config.stage` must be serve, got {config.stage}"
        raise InputError(msg, reason="InvalidDocument")
    if context.mirror is not None:
        # The replica may run on another machine, which has to fetch what it loads.
        return build_fetching_deployment(document)
    context.report(Progress(message="checking checkpoints"))
    model = build_model(config, context)
    context.report(Progress(message="loading the model"))
    return build_deployment(model)
