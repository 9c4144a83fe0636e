"""What the hardware of one worker says: the most memory it took, and how busy its GPU is."""

from __future__ import annotations

import resource
import time

import torch

from tunebench_api.v1alpha1 import Precision
from tunebench_jobs.train.flops import find_peak
from tunebench_jobs.train.layout import Position

# ru_maxrss is in KiB.
_KIB = 1 << 10
# NVML's own window is between a sixth of a second and a second.
_SAMPLE_SECONDS = 1.0


class Gauges:
    """The hardware of one worker, and what it has said so far."""

    def __init__(self, device: torch.device, workers: int, precision: Precision) -> None:
        """Look at one of `workers` devices, all of them alike."""
        self._device = device
        self._workers = workers
        on_gpu = device.type == "cuda"
        self.name = str(torch.cuda.get_device_name(device)) if on_gpu else device.type
        self._peak = find_peak(self.name, precision) if on_gpu else None
        self._sampled = float("-inf")
        self._samples: list[int] = []

    def read_peak_memory(self) -> int:
        """Return the most bytes that this process has taken: of the GPU, or of the machine."""
        if self._device.type == "cuda":
            return int(torch.cuda.max_memory_reserved(self._device))
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _KIB

    def read_utilization(self) -> int | None:
        """Return the share of time in which the GPU computed lately, in percent."""
        now = time.monotonic()
        if now - self._sampled >= _SAMPLE_SECONDS:
            self._sampled = now
            sample = _ask_nvml(self._device)
            self._samples += [] if sample is None else [sample]
        return self._samples[-1] if self._samples else None

    @property
    def mean_utilization(self) -> float | None:
        """The same over all that was read."""
        return sum(self._samples) / len(self._samples) if self._samples else None

    def compute_mfu(self, before: Position, after: Position) -> float | None:
        """Return the share of all GPUs' peak that the steps between two positions used."""
        first = 0.0 if before.step == 0 else before.flops
        seconds = after.seconds - before.seconds
        if self._peak is None or first is None or after.flops is None or seconds <= 0:
            return None
        return (after.flops - first) / (seconds * self._peak * self._workers)


def _ask_nvml(device: torch.device) -> int | None:
    """Return what NVML says; nothing without a GPU or NVML, or of a slice of a GPU."""
    if device.type != "cuda":
        return None
    try:
        from pynvml import NVMLError  # noqa: PLC0415 - absent where PyTorch is without CUDA
    except ImportError:
        return None
    try:
        return int(torch.cuda.utilization(device))
    except (NVMLError, RuntimeError):
        return None
