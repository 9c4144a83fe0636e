"""`tunebench dataset from-git`: the history of repositories as a JSONL file of pull requests."""

from __future__ import annotations

import argparse
import json
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tunebench_api.v1alpha1 import GitSource, Tool
from tunebench_jobs.data.drops import RowDrop
from tunebench_jobs.data.git_pulls import DROP_MEANINGS, PullRules
from tunebench_jobs.data.git_source import GitOptions
from tunebench_jobs.data.human import build_human_answer
from tunebench_jobs.data.opened import BrokenRow
from tunebench_jobs.data.sources import open_git
from tunebench_jobs.errors import InputError
from tunebench_jobs.failures import run_tool
from tunebench_jobs.files import replace_file
from tunebench_jobs.rows import PullRequest


def main(arguments: Sequence[str]) -> int:
    """Write the rows, print a summary and return the exit code."""
    options = _build_parser().parse_args(arguments)

    def write() -> str:
        summary = _write(options)
        return json.dumps(summary, indent=1) if options.output == "json" else _build_text(summary)

    return run_tool(write, options.output)


def _write(options: argparse.Namespace) -> dict[str, Any]:
    out: Path = options.out
    if out.suffix != ".jsonl":
        msg = f"`--out` must end in .jsonl, got `{out}`"
        raise InputError(msg)
    source = GitSource(
        repository=options.repository, list=options.list, ref=options.ref, limit=options.limit
    )
    rules = PullRules(human_answers=options.human_answers)
    written, unanswered = 0, 0
    with (
        tempfile.TemporaryDirectory(prefix="tunebench-") as clones,
        replace_file(out) as file,
    ):
        reading = GitOptions(options.limit, rules, options.file_texts, Path(clones))
        opened = open_git(source, reading, dataset="train", field="--list")
        for row in opened.rows:
            if isinstance(row, BrokenRow):
                raise row.build_error()
            pull = _answer(row.pr) if options.human_answers else row.pr
            if pull is None:
                unanswered += 1
                continue
            written += 1
            file.write(pull.model_dump_json(exclude_defaults=True).encode() + b"\n")
    facts = dict(opened.facts)
    reasons = Counter(facts["commits_dropped"])
    reasons.update({str(RowDrop.NO_ANSWER): unanswered} if unanswered else {})
    return {
        **facts,
        "out": str(out),
        "commits_kept": written,
        "commits_dropped": dict(sorted(reasons.items())),
    }


def _answer(pull: PullRequest) -> PullRequest | None:
    """Return a pull request with its human answer, if it has one."""
    answer = build_human_answer(pull)
    return pull.model_copy(update={"answers": {Tool.DESCRIBE: answer.text}}) if answer else None


def _build_text(summary: dict[str, Any]) -> str:
    lines = [
        f"{summary['commits_kept']} of {summary['commits_seen']} commits kept in {summary['out']}"
    ]
    meanings = {str(reason): meaning for reason, meaning in DROP_MEANINGS.items()}
    lines += [
        f"{count:6} dropped: {reason} ({meanings.get(reason, 'no title to learn from')})"
        for reason, count in summary["commits_dropped"].items()
    ]
    return "\n".join(lines)


def _build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="tunebench dataset from-git", description=__doc__)
    place = parser.add_mutually_exclusive_group(required=True)
    place.add_argument("--repository", help="path or clone address of a git repository")
    place.add_argument("--list", help="text file with a repository to a line")
    parser.add_argument("--ref", default="HEAD", help="branch, tag or commit")
    parser.add_argument(
        "--limit", type=_parse_limit, default=1000, help="newest commits to read of each"
    )
    parser.add_argument("--out", type=Path, required=True, help="JSONL file to write")
    parser.add_argument(
        "--human-answers",
        action="store_true",
        help="add the human title and description as answers to Describe",
    )
    parser.add_argument(
        "--file-texts",
        action="store_true",
        help="add the whole files before and after, for prompts that show more of them",
    )
    parser.add_argument("-o", "--output", choices=("text", "json"), default="text")
    return parser


def _parse_limit(text: str) -> int:
    """Parse a positive number, for argparse, which reports the ValueError."""
    limit = int(text)
    if limit < 1:
        raise ValueError(text)
    return limit
