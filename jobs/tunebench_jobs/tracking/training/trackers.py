"""All trackers of one training: told of each step, and asked at the end how it went."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tunebench_api.contract import TrainTracking
from tunebench_api.sizing.memory import GIB
from tunebench_api.v1alpha1 import WANDB_FIELD, TrackTraining, WandbMode
from tunebench_jobs.errors import InputError
from tunebench_jobs.llm import find_secret
from tunebench_jobs.tracking.mlflow import build_variables
from tunebench_jobs.tracking.training.feed import Address, Feed
from tunebench_jobs.tracking.training.files import TENSORBOARD_FOLDER, WANDB_FOLDER
from tunebench_jobs.tracking.training.points import (
    GRADIENT_NORM,
    LEARNING_RATE,
    LOSS,
    TOKENS,
    Kind,
    Point,
    Start,
)
from tunebench_jobs.train.curve import Curve
from tunebench_jobs.train.gauges import Gauges
from tunebench_jobs.train.layout import WORK_FOLDER, Position

logger = logging.getLogger(__name__)

_JOURNALS, _JOURNAL = "tracking", "points.jsonl"
# For all trackers together, once the training has ended; its GPU waits.
_PATIENCE_SECONDS = 60.0
# Likewise where it failed or was told to stop.
_HASTE_SECONDS = 10.0
_WANDB_SETTINGS = {
    "WANDB_ERROR_REPORTING": "false",
    "WANDB_SILENT": "true",
}
_WANDB_KEY = "WANDB_API_KEY"


@dataclass(frozen=True)
class Training:
    """What trackers are told of a training before its first step."""

    tracking: TrainTracking
    # Folder of the train stage; its name is the digest of the training.
    output: Path
    settings: Mapping[str, str]
    gauges: Gauges


class Trackers:
    """The trackers of one worker; without any, nothing happens."""

    def __init__(self, training: Training | None, environment: Mapping[str, str]) -> None:
        """Remember what to tell; processes start with the first step."""
        self._training = training
        self._environment = environment
        self._feeds: list[Feed] = []
        self._before: Position | None = None
        self._problems: dict[Kind, str] = {}

    def log(self, position: Position) -> None:
        """Tell of a step."""
        if self._training is None:
            return
        if self._before is None:
            self._open(self._training, position)
            # How long the first step of a later attempt took is not known here.
            self._before = Position() if position.step == 1 else position
        metrics = build_metrics(self._before, position, self._training.gauges)
        self._before = position
        point = Point(step=position.step, time=time.time(), metrics=metrics)
        for feed in self._feeds:
            feed.put(point)

    def close(self, *, succeeded: bool) -> None:
        """Wait for all trackers, for a limited time."""
        until = time.monotonic() + (_PATIENCE_SECONDS if succeeded else _HASTE_SECONDS)
        for feed in self._feeds:
            feed.finish(succeeded=succeeded)
        for feed in self._feeds:
            feed.wait(max(1.0, until - time.monotonic()))

    def build_summary(self) -> dict[str, Any]:
        """Return how it went, for the stage's result."""
        told: dict[str, Any] = {feed.kind: feed.heard.to_summary() for feed in self._feeds}
        told |= {kind: {"warning": problem} for kind, problem in self._problems.items()}
        return {"tracking": {str(kind): each for kind, each in told.items()}} if told else {}

    def _open(self, training: Training, position: Position) -> None:
        past = build_past(position.curve[:-1], time.time())
        for kind, build in _BUILDERS.items():
            try:
                address = build(training, self._environment)
            except InputError as error:
                self._problems[kind] = str(error)
                logger.warning("the training is not logged to %s: %s", kind, error)
                continue
            if address is not None:
                start = address.start.model_copy(update={"done": position.step - 1, "past": past})
                self._feeds.append(Feed(replace(address, start=start)))


@contextmanager
def open_trackers(training: Training | None, environment: Mapping[str, str]) -> Iterator[Trackers]:
    """Yield the trackers of a training, and close them however it ends."""
    trackers = Trackers(training, environment)
    try:
        yield trackers
    except BaseException:
        trackers.close(succeeded=False)
        raise
    trackers.close(succeeded=True)


