"""What a training really takes of memory, beside what the model of `tunebench_api.sizing` says."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from tunebench_api.sizing.memory import GIB, Load, MemoryNeed, count_usable, estimate_memory
from tunebench_api.sizing.settled import SIZING_KEY, Sizing
from tunebench_api.sizing.shape import parse_shape
from tunebench_api.v1alpha1 import ActivationCheckpointing, TuningSpec
from tunebench_jobs.train.anatomy import find_inner
from tunebench_jobs.train.examples import TrainSet
from tunebench_jobs.train.room import describe_shrunk

logger = logging.getLogger(__name__)

_STATUS, _RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")
_KIB = 1024
# Lets the kernel count the peak anew.
_RESET_PEAK = "5"


class MemoryWatch:
    """The most memory that this process has had since now: of its GPU, or else of the machine."""

    def __init__(self, device: torch.device) -> None:
        """Begin to count."""
        self._device = device
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
            return
        # Where it is not allowed, the peak of the imports counts too, which is lower.
        with suppress(OSError):
            _RESET.write_text(_RESET_PEAK)
        self._begin = _load_resident("VmRSS")

    def find_peak(self) -> int | None:
        """Return the bytes beyond those at the beginning; none where the system does not say."""
        if self._device.type == "cuda":
            return int(torch.cuda.max_memory_allocated(self._device))
        peak = _load_resident("VmHWM")
        return None if peak is None or self._begin is None else peak - self._begin


def estimate_need(
    model: Any, parameters: int, tuning: TuningSpec, train_set: TrainSet, *, half: bool
) -> MemoryNeed | None:
    """Estimate from the loaded model and its longest examples; none for an unknown kind."""
    shape = parse_shape(model.config.to_dict(), parameters)
    if shape is None:
        return None
    load = Load(
        workers=tuning.workers,
        deepspeed=tuning.deepspeed,
        rows=tuning.micro_batch_size,
        tokens=max(train_set.lengths),
        answer=max(train_set.table.answer_lengths),
        half=half,
        recompute=tuning.activation_checkpointing is ActivationCheckpointing.ENABLED,
        offload=tuning.offload,
    )
    return estimate_memory(shape, tuning, load)


def find_recomputing(
    tuning: TuningSpec, need: MemoryNeed | None, device: torch.device
) -> ActivationCheckpointing:
    """Return whether to compute activations again; Auto is where they do not fit a GPU."""
    kinds = ActivationCheckpointing
    if tuning.activation_checkpointing is not kinds.AUTO:
        return tuning.activation_checkpointing
    if need is None or device.type != "cuda":
        return kinds.DISABLED
    _, total = torch.cuda.mem_get_info(device)
    if need.total <= count_usable(total):
        return kinds.DISABLED
    logger.info(
        "activations are computed again: kept, training takes about %.1f of %.1f GiB",
        need.total / GIB,
        total / GIB,
    )
    return kinds.ENABLED


def recompute_activations(model: Any) -> None:
    """Let each block keep what goes into it alone, and compute the rest again."""
    inner = find_inner(model)
    inner.activation_checkpointing_enable(activation_checkpointing_kwargs={"use_reentrant": False})
    # That is for the older way: with it, the backward pass would not end at the first adapter.
    inner.disable_input_require_grads()


def build_memory_summary(
    tuning: TuningSpec, sizing: Sizing | None, need: MemoryNeed | None, peak: int | None
) -> Mapping[str, Any]:
    """Return how a training was carried out, and the memory that it took."""
    notes = [sizing.why, describe_shrunk(sizing)] if sizing else []
    return {
        "deepspeed": str(tuning.deepspeed),
        "micro_batch_size": tuning.micro_batch_size,
        "activation_checkpointing": str(tuning.activation_checkpointing),
        "shrunk_from": sizing.shrunk_from if sizing else None,
        SIZING_KEY: " ".join(note for note in notes if note),
        "memory": {"predicted_bytes": need.total if need else None, "peak_bytes": peak},
    }


def _load_resident(field: str) -> int | None:
    with suppress(OSError):
        for line in _STATUS.read_text().splitlines():
            if line.startswith(f"{field}:"):
                return int(line.split()[1]) * _KIB
    return None
