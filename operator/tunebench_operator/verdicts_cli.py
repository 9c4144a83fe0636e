"""The commands `tunebench verdicts` and `tunebench score`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from tunebench_api.contract import VerdictFormat
from tunebench_operator.cli_options import Output, OutputOption, Store, place_of, run_job_tool
from tunebench_operator.errors import UserError
from tunebench_operator.local.cluster import load_saved_status
from tunebench_operator.local.place import StorePlace
from tunebench_operator.local.runfile import load_named_run

verdicts_app = typer.Typer(help="Bring verdicts of other tools in.", no_args_is_help=True)


@verdicts_app.command("import")
def import_command(  # noqa: PLR0913, PLR0917 - options of a command line
    files: Annotated[
        list[Path],
        typer.Argument(help="AlpacaEval's annotations.json, or JSONL files of judgments."),
    ],
    source: Annotated[VerdictFormat, typer.Option("--format", help="Which tool wrote them.")],
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


def score_command(  # noqa: PLR0913, PLR0917 - options of a command line
    names: Annotated[
        list[str],
        typer.Argument(
            metavar="RUN|FILE|SET...", help="A run, its file, or imported sets to score together."
        ),
    ],
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder to write the files to. Default: none.")
    ] = None,
    from_ledgers: Annotated[  # noqa: FBT002 - a flag of the command line
        bool,
        typer.Option(
            "--from-ledgers",
            help="Read each judge's reply again, also those that came after the run was scored.",
        ),
    ] = False,
    mlflow: Annotated[
        str | None, typer.Option(help="MLflow server, or folder, to log a run to.")
    ] = None,
    experiment: Annotated[str, typer.Option(help="Experiment at MLflow.")] = "tunebench",
    store: Store = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Compute every table once more from stored verdicts; nobody is asked.

    Example: tunebench score ours
    """
    run = load_named_run(names[0]) if len(names) == 1 else None
    place = place_of(run, store)
    place.pull()
    wanted = [run.metadata.name] if run else names
    results = {name: _find_results(place.root, name) for name in wanted}
    arguments = ["--store", place.uri or str(place.root), "-o", output.value]
    arguments += ["--out", str(out)] if out else []
    arguments += ["--mlflow", mlflow, "--experiment", experiment] if mlflow else []
    if any(results.values()):
        arguments += _name_results(place, results)
        arguments += ["--from-ledgers"] if from_ledgers else []
    elif mlflow:
        raise UserError("`--mlflow` must be given with a run, got imported sets")
    else:
        arguments += ["--", *wanted]
    run_job_tool("score", arguments, place.environment)


def _name_results(place: StorePlace, results: Mapping[str, str]) -> list[str]:
    if len(results) > 1:
        known = ", ".join(name for name, folder in results.items() if folder)
        raise UserError(f"a run must be scored alone, got {known} beside others; leave them out")
    ((name, folder),) = results.items()
    arguments = ["--results", folder]
    arguments += ["--scratch", str(place.root)] if place.uri else []
    document = _find_document(place.root / "runs" / name, folder)
    return arguments + (["--document", str(document)] if document else [])


def _find_results(root: Path, name: str) -> str:
    """Return where a run's results lie; nothing where there is no such run, or none yet."""
    status = load_saved_status(root / "runs" / name)
    if status is not None and not status.results:
        raise UserError(f"run `{name}` has no results yet; see `tunebench results {name}`")
    return status.results if status else ""


def _find_document(run_dir: Path, output: str) -> Path | None:
    """Return what the stage was asked, where a version that did not keep it scored the run."""
    for path in sorted(run_dir.glob("children/*/document.json")):
        document = json.loads(path.read_bytes())
        if document.get("runtime", {}).get("output") == output:
            return path
    return None
