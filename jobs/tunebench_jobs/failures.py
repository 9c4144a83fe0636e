"""How the tools of the command line say what went wrong."""

from __future__ import annotations

import json
import logging
import sys

from tunebench_api.errors import build_problem_document, parse_problem
from tunebench_jobs.errors import JobError

logger = logging.getLogger(__name__)


def tell_failure(error: JobError, output: str) -> int:
    """Log an error, print it as a document if `output` is json, and return the exit code."""
    logger.error("%s", error)
    if output == "json":
        document = build_problem_document([parse_problem(str(error))])
        sys.stdout.write(f"{json.dumps(document, indent=1)}\n")
    return error.exit_code
