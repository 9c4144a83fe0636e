"""The commands `tunebench dataset`."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from tunebench_api.advice import find_warnings
from tunebench_operator import collecting
from tunebench_operator.cli_options import (
    Output,
    OutputOption,
    RunFile,
    Store,
    place_of,
    run_job_tool,
)
from tunebench_operator.errors import UserError
from tunebench_operator.graph import build_graph
from tunebench_operator.local.place import build_environment
from tunebench_operator.local.processes import build_command
from tunebench_operator.local.runfile import load_run, load_source_digests
from tunebench_operator.printing import say_warnings
from tunebench_operator.settings import load_settings

# What a dataset is made from; the rest of a run may not be there yet.
_DATASET_PARTS = ("spec.dataset.", "spec.prompts.")

dataset_app = typer.Typer(help="Make datasets.", no_args_is_help=True)


@dataset_app.command("from-git")
def from_git_command(  # noqa: PLR0913, PLR0917 - options of a command line
    out: Annotated[Path, typer.Option("--out", help="JSONL file to write.")],
    # Text, because a path would lose a slash of an address.
    repository: Annotated[
        str | None, typer.Argument(help="Path or clone address of a git repository.")
    ] = None,
    listed: Annotated[
        str | None, typer.Option("--list", help="Text file with a repository to a line.")
    ] = None,
    ref: Annotated[str, typer.Option(help="Branch, tag or commit.")] = "HEAD",
    limit: Annotated[int, typer.Option(min=1, help="Newest commits to look at in each.")] = 1000,
    human_answers: Annotated[  # noqa: FBT002 - a flag of the command line
        bool,
        typer.Option("--human-answers", help="Add the human title and description as answers."),
    ] = False,
    file_texts: Annotated[  # noqa: FBT002 - likewise
        bool,
        typer.Option("--file-texts", help="Add whole files, for prompts that show more of them."),
    ] = False,
    output: OutputOption = Output.TEXT,
) -> None:
    """Turn the merge, squash and rebase commits of repositories into pull requests."""
    if (repository is None) == (listed is None):
        msg = "give either a repository or `--list FILE`"
        raise typer.BadParameter(msg)
    place = ["--repository", repository] if repository else ["--list", str(listed)]
    arguments = [*place, "--out", str(out), "--ref", ref]
    arguments += ["--limit", str(limit), "-o", output.value]
    flags = {"--human-answers": human_answers, "--file-texts": file_texts}
    arguments += [flag for flag, given in flags.items() if given]
    run_job_tool("dataset-from-git", arguments)


@dataset_app.command("collect")
def collect_command(  # noqa: PLR0913, PLR0917 - options of a command line
    out: Annotated[Path, typer.Option("--out", help="JSONL file to write.")],
    file: collecting.File = None,
    split: collecting.SplitOption = None,
    repository: collecting.Repositories = None,
    search: collecting.Search = None,
    max_repositories: collecting.MaxRepositories = None,
    limit: collecting.Limit = None,
    merged_after: collecting.MergedAfter = None,
    file_contents: collecting.FileContents = False,  # noqa: FBT002 - a flag of the command line
    api_base: collecting.ApiBase = None,
    token_variable: collecting.TokenVariable = None,
    store: Store = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Collect merged pull requests from GitHub.

    What came is kept in the store: started again, it goes on where it was, and asks only for what
    is new.

    Example: tunebench dataset collect --repository acme/inventory --limit 200 --out prs.jsonl
    """
    if file and (repository or search):
        raise UserError(
            "`--repository` and `--search` must not be given with a file; leave one out"
        )
    run = load_run(file) if file else None
    asked = (
        collecting.find_source(run, split)
        if run
        else collecting.build_source(
            token_variable,
            repositories=repository,
            search=search,
            maxRepositories=max_repositories,
            limit=limit,
            mergedAfter=merged_after,
            fileContents="Fetch" if file_contents else None,
            apiBase=api_base,
        )
    )
    arguments = ["--source", json.dumps(asked.source.to_wire()), f"--field={asked.field}"]
    arguments += ["--store", str(place_of(run, store).root), "--out", str(out)]
    run_job_tool("dataset-collect", [*arguments, "-o", output.value])


