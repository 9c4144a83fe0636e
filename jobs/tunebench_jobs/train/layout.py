"""What lies in the output folder of a train stage, and how far its training is."""

from __future__ import annotations

from tunebench_jobs.records import Record
from tunebench_jobs.train.curve import Curve

CHECKPOINT_FOLDER = "checkpoint"
WORK_FOLDER = "work"
SUMMARY_FILE = "summary.json"


class Position(Record):
    """How far a run is, and what the summary needs of the way so far."""

    step: int = 0
    tokens: int = 0
    answer_tokens: int = 0
    seconds: float = 0.0
    first_loss: float | None = None
    last_losses: tuple[float, ...] = ()
    # Of the first and the latest steps, for `watch`.
    first_losses: tuple[float, ...] = ()
    recent_losses: tuple[float, ...] = ()
    # Mean of the canaries' answer tokens before the first step; absent: there are no canaries.
    start_loss: float | None = None
    curve: Curve = ()
    # Of `seconds`, those spent waiting for the next batch.
    waited_seconds: float = 0.0
    # Like `tokens`, with padding.
    computed_tokens: int = 0
    # Of all steps, over all workers (`flops`); absent: not known.
    flops: float | None = None
    # Of the last step; absent: not known.
    gradient_norm: float | None = None
