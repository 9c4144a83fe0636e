"""What the commands of `tunebench` share."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, NoReturn

import typer

from tunebench_api.v1alpha1 import BenchmarkRun
from tunebench_operator.local.place import StorePlace, find_place
from tunebench_operator.local.processes import build_command
from tunebench_operator.settings import load_settings


class Output(StrEnum):
    """How a command prints its answer."""

    TEXT = "text"
    JSON = "json"


RunFile = Annotated[
    Path, typer.Argument(metavar="FILE", help="YAML file that holds one BenchmarkRun.")
]
Store = Annotated[
    # Text, because a path would lose a slash of `s3://`.
    str | None,
    typer.Option(
        "--store",
        help="Folder or s3:// address of the artefact store. Default: spec.storage.uri, or "
        "$TUNEBENCH_STORE, or ./runs. The same store never computes the same input twice.",
    ),
]
OutputOption = Annotated[
    Output,
    typer.Option(
        "-o",
        "--output",
        help="json: one JSON document on standard output; all else goes to standard error.",
    ),
]


def place_of(run: BenchmarkRun | None, store: str | None) -> StorePlace:
    """Return the store that a command works with."""
    return find_place(run, store, load_settings().store)


def run_job_tool(
    tool: str, arguments: Sequence[str], environment: Mapping[str, str] = MappingProxyType({})
) -> NoReturn:
    """Run a program of the jobs, and end with its exit code."""
    command = build_command("tunebench_jobs", tool, *arguments)
    variables = {**os.environ, **environment}
    with subprocess.Popen(command, env=variables) as process:  # noqa: S603 - our own module
        while process.returncode is None:
            # Ctrl-C reaches the tool as well, which ends in its own way.
            with contextlib.suppress(KeyboardInterrupt):
                process.wait()
    raise typer.Exit(process.returncode)
