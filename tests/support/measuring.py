"""What a process and all that it starts cost."""

from __future__ import annotations

import resource
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

SAMPLE_SECONDS = 0.2


@dataclass(frozen=True)
class Cost:
    """Wall-clock and CPU seconds of a command from start to end, and the most memory it had."""

    code: int
    seconds: float
    cpu_seconds: float
    peak_bytes: int


def measure_command(
    arguments: Sequence[str], folder: Path, environment: Mapping[str, str], log: Path
) -> Cost:
    """Run a command to its end; it may read empty lines, and what it says goes to `log`."""
    before = _count_cpu()
    started = time.monotonic()
    with (
        log.open("wb") as said,
        subprocess.Popen(
            arguments,
            cwd=folder,
            env=dict(environment),
            stdin=subprocess.PIPE,
            stdout=said,
            stderr=subprocess.STDOUT,
        ) as process,
    ):
        assert process.stdin is not None
        process.stdin.write(b"\n" * 8)
        process.stdin.close()
        peak = watch_memory(process)
    seconds = time.monotonic() - started
    return Cost(process.returncode, seconds, _count_cpu() - before, peak)


def watch_memory(process: subprocess.Popen[bytes]) -> int:
    """Return the most memory that a process and its descendants had together until it ended."""
    peak = 0
    root = psutil.Process(process.pid)
    while process.poll() is None:
        total = 0
        for each in [root, *_list_children(root)]:
            try:
                total += each.memory_info().rss
            except psutil.Error:
                continue
        peak = max(peak, total)
        time.sleep(SAMPLE_SECONDS)
    return peak


def _list_children(process: psutil.Process) -> list[psutil.Process]:
    try:
        children: list[psutil.Process] = process.children(recursive=True)
    except psutil.Error:
        return []
    return children


def _count_cpu() -> float:
    """Return the CPU seconds of all children that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
