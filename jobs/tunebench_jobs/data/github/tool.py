"""`tunebench dataset collect`: what a source on GitHub names as a JSONL file of pull requests."""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

from tunebench_api.v1alpha1 import GitHubSource
from tunebench_jobs.data.github.client import Usage
from tunebench_jobs.data.github.source import (
    ARCHIVE_FOLDER,
    GitHubPlace,
    find_github_token,
    open_github,
)
from tunebench_jobs.errors import InputError
from tunebench_jobs.failures import run_tool
from tunebench_jobs.files import check_writable, replace_file

logger = logging.getLogger(__name__)

_CLEAR_LINE = "\r\x1b[K"
_QUIET_SECONDS = 30.0


def main(arguments: Sequence[str]) -> int:
    """Collect, write the rows, print a summary and return the exit code."""
    options = _build_parser().parse_args(arguments)
    logging.getLogger("httpx").setLevel(logging.WARNING)

    def collect() -> str:
        progress = _Progress(sys.stderr)
        try:
            summary = _write(options, progress)
        finally:
            progress.end()
        return json.dumps(summary, indent=1) if options.output == "json" else _build_text(summary)

    words = "interrupted; what came is kept, start again to continue"
    return run_tool(collect, options.output, interrupted=words)


class _Progress:
    """One line on a terminal; elsewhere a line of the log now and then."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream
        self._is_terminal = stream.isatty()
        self._said = -_QUIET_SECONDS

    def say(self, text: str) -> None:
        """Show how far it is."""
        if self._is_terminal:
            self._stream.write(f"{_CLEAR_LINE}{text}")
            self._stream.flush()
        elif time.monotonic() - self._said >= _QUIET_SECONDS:
            self._said = time.monotonic()
            logger.info("%s", text)

    def end(self) -> None:
        """Leave an empty line to whoever writes next."""
        if self._is_terminal:
            self._stream.write(_CLEAR_LINE)
            self._stream.flush()


def _write(options: argparse.Namespace, progress: _Progress) -> dict[str, Any]:
    out: Path = options.out
    if out.suffix != ".jsonl":
        msg = f"`--out` must end in .jsonl, got `{out}`"
        raise InputError(msg)
    source = GitHubSource.from_wire(json.loads(options.source))
    # Known before hours of collecting; the file is begun after them, so that no kill leaves a part.
    check_writable(out)
    found = open_github(
        source,
        field=options.field,
        token=find_github_token(source, options.field, os.environ),
        place=GitHubPlace(options.store / ARCHIVE_FOLDER, report=progress.say),
    )
    with replace_file(out) as file:
        for row in found.rows:
            file.write(row.pr.model_dump_json().encode() + b"\n")
    return {
        **found.facts,
        "out": str(out),
        **_build_usage(found.usage),
    }


def _build_usage(usage: Usage) -> dict[str, Any]:
    return {
        "requests": usage.requests,
        "requests_not_modified": usage.not_modified,
        "requests_repeated": usage.retries,
        "waited_seconds": round(usage.waited_seconds, 1),
    }


def _build_text(summary: dict[str, Any]) -> str:
    pulls = f"{summary['pulls_kept']} of {summary['pulls_seen']} pull requests"
    lines = [
        f"{pulls} of {len(summary['repositories'])} repositories in {summary['out']}",
        f"{summary['requests']} requests; {summary['requests_not_modified']} found nothing new",
    ]
    if not summary.get("search_complete", True):
        lines.append("the search found more than GitHub shows")
    lines += [f"{count:6} dropped: {reason}" for reason, count in summary["pulls_dropped"].items()]
    lines += [
        f"repository {name} cannot be had: {reason}"
        for name, reason in summary["repositories_unavailable"].items()
    ]
    return "\n".join(lines)


def _build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="tunebench dataset collect", description=__doc__)
    parser.add_argument("--source", required=True, help="`gitHub` of a run, as JSON")
    parser.add_argument("--field", default="", help="its place in a run, for messages")
    parser.add_argument("--store", type=Path, required=True, help="folder that keeps what came")
    parser.add_argument("--out", type=Path, required=True, help="JSONL file to write")
    parser.add_argument("-o", "--output", choices=("text", "json"), default="text")
    return parser
