"""A finished run's tables once more, from what lies in the store."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from tunebench_api.contract import ScoreConfig, parse_stage_document
from tunebench_jobs.context import StageContext
from tunebench_jobs.errors import InputError
from tunebench_jobs.records import describe_validation_error
from tunebench_jobs.score.outcomes import JudgedVariant
from tunebench_jobs.score.outputs import CONFIG_FILE, Scored
from tunebench_jobs.score.replay import Replay, replay_variants
from tunebench_jobs.score.results import RESULTS_FILE
from tunebench_jobs.score.stage import build_scored


@dataclass(frozen=True)
class Rescored:
    """What was computed, and which parts are not those of the stored results."""

    scored: Scored
    digest: str
    # Folder of the stored results.
    folder: Path
    differs: tuple[str, ...]
    replay: Replay


def score_again(context: StageContext, document: Path | None, *, from_ledgers: bool) -> Rescored:
    """Score a run whose results lie in the context's output, such as `score/<digest>`.

    `from_ledgers` takes every verdict from the judge's reply instead of the judge stage's row.

    Raises:
        InputError: Nobody knows what the results were computed from, or a part of it is gone.
    """
    output = context.runtime.output
    folder = context.path(output)
    config = _load_config(folder, document)
    replays = []

    def amend(variants: Sequence[JudgedVariant]) -> Sequence[JudgedVariant]:
        replays.append(replay_variants(variants, context))
        return replays[0].variants if from_ledgers else variants

    scored = build_scored(config, context, amend)
    stored = folder / RESULTS_FILE
    before = stored.read_text(encoding="utf-8", errors="replace") if stored.is_file() else "{}"
    differs = tuple(list_differences(before, scored.results_text))
    return Rescored(scored, folder.name, folder, differs, replays[0])


def _load_config(folder: Path, document: Path | None) -> ScoreConfig:
    path = folder / CONFIG_FILE
    try:
        if path.is_file():
            return ScoreConfig.model_validate_json(path.read_bytes())
        # A version that did not keep it.
        config = parse_stage_document(document.read_bytes()).config if document else None
    except ValidationError as error:
        msg = f"`{path}` is damaged: {describe_validation_error(error)}"
        raise InputError(msg, reason="BrokenResult") from error
    if not isinstance(config, ScoreConfig):
        msg = f"`{path}` must say what was scored, got none; start the run again, which writes it"
        raise InputError(msg, reason="ResultMissing")
    return config


def list_differences(before: str, after: str) -> Iterator[str]:
    """Yield the top-level parts that differ; none where the bytes are the same."""
    if before == after:
        return
    try:
        old = json.loads(before)
    except ValueError:
        old = None
    if not isinstance(old, dict):
        yield "all of it, which is no JSON object"
        return
    new = json.loads(after)
    parts = sorted(name for name in {*old, *new} if old.get(name) != new.get(name))
    yield from parts or ["the layout of the file"]
