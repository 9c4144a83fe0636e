"""How the tools of the command line end: with a text, or by saying what went wrong."""

from __future__ import annotations

import errno
import json
import logging
import sys
from collections.abc import Callable

from tunebench_api.errors import build_problem_document, parse_problem
from tunebench_jobs.errors import InputError, JobError, RetryableError

logger = logging.getLogger(__name__)

INTERRUPTED = 130
# What a path can be wrong by; anything else that a system says may heal.
_OF_PATHS = frozenset(
    {
        errno.EACCES,
        errno.EEXIST,
        errno.EISDIR,
        errno.ELOOP,
        errno.ENAMETOOLONG,
        errno.ENOENT,
        errno.ENOTDIR,
        errno.EPERM,
        errno.EROFS,
    }
)


def run_tool(
    work: Callable[[], str | None], output: str, *, interrupted: str = "interrupted; start again"
) -> int:
    """Do the work of a tool, print the text that it returns, and return the exit code.

    Args:
        work: Returns nothing where it has said all itself.
        output: `json`, or else text: what a problem is told in.
        interrupted: What Ctrl-C leaves behind.
    """
    try:
        text = work()
    except JobError as error:
        return tell_failure(error, output)
    except OSError as error:
        return tell_failure(build_system_failure(error), output)
    except KeyboardInterrupt:
        logger.error("%s", interrupted)  # noqa: TRY400 - not an error
        return INTERRUPTED
    if text is not None:
        sys.stdout.write(f"{text}\n")
    return 0


def build_system_failure(error: OSError) -> JobError:
    """Build the error for what the system says of a path that a user gave."""
    if error.filename is not None and error.errno in _OF_PATHS:
        msg = (
            f"`{error.filename}` must be a path that can be used: {error.strerror}; correct it, "
            "or its permissions"
        )
        return InputError(msg, reason="UnusablePath")
    return RetryableError(f"the system says: {error}; start again", reason="SystemError")


def tell_failure(error: JobError, output: str) -> int:
    """Log an error, print it as a document if `output` is json, and return the exit code."""
    logger.error("%s", error)
    if output == "json":
        document = build_problem_document([parse_problem(str(error))])
        sys.stdout.write(f"{json.dumps(document, indent=1)}\n")
    return error.exit_code