def build_metrics(before: Position, after: Position, gauges: Gauges) -> dict[str, float]:
    """Return what is logged of the steps between two positions; what is not known is left out."""
    seconds = after.seconds - before.seconds
    metrics: dict[str, float | None] = {
        LOSS: after.last_losses[-1],
        LEARNING_RATE: after.curve[-1].learning_rate,
        GRADIENT_NORM: after.gradient_norm,
        TOKENS: after.tokens,
        "train/peak_memory_gib": gauges.read_peak_memory() / GIB,
        "train/gpu_utilization_pct": gauges.read_utilization(),
    }
    if seconds > 0:
        mfu = gauges.compute_mfu(before, after)
        computed = after.computed_tokens - before.computed_tokens
        metrics |= {
            "train/useful_tokens_per_second": (after.tokens - before.tokens) / seconds,
            "train/computed_tokens_per_second": computed / seconds,
            "train/data_wait_pct": 100 * (after.waited_seconds - before.waited_seconds) / seconds,
            "train/mfu_pct": None if mfu is None else 100 * mfu,
        }
    known = {name: float(value) for name, value in metrics.items() if value is not None}
    # JSON has no infinite numbers, such as the norm of gradients that overflow.
    return {name: value for name, value in known.items() if math.isfinite(value)}


def build_past(curve: Curve, now: float) -> tuple[Point, ...]:
    """Return what a curve knows of the steps before this attempt."""
    return tuple(
        Point(
            step=each.step,
            time=now,
            metrics={LOSS: each.loss, LEARNING_RATE: each.learning_rate, TOKENS: each.tokens}
            | ({} if each.gradient_norm is None else {GRADIENT_NORM: each.gradient_norm}),
        )
        for each in curve
    )


def _address_tensorboard(training: Training, environment: Mapping[str, str]) -> Address | None:
    if training.tracking.tracking.tensor_board is not TrackTraining.ENABLED:
        return None
    return Address(_build_start(training, Kind.TENSORBOARD, TENSORBOARD_FOLDER), environment)


def _address_mlflow(training: Training, environment: Mapping[str, str]) -> Address | None:
    spec = training.tracking.tracking.trains_to_mlflow
    if spec is None:
        return None
    variables, secrets = build_variables(spec, environment)
    start = _build_start(training, Kind.MLFLOW, uri=spec.uri, project=spec.experiment)
    return Address(start, variables, secrets)


def _address_wandb(training: Training, environment: Mapping[str, str]) -> Address | None:
    spec = training.tracking.tracking.wandb
    if spec is None:
        return None
    offline = spec.mode is WandbMode.OFFLINE
    # Also where the environment names another one: a run says where it logs.
    variables = {**_WANDB_SETTINGS, **environment}
    if spec.uri is not None:
        variables["WANDB_BASE_URL"] = spec.uri
    if spec.secret_ref is not None and not offline:
        variables[_WANDB_KEY] = find_secret(
            spec.secret_ref, f"{WANDB_FIELD}.secretRef", environment
        )
    start = _build_start(
        training,
        Kind.WANDB,
        WANDB_FOLDER,
        uri=spec.uri,
        project=spec.project,
        entity=spec.entity,
        offline=offline,
    )
    return Address(start, variables, [variables[_WANDB_KEY]] if _WANDB_KEY in variables else [])


_BUILDERS: Mapping[Kind, Callable[[Training, Mapping[str, str]], Address | None]] = {
    Kind.TENSORBOARD: _address_tensorboard,
    Kind.MLFLOW: _address_mlflow,
    Kind.WANDB: _address_wandb,
}


def _build_start(training: Training, kind: Kind, folder: str = "", **where: Any) -> Start:
    return Start(
        kind=kind,
        run=training.tracking.run,
        model=training.tracking.model,
        digest=training.output.name,
        settings=dict(training.settings),
        folder=str(training.output / folder) if folder else "",
        journal=str(training.output / WORK_FOLDER / _JOURNALS / kind / _JOURNAL),
        done=0,
        **where,
    )
