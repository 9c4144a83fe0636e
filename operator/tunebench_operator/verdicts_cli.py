"""The commands `tunebench verdicts`."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from tunebench_operator.cli_options import Output, OutputOption, Store, place_of, run_job_tool
from tunebench_operator.errors import UserError

verdicts_app = typer.Typer(help="Bring verdicts of other tools in.", no_args_is_help=True)


class Format(StrEnum):
    """Whose files can be read."""

    ALPACA_EVAL = "alpaca-eval"
    ARENA_HARD = "arena-hard"
    FASTCHAT = "fastchat"


@verdicts_app.command("import")
def import_command(  # noqa: PLR0913, PLR0917 - options of a command line
    files: Annotated[
        list[Path],
        typer.Argument(help="AlpacaEval's annotations.json, or JSONL files of judgments."),
    ],
    source: Annotated[Format, typer.Option("--format", help="Which tool wrote them.")],
    name: Annotated[
        str | None, typer.Option(help="Name of the set. Default: made from the files' contents.")
    ] = None,
    baseline: Annotated[
        str | None,
        typer.Option(
            help="Model that the others are compared with; others' comparisons are left out. "
            "Default: what the files say."
        ),
    ] = None,
    skip_broken: Annotated[  # noqa: FBT002 - a flag of the command line
        bool,
        typer.Option("--skip-broken", help="Count rows that cannot be read, and go on."),
    ] = False,
    store: Store = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Bring published verdicts into the ledger, so that `tunebench score` can score them again.

    Errors of the other tool become missing verdicts, never losses or ties; graded preferences keep
    their value.

    Example: tunebench verdicts import --format alpaca-eval annotations.json --name published
    """
    place = place_of(None, store)
    if place.uri is not None:
        raise UserError(f"`--store` must be a folder for imports, got {place.uri}")
    arguments = ["--format", source.value, "--store", str(place.root), "-o", output.value]
    arguments += [f"--name={name}"] if name is not None else []
    arguments += [f"--baseline={baseline}"] if baseline is not None else []
    arguments += ["--skip-broken"] if skip_broken else []
    run_job_tool("verdicts-import", [*arguments, "--", *map(str, files)])
