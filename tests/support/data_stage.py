"""Runs the data stage on this machine, as its process does."""

from __future__ import annotations

from pathlib import Path

from tunebench_api.contract import DataConfig, Runtime
from tunebench_jobs.context import Outcome, StageContext
from tunebench_jobs.data.stage import run_data

PROMPTS = Path(__file__).parents[2] / "prompts"


def run_stage(store: Path, config: DataConfig, output: str = "data/one") -> Outcome:
    """Run the stage in an output folder of a store."""
    runtime = Runtime(
        store=str(store),
        output=output,
        report=str(store / "report.json"),
        prompts_dir=str(PROMPTS),
    )
    context = StageContext(runtime)
    context.output.mkdir(parents=True)
    return run_data(config, context)
