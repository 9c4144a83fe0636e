"""`tunebench dataset build`: the dataset of a run as files, for people and for other runs."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from tunebench_api.contract import DataConfig, Progress
from tunebench_jobs.data.build import Built, Place, build_dataset
from tunebench_jobs.data.finish import Form
from tunebench_jobs.data.funnel import render_funnel
from tunebench_jobs.data.github import ARCHIVE_FOLDER, GitHubPlace
from tunebench_jobs.data.stage import SOURCES_FOLDER
from tunebench_jobs.data.teacher.replies import REPLIES_FOLDER, Shelf
from tunebench_jobs.errors import RetryableError
from tunebench_jobs.failures import run_tool
from tunebench_jobs.files import disk_errors
from tunebench_jobs.folder_lock import hold_shown_folder


class ProgressLine:
    """Says how far a build is: on a terminal in one line, else with a line for each step."""

    def __init__(self, stream: TextIO) -> None:
        """Write to `stream`."""
        self._stream = stream
        self._is_terminal = stream.isatty()
        self._step = ""

    def show(self, progress: Progress) -> None:
        """Show how far it is."""
        step = progress.message.partition(":")[0]
        if self._is_terminal:
            self._stream.write(f"\r\x1b[K{progress.percent or 0:3} % {progress.message}")
            self._stream.flush()
        elif step != self._step:
            self._stream.write(f"{progress.message}\n")
        self._step = step

    def close(self) -> None:
        """Leave the line."""
        if self._is_terminal and self._step:
            self._stream.write("\r\x1b[K")
            self._stream.flush()


def main(arguments: Sequence[str]) -> int:
    """Build the dataset, print a summary and return the exit code."""
    options = _build_parser().parse_args(arguments)

    def build() -> str:
        built = _build(options)
        if options.output == "json":
            return json.dumps(_build_document(built, options.out), indent=1, ensure_ascii=False)
        return _build_text(built, options.out)

    return run_tool(build, options.output, interrupted="interrupted; start again to build anew")


def _build(options: argparse.Namespace) -> Built:
    config = DataConfig.model_validate_json(options.config.read_bytes())
    line = ProgressLine(sys.stderr)
    place = Place(
        output=options.out,
        sources=options.store / SOURCES_FOLDER,
        shelf=Shelf(options.store / REPLIES_FOLDER),
        collections=GitHubPlace(options.store / ARCHIVE_FOLDER),
        prompts_dir=options.prompts_dir,
        report=line.show,
    )
    try:
        with disk_errors(options.out), _hold(options.out):
            return build_dataset(config, place, Form.ROWS)
    finally:
        line.close()


@contextmanager
def _hold(folder: Path) -> Iterator[None]:
    """Make the folder, and keep other builds out of it."""
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with hold_shown_folder(folder, wait=False):
            yield
    except BlockingIOError as error:
        msg = (
            f"`--out` must be a folder that no other build works in, got `{folder}`; wait for that "
            "one, or name another folder"
        )
        raise RetryableError(msg, reason="FolderInUse") from error


def _build_document(built: Built, out: Path) -> dict[str, Any]:
    return {"out": str(out), "files": list(built.files), **built.summary}


def _build_text(built: Built, out: Path) -> str:
    rows = render_funnel(built.summary["funnel"])
    return "\n".join([f"{out}: {built.message}", "", *rows])


def _build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="tunebench dataset build", description=__doc__)
    parser.add_argument("--config", type=Path, required=True, help="config of the data stage, JSON")
    parser.add_argument("--out", type=Path, required=True, help="folder to write to")
    parser.add_argument("--store", type=Path, required=True, help="folder for clones")
    parser.add_argument("--prompts-dir", type=Path, help="folder of the builtin prompt sets")
    parser.add_argument("-o", "--output", choices=("text", "json"), default="text")
    return parser
