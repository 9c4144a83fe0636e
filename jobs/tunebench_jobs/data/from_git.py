"""`tunebench dataset from-git`: the history of a repository as a JSONL file of pull requests."""

from __future__ import annotations

import argparse
import json
import logging
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tunebench_api.errors import build_problem_document, parse_problem
from tunebench_api.v1alpha1 import Tool
from tunebench_jobs.data.drops import RowDrop
from tunebench_jobs.data.git_pulls import DROP_MEANINGS
from tunebench_jobs.data.git_source import GitPulls, load_git_pulls
from tunebench_jobs.data.human import build_human_answer
from tunebench_jobs.errors import InputError, JobError
from tunebench_jobs.files import disk_errors, save_text
from tunebench_jobs.records import dump_jsonl
from tunebench_jobs.rows import PullRequest

logger = logging.getLogger(__name__)


def main(arguments: Sequence[str]) -> int:
    """Write the rows, print a summary and return the exit code."""
    options = _build_parser().parse_args(arguments)
    try:
        summary = _write(options)
    except JobError as error:
        logger.error("%s", error)  # noqa: TRY400 - the message is the whole story
        if options.output == "json":
            document = build_problem_document([parse_problem(str(error))])
            sys.stdout.write(f"{json.dumps(document, indent=1)}\n")
        return error.exit_code
    text = json.dumps(summary, indent=1) if options.output == "json" else _build_text(summary)
    sys.stdout.write(f"{text}\n")
    return 0


def build_rows(
    found: GitPulls, *, human_answers: bool
) -> tuple[list[PullRequest], list[PullRequest]]:
    """Return the rows to write, and those that have no human answer though one is wanted."""
    pulls = [pull for pull, _ in found.pulls]
    if not human_answers:
        return pulls, []
    answers = [(pull, build_human_answer(pull)) for pull in pulls]
    return [
        pull.model_copy(update={"answers": {Tool.DESCRIBE: answer.text}})
        for pull, answer in answers
        if answer
    ], [pull for pull, answer in answers if answer is None]


def _write(options: argparse.Namespace) -> dict[str, Any]:
    out: Path = options.out
    if out.suffix != ".jsonl":
        msg = f"`--out` must end in .jsonl, got `{out}`"
        raise InputError(msg)
    with tempfile.TemporaryDirectory(prefix="tunebench-") as clones:
        found = load_git_pulls(
            options.repository,
            ref=options.ref,
            limit=options.limit,
            human_answers=options.human_answers,
            clones=Path(clones),
        )
    rows, unanswered = build_rows(found, human_answers=options.human_answers)
    with disk_errors(out.parent):
        save_text(out, dump_jsonl(rows))
    reasons = Counter(found.reasons)
    reasons.update({str(RowDrop.NO_ANSWER): len(unanswered)} if unanswered else {})
    return {
        "repository": found.repository,
        "ref": found.ref,
        "commit": found.commit,
        "out": str(out),
        "commits_seen": found.seen,
        "commits_kept": len(rows),
        "commits_dropped": dict(sorted(reasons.items())),
    }


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
    parser.add_argument(
        "--repository", required=True, help="path or clone address of a git repository"
    )
    parser.add_argument("--ref", default="HEAD", help="branch, tag or commit")
    parser.add_argument("--limit", type=_parse_limit, default=1000, help="newest commits to read")
    parser.add_argument("--out", type=Path, required=True, help="JSONL file to write")
    parser.add_argument(
        "--human-answers",
        action="store_true",
        help="add the human title and description as answers to Describe",
    )
    parser.add_argument("-o", "--output", choices=("text", "json"), default="text")
    return parser


def _parse_limit(text: str) -> int:
    """Parse a positive number, for argparse, which reports the ValueError."""
    limit = int(text)
    if limit < 1:
        raise ValueError(text)
    return limit
