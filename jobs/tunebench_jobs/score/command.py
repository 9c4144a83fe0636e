"""`tunebench score`: every table once more from stored verdicts, without asking anybody."""

from __future__ import annotations

import argparse
import logging
import os
from collections.abc import Sequence
from pathlib import Path

from tunebench_api.contract import Runtime
from tunebench_api.v1alpha1 import StatisticsSpec
from tunebench_jobs.context import StageContext
from tunebench_jobs.errors import InputError
from tunebench_jobs.failures import run_tool
from tunebench_jobs.files import save_text
from tunebench_jobs.imports.arrange import Filed
from tunebench_jobs.imports.markdown import render_imports
from tunebench_jobs.imports.results import ScoredSet
from tunebench_jobs.imports.score import score_imports
from tunebench_jobs.imports.store import load_set
from tunebench_jobs.report.save import save_report
from tunebench_jobs.score.again import Rescored, score_again
from tunebench_jobs.score.outputs import save_outputs
from tunebench_jobs.score.results import LEADERBOARD_FILE, RESULTS_FILE
from tunebench_jobs.score.stage import list_versions
from tunebench_jobs.tracking.entry import build_tracked_run, list_tracked_files
from tunebench_jobs.tracking.mlflow import send_to_mlflow

logger = logging.getLogger(__name__)


def main(arguments: Sequence[str]) -> int:
    """Score, print the tables or all numbers, and return the exit code."""
    options = _build_parser().parse_args(arguments)
    score = _score_run if options.results else _score_imports
    return run_tool(lambda: score(options).removesuffix("\n"), options.output)


def _score_run(options: argparse.Namespace) -> str:
    runtime = Runtime(
        store=options.store, scratch=options.scratch, output=options.results, report=""
    )
    context = StageContext(runtime)
    again = score_again(context, options.document, from_ledgers=options.from_ledgers)
    level = logging.WARNING if again.replay.different else logging.INFO
    logger.log(level, "%s", again.replay)
    if again.differs:
        logger.warning(
            "these are not the bytes of the stored %s; it differs in %s",
            RESULTS_FILE,
            ", ".join(again.differs),
        )
    if options.out:
        save_outputs(again.scored, options.out)
        save_report(again.scored, context, options.out)
    if options.mlflow:
        _track(again, options)
    return again.scored.results_text if options.output == "json" else again.scored.leaderboard


def _track(again: Rescored, options: argparse.Namespace) -> None:
    files = list_tracked_files(again.folder)
    run = build_tracked_run(again.scored.results, again.digest, files)
    tracked = send_to_mlflow(options.mlflow, options.experiment, run, os.environ)
    logger.log(logging.WARNING if tracked.problem else logging.INFO, "%s", tracked.message)


def _score_imports(options: argparse.Namespace) -> str:
    # What several sets hold counts once.
    filed: dict[tuple[str, ...], Filed] = {}
    sets = []
    for name in dict.fromkeys(options.names):
        loaded = load_set(Path(options.store), name)
        if loaded is None:
            raise InputError(_describe_absence(Path(options.store), name), reason="UnknownImport")
        manifest = loaded.manifest
        for row, entry in zip(loaded.rows, loaded.entries, strict=True):
            filed[manifest.format, row.key, row.baseline] = Filed(manifest.format, row, entry)
        sets.append(
            ScoredSet(
                name=name,
                format=manifest.format,
                sources=manifest.sources,
                left_out=manifest.left_out,
            )
        )
    results = score_imports(
        sets,
        list(filed.values()),
        resamples=options.resamples,
        seed=options.seed,
        versions=list_versions(),
    )
    text = results.model_dump_json(by_alias=True, indent=1) + "\n"
    tables = render_imports(results)
    if options.out:
        save_text(options.out / RESULTS_FILE, text)
        save_text(options.out / LEADERBOARD_FILE, tables)
    return text if options.output == "json" else tables


def _describe_absence(store: Path, name: str) -> str:
    kinds = (("runs", "runs/*/status.json"), ("imported sets", "imports/*/import.json"))
    have = [
        f"{kind} {', '.join(names)}"
        for kind, pattern in kinds
        if (names := sorted(path.parent.name for path in store.glob(pattern)))
    ]
    return (
        f"store `{store}` must have a run or an imported set `{name}`; it has "
        f"{' and '.join(have) or 'neither'}"
    )


def _build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="tunebench score", description=__doc__)
    parser.add_argument("names", nargs="*", help="imported sets, scored together")
    parser.add_argument("--store", required=True, help="folder or s3:// address of the store")
    parser.add_argument("--scratch", help="folder for copies of a store that lies elsewhere")
    parser.add_argument("--results", help="score/DIGEST of a run, in place of imported sets")
    parser.add_argument("--document", type=Path, help="stage document that asked for the results")
    parser.add_argument("--from-ledgers", action="store_true", help="verdicts from the replies")
    parser.add_argument("--out", type=Path, help="folder to write the files to")
    parser.add_argument(
        "--resamples", type=int, default=StatisticsSpec().resamples, help="of imported sets"
    )
    parser.add_argument("--seed", type=int, default=0, help="of imported sets")
    parser.add_argument("--mlflow", help="tracking server or folder to log a run to")
    parser.add_argument("--experiment", default="tunebench", help="at MLflow")
    parser.add_argument("-o", "--output", choices=("text", "json"), default="text")
    return parser
