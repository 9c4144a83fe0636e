"""What a training does when memory runs out: half the micro-batch once, then an error."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic import ValidationError

from tunebench_api.contract import OUT_OF_MEMORY, TrainConfig
from tunebench_api.sizing.settled import Sizing, build_written, settle
from tunebench_jobs.context import StageContext
from tunebench_jobs.errors import InputError, JobError, is_out_of_memory
from tunebench_jobs.files import save_text
from tunebench_jobs.train.layout import WORK_FOLDER

logger = logging.getLogger(__name__)

SIZING_FILE = "sizing.json"
_CHARACTERS = 300

Fit = Callable[[TrainConfig, Sizing], None]


def fit_in_memory(config: TrainConfig, context: StageContext, fit: Fit) -> None:
    """Train, and once more with half the micro-batch where memory runs out.

    The batch of a step stays the same, and training goes on from its last resume point.

    Raises:
        JobError: Training failed; memory ran out for the second time, or nothing can be halved.
    """
    sizing = find_sizing(config, context)
    try:
        fit(settle_config(config, sizing), sizing)
    except JobError as error:
        smaller = sizing.shrink() if error.reason == OUT_OF_MEMORY else None
        if smaller is None:
            raise
        logger.warning("%s; trying again: %s", error, describe_shrunk(smaller))
        save_text(context.output / WORK_FOLDER / SIZING_FILE, smaller.model_dump_json(indent=1))
        fit(settle_config(config, smaller), smaller)


def find_sizing(config: TrainConfig, context: StageContext) -> Sizing:
    """Return how to train: as an earlier attempt found out, as the planner says, or as set."""
    planned = context.runtime.sizing or build_written(config.tuning)
    found = _load(context.output / WORK_FOLDER / SIZING_FILE)
    if found is None or found.micro_batch_size >= planned.micro_batch_size:
        return planned
    kept = {"micro_batch_size": found.micro_batch_size, "shrunk_from": found.shrunk_from}
    return planned.model_copy(update=kept)


def settle_config(config: TrainConfig, sizing: Sizing) -> TrainConfig:
    """Return the config with nothing left open."""
    return config.model_copy(update={"tuning": settle(config.tuning, sizing)})


def describe_shrunk(sizing: Sizing) -> str:
    """Say that the micro-batch was halved; nothing where it was not."""
    if sizing.shrunk_from is None:
        return ""
    return (
        f"micro-batch halved from {sizing.shrunk_from} to {sizing.micro_batch_size} for lack of "
        "memory"
    )


@contextmanager
def memory_errors(sizing: Sizing, device: str) -> Iterator[None]:
    """Say with ours what torch or the system say of memory that has run out.

    Raises:
        InputError: It has.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise build_memory_error(error, sizing, device) from error


def build_memory_error(error: BaseException, sizing: Sizing, device: str) -> InputError:
    """Return the error of a worker whose memory has run out, with what to change."""
    said = " ".join(str(error).split())[:_CHARACTERS]
    tried = f" ({describe_shrunk(sizing)})" if sizing.shrunk_from else ""
    many = sizing.micro_batch_size > 1
    fewer = f"lower `microBatchSize` (now {sizing.micro_batch_size}) or `maxLength`"
    msg = (
        f"training must fit the memory of its {device}{tried}, got: {said or 'MemoryError'}; "
        f"{fewer if many else 'lower `maxLength`'}, set `deepspeed: ZeRO3` with more workers or "
        "`method: QLoRA`, or use a pool with more memory"
    )
    return InputError(msg, reason=OUT_OF_MEMORY)


def _load(path: Path) -> Sizing | None:
    """Return what an earlier attempt left; a damaged file says nothing."""
    try:
        return Sizing.model_validate_json(path.read_bytes())
    except (FileNotFoundError, ValidationError):
        return None
