"""What a scored run is at a tracking server: plain names, numbers and files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from tunebench_jobs.score.results import (
    LEADERBOARD_FILE,
    PARQUET_FILE,
    REPORT_FILE,
    RESULTS_FILE,
    Rate,
    Results,
    VariantResult,
)

# Of a parameter at MLflow.
_MAX_PARAM = 6000
_FILES = (RESULTS_FILE, LEADERBOARD_FILE, REPORT_FILE, PARQUET_FILE)
DIGEST_TAG = "tunebench.score"


class TrackedRun(BaseModel):
    """All that is logged; `digest` names the results, so that they are logged once."""

    model_config = ConfigDict(frozen=True)

    name: str
    digest: str
    params: dict[str, str]
    metrics: dict[str, float]
    # Paths on this machine.
    artifacts: tuple[str, ...]


def build_tracked_run(results: Results, digest: str, artifacts: tuple[str, ...]) -> TrackedRun:
    """Build what is logged of a scored run."""
    return TrackedRun(
        name=results.run,
        digest=digest,
        params={name: text[:_MAX_PARAM] for name, text in _list_params(results).items()},
        metrics=dict(_list_metrics(results)),
        artifacts=artifacts,
    )


def list_tracked_files(folder: Path) -> tuple[str, ...]:
    """Return those files of a score stage that are worth a copy."""
    paths = (folder / name for name in _FILES)
    return tuple(str(path) for path in paths if path.is_file())


def _list_params(results: Results) -> dict[str, str]:
    return {
        "baseline": results.baseline.name,
        "judges": ", ".join(f"{judge.name}={judge.model}" for judge in results.judges),
        "models": ", ".join(sorted({row.model for row in results.variants})),
        "tools": ", ".join(results.tools),
        "tasks": str(results.tasks),
        "pull_requests": str(results.pull_requests),
        "prompts": results.prompts.get("name", ""),
        "prompts_sha256": results.prompts.get("sha256", ""),
        "resamples": str(results.method.resamples),
        "seed": str(results.method.seed),
        "version": results.versions.get("tunebench", ""),
    }


def _list_metrics(results: Results) -> Iterator[tuple[str, float]]:
    for row in results.variants:
        for name, rate in _list_rates(row):
            if rate is None:
                continue
            yield f"{row.name}/{name}_pct", rate.pct
            if rate.lo is not None and rate.hi is not None:
                yield f"{row.name}/{name}_lo", rate.lo
                yield f"{row.name}/{name}_hi", rate.hi
        yield f"{row.name}/missing_verdicts", row.missing
        yield f"{row.name}/valid_pct", row.validity.valid_pct
    costs = [judge.cost_usd for judge in results.judges if judge.cost_usd is not None]
    yield "judges/cost_usd", sum(costs)
    yield "warnings", len(results.warnings)


def _list_rates(row: VariantResult) -> Iterator[tuple[str, Rate | None]]:
    yield "win_rate", row.win_rate
    yield "tie_adjusted", row.tie_adjusted
    yield "delta", row.delta
    for tool in row.by_tool:
        yield f"win_rate_{tool.name.lower()}", tool.win_rate
    for judged in row.by_judge:
        yield f"win_rate_by_{judged.name}", judged.win_rate
