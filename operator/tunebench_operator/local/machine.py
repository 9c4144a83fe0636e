"""What this machine has to train on, and what its own base models are like."""

from __future__ import annotations

import json
import subprocess
from contextlib import suppress
from pathlib import Path

import psutil

from tunebench_api.errors import InvalidRunError
from tunebench_api.sizing.shape import ModelShape, parse_shape
from tunebench_api.v1alpha1 import BenchmarkRun
from tunebench_operator.machines import DEFAULT_POOL, Machines
from tunebench_operator.sizing import is_open
from tunebench_operator.trainings import find_contradictions

_NVIDIA_SMI = ("nvidia-smi", "--query-gpu=memory.total", "--format=csv,noheader,nounits")
_MIB = 1 << 20
_TIMEOUT_SECONDS = 20
# The limit of a container, where there is one.
_CGROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")


def find_machines(run: BenchmarkRun) -> Machines | None:
    """Return what this machine has, where a run leaves something open that depends on it.

    Raises:
        InvalidRunError: A model asks for what it has not.
    """
    if not any(map(is_open, run.spec.models)):
        return None
    machines = observe_machine()
    problems = find_contradictions(run, {DEFAULT_POOL: machines})
    if problems:
        raise InvalidRunError(problems)
    return machines


def observe_machine() -> Machines:
    """Look for GPUs, and count the memory."""
    gpus = parse_gpu_memory(_ask_gpus())
    return Machines(
        name="this machine",
        gpu=bool(gpus),
        most_gpus=len(gpus) or None,
        gpu_bytes=min(gpus, default=None),
        host_bytes=_count_memory(),
        gpu_field="them in `nvidia-smi`",
        host_field="it more",
        shared=True,
    )


def parse_gpu_memory(text: str) -> list[int]:
    """Return the bytes of each GPU that `nvidia-smi` lists, a number of MiB to a line."""
    lines = (line.strip() for line in text.splitlines())
    return [int(line) * _MIB for line in lines if line.isdigit()]


def load_shapes(run: BenchmarkRun) -> dict[str, ModelShape]:
    """Return the shapes of the run's bases that are folders on this machine, by `base`."""
    shapes = {}
    for model in run.spec.models:
        path = Path(model.base)
        # A hub id is no folder, though the working directory may have one of that name.
        shape = _load_shape(path / "config.json") if path.is_absolute() else None
        if shape is not None:
            shapes[model.base] = shape
    return shapes


def _load_shape(path: Path) -> ModelShape | None:
    """Return the shape in a config; the preflight says what is wrong with one that is broken."""
    with suppress(OSError, ValueError):
        config = json.loads(path.read_bytes())
        return parse_shape(config) if isinstance(config, dict) else None
    return None


def _ask_gpus() -> str:
    """Return what `nvidia-smi` prints; nothing where there is none, or no GPU."""
    with suppress(OSError, subprocess.SubprocessError):
        return subprocess.run(  # noqa: S603 - fixed program, no shell
            _NVIDIA_SMI, capture_output=True, text=True, timeout=_TIMEOUT_SECONDS, check=True
        ).stdout
    return ""


def _count_memory() -> int:
    total = int(psutil.virtual_memory().total)
    with suppress(OSError, ValueError):
        total = min(total, int(_CGROUP_LIMIT.read_text()))
    return total
