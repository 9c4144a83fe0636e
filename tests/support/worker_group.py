"""Several training workers without Ray, as processes that find each other."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

SCRIPT = Path(__file__).with_name("train_worker.py")


def start_workers(
    folder: Path, workers: int, cases: list[dict[str, Any]]
) -> list[subprocess.Popen[str]]:
    """Start the workers of `train_worker.py`, each with one thread, on some cases."""
    config = folder / f"workers-{workers}.json"
    config.write_text(json.dumps({"workers": workers, "port": _find_port(), "cases": cases}))
    return [
        subprocess.Popen(
            [sys.executable, str(SCRIPT), str(config), str(rank)],
            # What DeepSpeed built elsewhere must not matter.
            env=os.environ
            | {"OMP_NUM_THREADS": "1", "TORCH_EXTENSIONS_DIR": str(folder / "built")},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(workers)
    ]


def finish_workers(started: list[subprocess.Popen[str]], seconds: float) -> None:
    """Wait until the workers have done all cases, and leave none behind."""
    try:
        outputs = [process.communicate(timeout=seconds)[0] for process in started]
    finally:
        kill_workers(started)
    for process, output in zip(started, outputs, strict=True):
        assert process.returncode == 0, output[-4000:]


def kill_workers(started: list[subprocess.Popen[str]]) -> None:
    """Kill the workers, as a lost node would."""
    for process in started:
        process.kill()
    for process in started:
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def _find_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port
