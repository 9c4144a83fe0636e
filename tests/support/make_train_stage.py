"""The train stage as the planner starts it: a process with one document."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pyarrow as pa
import pyarrow.parquet as pq
from tiny_models import save_tiny_model

from tunebench_api.contract import Report, TrainConfig, parse_stage_document
from tunebench_jobs.train.points import name_note

POLL_SECONDS = 0.05
TUNING: dict[str, Any] = {
    "batchSize": 4,
    "microBatchSize": 2,
    "epochs": 4,
    "learningRate": "1e-2",
    "checkpointSteps": 1,
    "lora": {"rank": 4, "alpha": 8, "dropout": "0.05"},
}


def make_train_row(number: int, *, words: int = 12) -> dict[str, Any]:
    """Return one training example; its answer follows from its prompt."""
    return {
        "pr": f"acme/train#{number}",
        "repository": "acme/train",
        "tool": "Describe",
        "system": "Describe the pull request as YAML.",
        "user": "+new line\n" * (words + number % 4) + "```yaml",
        "answer": "type:\n- Bug fix\ntitle: |\n  Fix the pager\n",
    }


def make_store(folder: Path, rows: list[dict[str, Any]]) -> Path:
    """Write a training set and a tiny base model; return the store."""
    store = folder / "store"
    (store / "data" / "tiny").mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(rows), store / "data" / "tiny" / "train.parquet")
    save_tiny_model(folder / "base")
    return store


class TrainStage:
    """One output folder of the train stage, run as often as needed."""

    def __init__(
        self, store: Path, name: str, *, tracking: dict[str, Any] | None = None, **tuning: Any
    ) -> None:
        """Write the stage's document; `tracking` is that of a run's spec."""
        self.output = store / "train" / name
        self.report_file = store / f"{name}.report.json"
        self._document = store / f"{name}.json"
        self._log = store / f"{name}.log"
        config: dict[str, Any] = {
            "stage": "train",
            "data": "data/tiny",
            "base": {"base": str(store.parent / "base")},
            "tuning": TUNING | tuning,
            "seed": 7,
        }
        if tracking is not None:
            config["tracking"] = {"run": "ours", "model": name, "tracking": tracking}
        runtime = {
            "store": str(store),
            "output": f"train/{name}",
            "report": str(self.report_file),
            "cpus": 1,
        }
        self._document.write_text(json.dumps({"config": config, "runtime": runtime}))

    def start(self) -> psutil.Popen:
        """Start the stage in its own process."""
        command = [sys.executable, "-m", "tunebench_jobs", "stage", "--config", str(self._document)]
        with self._log.open("a") as log:
            return psutil.Popen(command, stdout=log, stderr=subprocess.STDOUT)

    def run(self, timeout: float = 200) -> Report:
        """Run the stage to its end and return its report."""
        process = self.start()
        try:
            process.wait(timeout)
        finally:
            stop_all([process, *find_processes(process)])
        return self.load_report()

    def load_report(self) -> Report:
        """Return the newest report."""
        return Report.model_validate_json(self.report_file.read_bytes())

    def load_config(self) -> TrainConfig:
        """Return what the stage is to do."""
        config = parse_stage_document(self._document.read_bytes()).config
        assert isinstance(config, TrainConfig)
        return config

    def resume_points(self) -> list[str]:
        """Return the names of the resume points that the first worker has written."""
        return sorted(path.parent.name for path in self.output.glob(f"work/step-*/{name_note(0)}"))

    def log(self) -> str:
        """Return what the stage printed."""
        return self._log.read_text()


def find_processes(process: psutil.Process) -> list[psutil.Process]:
    """Return the process's children and theirs."""
    try:
        found: list[psutil.Process] = process.children(recursive=True)
    except psutil.NoSuchProcess:
        return []
    return found


def wait_until(condition: Callable[[], object], *, seconds: float, what: str) -> None:
    """Poll until a condition holds.

    Raises:
        TimeoutError: It did not hold in time.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            msg = f"gave up after {seconds:g} s waiting for {what}"
            raise TimeoutError(msg)
        time.sleep(POLL_SECONDS)


def wait_until_gone(processes: list[psutil.Process], *, seconds: float = 30) -> None:
    """Wait until none of the processes lives.

    Raises:
        TimeoutError: One of them lives on.
    """

    def is_gone(process: psutil.Process) -> bool:
        try:
            return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return True

    wait_until(
        lambda: all(is_gone(process) for process in processes),
        seconds=seconds,
        what="processes to end",
    )


def stop_all(processes: list[psutil.Process]) -> None:
    """End what a failed test left behind."""
    for process in processes:
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue
