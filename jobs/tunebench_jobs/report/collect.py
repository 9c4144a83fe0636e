"""What a report needs beside the results, from where the stages left it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from tunebench_api.contract import RESULT_FILE
from tunebench_jobs.checkpoints import MANIFEST_FILE, load_unchecked_manifest
from tunebench_jobs.context import StageContext
from tunebench_jobs.data.choose import CANDIDATES_FILE
from tunebench_jobs.errors import InputError
from tunebench_jobs.records import load_jsonl
from tunebench_jobs.report.material import Material, PullFacts, Training
from tunebench_jobs.score.outputs import Scored
from tunebench_jobs.score.results import CSV_FILE, LEADERBOARD_FILE, PARQUET_FILE, RESULTS_FILE
from tunebench_jobs.stage import load_result
from tunebench_jobs.train.curve import CURVE_FILE, CurvePoint
from tunebench_jobs.train.layout import CHECKPOINT_FOLDER


def collect_material(scored: Scored, context: StageContext) -> Material:
    """Add to a scored run what the train and data stages tell; what one does not is left out."""
    config, tasks = scored.config, scored.tasks
    data = load_result(context.path(f"{config.data}/{RESULT_FILE}").parent)
    candidates = context.path(f"{config.data}/{CANDIDATES_FILE}")
    return Material(
        results=scored.results,
        tasks=tasks,
        baseline=scored.baseline,
        variants=scored.variants,
        trainings={
            spec.name: load_training(context, spec.train) for spec in config.variants if spec.train
        },
        pulls=load_pulls(candidates, {task.pr for task in tasks}),
        data=data.summary if data else {},
        files=(RESULTS_FILE, LEADERBOARD_FILE, PARQUET_FILE, CSV_FILE),
    )


def load_training(context: StageContext, train: str) -> Training:
    """Return how a model was trained."""
    result = load_result(context.path(f"{train}/{RESULT_FILE}").parent)
    if result is None:
        return Training()
    manifest_file = context.path(f"{train}/{CHECKPOINT_FOLDER}/{MANIFEST_FILE}")
    facts = load_unchecked_manifest(manifest_file.parent).facts if manifest_file.is_file() else None
    curve_file = context.path(f"{train}/{CURVE_FILE}")
    return Training(
        base=facts.base if facts else None,
        method=str(facts.method) if facts else None,
        summary=result.summary,
        curve=tuple(load_jsonl(curve_file, CurvePoint)) if curve_file.is_file() else (),
        started_at=result.started_at,
        finished_at=result.finished_at,
    )


def load_pulls(path: Path, wanted: set[str]) -> dict[str, PullFacts]:
    """Return title and licence of the pull requests that are asked about."""
    if not path.is_file():
        return {}
    with path.open(encoding="utf-8") as lines:
        return dict(_read_pulls(lines, path, wanted))


def _read_pulls(
    lines: Iterable[str], path: Path, wanted: set[str]
) -> Iterable[tuple[str, PullFacts]]:
    for number, line in enumerate(lines, 1):
        try:
            row: Mapping[str, Any] = json.loads(line)
            name = row["id"]
        except (ValueError, KeyError, TypeError) as error:
            msg = f"{path}:{number}: must be a pull request; delete the folder and start again"
            raise InputError(msg, reason="BrokenRow") from error
        if name in wanted:
            yield name, PullFacts(str(row.get("title") or ""), row.get("license"))
