"""`tunebench dataset merge-decisions`: bring the files of several people together."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from tunebench_jobs.data.decisions import Merged, dump_decisions, load_decisions
from tunebench_jobs.failures import run_tool
from tunebench_jobs.files import save_text


def main(arguments: Sequence[str]) -> int:
    """Write the merged file, tell the conflicts and return the exit code."""
    options = _build_parser().parse_args(arguments)

    def merge() -> str:
        merged = load_decisions(options.files, "FILES")
        save_text(options.out, dump_decisions(merged.decisions))
        return _build_text(merged, options.out, as_json=options.output == "json")

    return run_tool(merge, options.output)


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
        return json.dumps(document, indent=1)
    lines = [f"{len(merged.decisions)} decisions in {out}; {len(conflicts)} conflicts"]
    return "\n".join([*lines, *conflicts])


def _build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="tunebench dataset merge-decisions", description=__doc__)
    parser.add_argument("files", type=Path, nargs="+", help="files of decisions, in any order")
    parser.add_argument("--out", type=Path, required=True, help="file to write; may be one of them")
    parser.add_argument("-o", "--output", choices=("text", "json"), default="text")
    return parser
