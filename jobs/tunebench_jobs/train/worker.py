"""What Ray Train runs on every worker; torch is imported here, not where the run is steered."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Protocol

from tunebench_api.contract import Progress, Runtime, TrainConfig
from tunebench_api.sizing.memory import GIB
from tunebench_api.sizing.settled import build_written
from tunebench_api.v1alpha1 import TuningMethod
from tunebench_jobs.context import StageContext
from tunebench_jobs.models import leave_out_nf4
from tunebench_jobs.train.latest import Latest
from tunebench_jobs.train.layout import Position
from tunebench_jobs.train.room import describe_shrunk, memory_errors

_REPORT_SECONDS = 1.0
_DEVICE_WORDS = {"cpu": "CPUs", "cuda": "GPU"}


def run_worker(arguments: Mapping[str, str]) -> None:
    """Run one worker's training session."""
    context = StageContext(Runtime.model_validate_json(arguments["runtime"]))
    config = TrainConfig.model_validate_json(arguments["config"])
    if config.tuning.method is not TuningMethod.QLORA:
        leave_out_nf4()
    import ray.train  # noqa: PLC0415 - the process that steers needs none of these
    import torch  # noqa: PLC0415 - likewise

    from tunebench_jobs.train.loop import Hooks  # noqa: PLC0415 - likewise
    from tunebench_jobs.train.place import Place  # noqa: PLC0415 - likewise
    from tunebench_jobs.train.session import run_session  # noqa: PLC0415 - likewise

    ranks = ray.train.get_context()
    device = torch.device("cpu")
    if torch.cuda.is_available():
        device = torch.device("cuda", ranks.get_local_rank())
        torch.cuda.set_device(device)
    cpus = context.runtime.cpus or len(os.sched_getaffinity(0))
    torch.set_num_threads(max(1, cpus // ranks.get_local_world_size()))
    place = Place(ranks.get_world_rank(), ranks.get_world_size(), device)
    sizing = context.runtime.sizing or build_written(config.tuning)
    reporter = Reporter(context if place.rank == 0 else None, describe_shrunk(sizing))

    reporter.say("loading the model")
    hooks = Hooks(
        on_step=reporter.tell,
        on_resume_point=reporter.note_checkpoint,
        on_ready=reporter.watch,
    )
    with reporter.speaking(), memory_errors(sizing, _DEVICE_WORDS[device.type]):
        run_session(config, context, place, hooks)


class Readings(Protocol):
    """What `gauges.Gauges`, which needs torch, says of the hardware."""

    def read_peak_memory(self) -> int:
        """Return bytes."""

    def read_utilization(self) -> int | None:
        """Return percent."""

    def compute_mfu(self, before: Position, after: Position) -> float | None:
        """Return a share."""


class Reporter:
    """The first worker's voice, about once a second; training does not wait for who listens."""

    def __init__(self, context: StageContext | None, note: str = "") -> None:
        """Say everything to a stage's report, each message with a note; without it, nothing."""
        self._news = Latest(context.report) if context is not None else None
        # What each message adds.
        self._note = f"; {note}" if note else ""
        self._told = float("-inf")
        self._begin: tuple[float, Position] | None = None
        self._gauges: Readings | None = None
        self._checkpoint: str | None = None

    @contextmanager
    def speaking(self) -> Iterator[None]:
        """Have the last word heard when the block is left."""
        try:
            yield
        except BaseException:
            # What went wrong there is the news.
            if self._news is not None:
                self._news.abandon()
            raise
        if self._news is not None:
            self._news.close()

    def note_checkpoint(self, name: str) -> None:
        """Name the newest resume point from now on."""
        self._checkpoint = name

    def watch(self, gauges: Readings) -> None:
        """Read these whenever there is something to say."""
        self._gauges = gauges

    def say(self, message: str) -> None:
        """Say what is done before the first step."""
        if self._news is not None:
            self._news.put(Progress(percent=0, message=f"{message}{self._note}"))

    def tell(self, position: Position, total: int) -> None:
        """Say how far the training is, after each step."""
        now = time.monotonic()
        # Counted from the first step of this attempt, which pays for warming up.
        begin, first = self._begin = self._begin or (now, position)
        last = position.step == total
        if self._news is None or (now - self._told < _REPORT_SECONDS and not last):
            return
        self._told = now
        done = position.step - first.step
        speed = (position.tokens - first.tokens) / (now - begin) if done else None
        left = (now - begin) / done * (total - position.step) if done else None
        losses = position.last_losses
        self._news.put(
            Progress(
                # The last percent is writing the checkpoint.
                percent=min(99, 100 * position.step // total),
                message=f"{'saving the checkpoint' if last else 'training'}{self._note}",
                step=position.step,
                total_steps=total,
                loss=f"{sum(losses) / len(losses):.4f}",
                eta_seconds=None if left is None else round(left),
                tokens_per_second=None if speed is None else f"{speed:.0f}",
                gradient_norm=_format(position.gradient_norm, 4),
                checkpoint=self._checkpoint,
                **self._read(first, position),
            )
        )

    def _read(self, first: Position, position: Position) -> dict[str, str | None]:
        """Return what the hardware says, as far as it does."""
        if self._gauges is None:
            return {}
        mfu = self._gauges.compute_mfu(first, position)
        return {
            "mfu_pct": None if mfu is None else _format(100 * mfu, 1),
            "peak_memory": f"{self._gauges.read_peak_memory() / GIB:.1f}Gi",
            "gpu_utilization_pct": _format(self._gauges.read_utilization(), 0),
        }


def _format(value: float | None, digits: int) -> str | None:
    return None if value is None else f"{value:.{digits}f}"
