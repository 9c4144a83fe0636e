"""`tunebench dataset merge-decisions`: bring the files of several people together."""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from tunebench_jobs.data.decisions import Merged, dump_decisions, load_decisions
from tunebench_jobs.errors import JobError
from tunebench_jobs.failures import tell_failure
from tunebench_jobs.files import save_text

logger = logging.getLogger(__name__)


def main(arguments: Sequence[str]) -> int:
    """Write the merged file, tell the conflicts and return the exit code."""
    options = _build_parser().parse_args(arguments)
    try:
        merged = load_decisions(options.files, "FILES")
        save_text(options.out, dump_decisions(merged.decisions))
    except JobError as error:
        return tell_failure(error, options.output)
    sys.stdout.write(_build_text(merged, options.out, as_json=options.output == "json"))
    return 0


def _build_text(merged: Merged, out: Path, *, as_json: bool) -> str:
    conflicts = [str(conflict) for conflict in merged.conflicts]
    if as_json:
        document = {
            "out": str(out),
            "decisions": len(merged.decisions),
            "conflicts": [
                {
                    "pr": each.kept.pr,
                    "kept": each.kept.model_dump(mode="json"),
                    "overruled": each.overruled.model_dump(mode="json"),
                }
                for each in merged.conflicts
            ],
        }
        return f"{json.dumps(document, indent=1)}\n"
    lines = [f"{len(merged.decisions)} decisions in {out}; {len(conflicts)} conflicts"]
    return "".join(f"{line}\n" for line in [*lines, *conflicts])


def _build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="tunebench dataset merge-decisions", description=__doc__)
    parser.add_argument("files", type=Path, nargs="+", help="files of decisions, in any order")
    parser.add_argument("--out", type=Path, required=True, help="file to write; may be one of them")
    parser.add_argument("-o", "--output", choices=("text", "json"), default="text")
    return parser
