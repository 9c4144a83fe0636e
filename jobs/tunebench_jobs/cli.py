"""Command line of the jobs: stages, and the tools that `tunebench` calls on a laptop."""

from __future__ import annotations

import argparse
import importlib
import logging
from collections.abc import Sequence
from pathlib import Path

from tunebench_api.contract import parse_stage_document
from tunebench_jobs.stage import run_stage

# Name: (module, function taking the remaining arguments and returning the exit code).
TOOLS = {
    "dataset-collect": ("tunebench_jobs.data.github.tool", "main"),
    "dataset-curate": ("tunebench_jobs.curate.tool", "main"),
    "dataset-merge-decisions": ("tunebench_jobs.data.merge_tool", "main"),
    "dataset-build": ("tunebench_jobs.data.build_command", "main"),
    "dataset-publish": ("tunebench_jobs.data.publish.command", "main"),
    "dataset-from-git": ("tunebench_jobs.data.from_git", "main"),
    "store": ("tunebench_jobs.storage.tool", "main"),
    "prompts-check": ("tunebench_jobs.prompts_check", "main"),
    "verdicts-import": ("tunebench_jobs.imports.import_command", "main"),
    "score": ("tunebench_jobs.score.command", "main"),
}


def main(arguments: Sequence[str]) -> int:
    """Run a stage or a tool and return the exit code."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    parser = argparse.ArgumentParser(prog="python -m tunebench_jobs", description=__doc__)
    parser.add_argument("command", choices=("stage", *TOOLS))
    parser.add_argument("rest", nargs=argparse.REMAINDER)
    options = parser.parse_args(arguments)
    if options.command == "stage":
        return _run_stage_command(options.rest)
    module, function = TOOLS[options.command]
    code: int = getattr(importlib.import_module(module), function)(options.rest)
    return code


def _run_stage_command(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tunebench_jobs stage")
    parser.add_argument("--config", type=Path, required=True, help="stage document (JSON)")
    return run_stage(parse_stage_document(parser.parse_args(arguments).config.read_bytes()))
