"""The files that a scored run leaves behind."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from tunebench_api.contract import ScoreConfig
from tunebench_jobs.files import save_text
from tunebench_jobs.records import Completion, Task
from tunebench_jobs.score.comparisons import (
    build_comparison_rows,
    save_csv,
    save_parquet,
)
from tunebench_jobs.score.markdown import render_markdown
from tunebench_jobs.score.outcomes import JudgedVariant
from tunebench_jobs.score.results import (
    CSV_FILE,
    LEADERBOARD_FILE,
    PARQUET_FILE,
    RESULTS_FILE,
    Results,
)

# What was scored, so that it can be done again from the store alone.
CONFIG_FILE = "config.json"


@dataclass(frozen=True)
class Scored:
    """A scored run with what it was computed from, in the order of the tasks."""

    config: ScoreConfig
    tasks: Sequence[Task]
    variants: Sequence[JudgedVariant]
    baseline: Sequence[Completion]
    results: Results

    @cached_property
    def results_text(self) -> str:
        """The whole of `results.json`."""
        return self.results.model_dump_json(by_alias=True, indent=1) + "\n"

    @cached_property
    def leaderboard(self) -> str:
        """The whole of `leaderboard.md`."""
        return render_markdown(self.results)


def save_outputs(scored: Scored, folder: Path) -> tuple[str, ...]:
    """Write all files and return their names."""
    rows = list(
        build_comparison_rows(scored.config, scored.tasks, scored.variants, scored.baseline)
    )
    save_text(folder / RESULTS_FILE, scored.results_text)
    save_text(folder / LEADERBOARD_FILE, scored.leaderboard)
    save_parquet(folder / PARQUET_FILE, rows)
    save_csv(folder / CSV_FILE, rows)
    config = scored.config.model_dump_json(by_alias=True, exclude_none=True, indent=1)
    save_text(folder / CONFIG_FILE, config + "\n")
    return RESULTS_FILE, LEADERBOARD_FILE, PARQUET_FILE, CSV_FILE, CONFIG_FILE