@dataset_app.command("curate")
def curate_command(  # noqa: PLR0913, PLR0917 - options of a command line
    candidates: Annotated[
        Path,
        typer.Argument(help="JSONL or Parquet file of pull requests, or a folder of a data stage."),
    ],
    decisions: Annotated[
        Path, typer.Option(help="JSONL file to keep the decisions in; made if it is absent.")
    ],
    per_tool: Annotated[int, typer.Option(min=1, help="Pull requests that are wanted.")] = 100,
    seed: Annotated[int, typer.Option(help="Decides the order of candidates that are alike.")] = 1,
    by: Annotated[str, typer.Option(help="Name to sign with. Default: that of git.")] = "",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any that is free.")] = 0,
    open_page: Annotated[  # noqa: FBT002 - a flag of the command line
        bool, typer.Option("--open", help="Open the page in the browser.")
    ] = False,
    output: OutputOption = Output.TEXT,
) -> None:
    """Read candidates on a page of this machine, and accept, reject or edit each.

    Every decision is saved at once. A run uses them by spec.dataset.eval.decisions.
    """
    arguments = [str(candidates), "--decisions", str(decisions), "--per-tool", str(per_tool)]
    arguments += ["--seed", str(seed), f"--by={by}", "--port", str(port), "-o", output.value]
    command = build_command("tunebench_jobs", "dataset-curate", *arguments)
    # In the place of this process, so that an interrupt is the page's alone.
    os.execv(command[0], [*command, *(["--open"] if open_page else [])])  # noqa: S606 - no shell


@dataset_app.command("merge-decisions")
def merge_decisions_command(
    files: Annotated[list[Path], typer.Argument(help="Files of decisions, in any order.")],
    out: Annotated[Path, typer.Option("--out", help="File to write; may be one of them.")],
    output: OutputOption = Output.TEXT,
) -> None:
    """Bring decisions of several people together; the newer one about a pull request counts."""
    arguments = ["--out", str(out), "-o", output.value, *map(str, files)]
    run_job_tool("dataset-merge-decisions", arguments)


@dataset_app.command("build")
def dataset_build_command(
    file: RunFile,
    out: Annotated[Path, typer.Option("--out", help="Folder to write the dataset to.")],
    store: Store = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Carry out the dataset of a run file, and train nothing.

    Writes the pull requests to train on and to ask about, with their answers, as Parquet files
    that `spec.dataset` of other runs can name; what was left out, with the reasons; and a manifest.
    Starting it again gives the same files.

    Example: tunebench dataset build run.yaml --out dataset
    """
    run = load_run(file)
    settings = load_settings()
    sources = load_source_digests(run, settings.prompts_dir, _DATASET_PARTS)
    config = build_graph(run, sources).data.config
    say_warnings(find_warnings(run))
    place = place_of(run, store)
    with tempfile.TemporaryDirectory(prefix="tunebench-") as folder:
        document = Path(folder) / "config.json"
        document.write_text(config.model_dump_json(by_alias=True), encoding="utf-8")
        arguments = ["--config", str(document), "--out", str(out), "--store", str(place.root)]
        arguments += ["--prompts-dir", str(settings.prompts_dir), "-o", output.value]
        run_job_tool("dataset-build", arguments, build_environment(run.spec.storage))


@dataset_app.command("publish")
def publish_command(
    folder: Annotated[Path, typer.Argument(help="What `tunebench dataset build` wrote.")],
    # Text, because a path would lose a slash of an address.
    to: Annotated[
        str,
        typer.Option("--to", help="hf://datasets/OWNER/NAME, s3://BUCKET/FOLDER, or a folder."),
    ],
    private: Annotated[  # noqa: FBT002 - a flag of the command line
        bool, typer.Option("--private/--public", help="Who may see a dataset of the hub.")
    ] = True,
    with_dropped: Annotated[  # noqa: FBT002 - likewise
        bool,
        typer.Option(
            "--with-dropped",
            help="Also what was left out and what might be asked: it may hold secrets.",
        ),
    ] = False,
    output: OutputOption = Output.TEXT,
) -> None:
    """Bring a dataset with its card to the Hugging Face hub, a bucket or a folder.

    Starting it again sends what has not arrived. HF_TOKEN must be able to write to the hub.

    Example: tunebench dataset publish dataset --to hf://datasets/acme/prs
    """
    arguments = [str(folder), f"--to={to}", "-o", output.value]
    flags = {"--no-private": not private, "--with-dropped": with_dropped}
    arguments += [flag for flag, given in flags.items() if given]
    run_job_tool("dataset-publish", arguments)
