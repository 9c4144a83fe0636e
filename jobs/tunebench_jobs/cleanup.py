"""The cleanup stage: delete artefacts that a run has made and that nobody else uses."""

from __future__ import annotations

import fcntl
import re
import shutil
from datetime import datetime
from pathlib import Path

from tunebench_api.contract import RESULT_FILE, CleanupConfig, Progress, StageResult
from tunebench_jobs.context import Outcome, StageContext
from tunebench_jobs.errors import InputError
from tunebench_jobs.stage import LOCK_FILE, load_result
from tunebench_jobs.storage.mirror import Mirror

# A stage's result and nothing else: not the ledger of verdicts, which was paid for, nor a cache.
_OUTPUT = re.compile(
    r"(preflight|data|baseline|train|serve|generate|control|judge|score)/[0-9a-f]{16}"
)


def run_cleanup(config: CleanupConfig, context: StageContext) -> Outcome:
    """Delete every output but those that are older than the run or in use.

    Raises:
        InputError: A path is not that of an output.
    """
    wrong = [output for output in config.outputs if not _OUTPUT.fullmatch(output)]
    if wrong:
        msg = f"`outputs` must be folders of results such as data/0123456789abcdef, got {wrong[0]}"
        raise InputError(msg, reason="InvalidDocument")
    since = datetime.fromisoformat(config.since)
    deleted, kept = 0, 0
    for number, output in enumerate(config.outputs):
        context.report(Progress(percent=100 * number // len(config.outputs), message=output))
        gone = _delete_output(context, output, since)
        deleted += gone is True
        kept += gone is False
    return Outcome(
        message=f"{deleted} artefacts deleted, {kept} kept, which are older or in use",
        summary={"deleted": deleted, "kept": kept},
    )


def _delete_output(context: StageContext, output: str, since: datetime) -> bool | None:
    """Delete one output; False if it has to stay, None if there is none."""
    if context.mirror is not None:
        return _delete_from_bucket(context.mirror, output, since)
    folder = context.store / output
    if not folder.is_dir():
        return None
    return not _is_older(load_result(folder), since) and _delete(folder)


def _delete_from_bucket(mirror: Mirror, output: str, since: datetime) -> bool | None:
    if not mirror.bucket.list(output):
        return None
    if _is_older(mirror.load_result(output), since):
        return False
    # The result first: what is cut short is no result any more.
    mirror.bucket.remove(f"{output}/{RESULT_FILE}")
    mirror.bucket.remove_folder(output)
    return True


def _is_older(result: StageResult | None, since: datetime) -> bool:
    """Whether a result was there before the run, which then only used it."""
    return bool(
        result and result.finished_at and datetime.fromisoformat(result.finished_at) < since
    )


def _delete(folder: Path) -> bool:
    """Delete a folder unless a stage works in it; what is cut short is no result any more."""
    with (folder / LOCK_FILE).open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        (folder / RESULT_FILE).unlink(missing_ok=True)
        shutil.rmtree(folder)
    return True
