"""The shell round every stage: reuse a finished result, run, and write the result last."""

from __future__ import annotations

import fcntl
import importlib
import logging
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tunebench_api.contract import (
    RESULT_FILE,
    Artefact,
    Progress,
    ResultState,
    StageDocument,
    StageResult,
)
from tunebench_jobs.context import Outcome, StageContext, timestamp
from tunebench_jobs.errors import JobError, RetryableError
from tunebench_jobs.files import build_file_digest, disk_errors, save_text
from tunebench_jobs.termination import exit_on_sigterm

logger = logging.getLogger(__name__)

# Held by whoever works in an output folder.
LOCK_FILE = ".lock"

StageFunction = Callable[[Any, StageContext], Outcome]

# Modules are imported by name when their stage runs, because torch alone takes seconds to import.
STAGES = {
    "preflight": ("tunebench_jobs.preflight", "run_preflight"),
    "data": ("tunebench_jobs.data.stage", "run_data"),
    "baseline": ("tunebench_jobs.baseline", "run_baseline"),
    "train": ("tunebench_jobs.train.stage", "run_train"),
    "serve": ("tunebench_jobs.serve.stage", "run_serve"),
    "generate": ("tunebench_jobs.generate", "run_generate"),
    "control": ("tunebench_jobs.control", "run_control"),
    "judge": ("tunebench_jobs.judge.stage", "run_judge"),
    "score": ("tunebench_jobs.score.stage", "run_score"),
    "cleanup": ("tunebench_jobs.cleanup", "run_cleanup"),
}


def run_stage(document: StageDocument) -> int:
    """Run one stage and return the exit code."""
    context = StageContext(document.runtime)
    started = timestamp()
    try:
        with _closing(context), disk_errors(context.store):
            result = _run_once(document, context, started)
    except JobError as error:
        logger.error("stage failed: %s", error)  # noqa: TRY400 - the message is the whole story
        context.finish(build_failure(error, started=started))
        return error.exit_code
    except Exception as error:
        logger.exception("stage failed unexpectedly")
        cause = RetryableError(f"{type(error).__name__}: {error}", reason="UnexpectedError")
        context.finish(build_failure(cause, started=started))
        return cause.exit_code
    context.finish(result)
    return 0


def build_failure(error: JobError, *, started: str) -> StageResult:
    """Build the result of a stage that could not go on."""
    return StageResult(
        state=ResultState.FAILED,
        reason=error.reason,
        message=str(error)[:4000],
        retryable=isinstance(error, RetryableError),
        started_at=started,
        finished_at=timestamp(),
    )


def load_result(output: Path) -> StageResult | None:
    """Return the result that an earlier attempt or run left in `output`, if it is finished."""
    path = output / RESULT_FILE
    return StageResult.model_validate_json(path.read_bytes()) if path.is_file() else None


def _run_once(document: StageDocument, context: StageContext, started: str) -> StageResult:
    """Run the stage unless its result exists; another run may be computing it right now."""
    context.output.mkdir(parents=True, exist_ok=True)
    context.report(Progress(message="waiting for the output folder"))
    with _locked(context.output):
        # What the preflight looks at, such as keys, can change without its config.
        reusable = document.config.stage != "preflight"
        finished = _load_finished(context) if reusable else None
        if finished is not None:
            return finished
        module, name = STAGES[document.config.stage]
        function: StageFunction = getattr(importlib.import_module(module), name)
        outcome = function(document.config, context)
        result = _build_success(outcome, context, started)
        text = result.model_dump_json(by_alias=True, indent=1)
        if context.mirror is not None:
            # No lock reaches other machines: whoever was first is right.
            theirs = _load_finished(context) if reusable else None
            if theirs is not None:
                return theirs
            sent = {each.path for each in outcome.sent}
            context.mirror.publish(context.runtime.output, result, text.encode(), sent)
        save_text(context.output / RESULT_FILE, text)
        return result


def _load_finished(context: StageContext) -> StageResult | None:
    """Return the result that the store has; a copy of it on this machine says nothing."""
    if context.mirror is not None:
        return context.mirror.load_result(context.runtime.output)
    return load_result(context.output)


def _build_success(outcome: Outcome, context: StageContext, started: str) -> StageResult:
    artefacts = tuple(
        Artefact(path=name, sha256=build_file_digest(path), bytes=path.stat().st_size)
        for name in outcome.artefacts
        for path in [context.output / name]
    )
    return StageResult(
        state=ResultState.SUCCEEDED,
        reason="Succeeded",
        message=outcome.message,
        started_at=started,
        finished_at=timestamp(),
        artefacts=(*artefacts, *outcome.sent),
        summary=dict(outcome.summary),
    )


@contextmanager
def _closing(context: StageContext) -> Iterator[None]:
    """Send to a store that lies elsewhere what it lacks, however the stage ends."""
    if context.mirror is None:
        yield
        return
    with exit_on_sigterm():
        try:
            yield
        finally:
            # A second SIGTERM must not cut this short.
            before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
            try:
                context.close()
            finally:
                signal.signal(signal.SIGTERM, before)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the folder alone; the lock goes with the process, however it ends."""
    with (folder / LOCK_FILE).open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
