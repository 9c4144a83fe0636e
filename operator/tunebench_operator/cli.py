"""The command line, `tunebench`."""

from __future__ import annotations

import asyncio
import errno
import logging
import sys
import webbrowser
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

from tunebench_api.advice import find_warnings
from tunebench_api.errors import InvalidRunError, Problem, parse_problem
from tunebench_api.unsupported import Backend
from tunebench_api.v1alpha1 import BenchmarkRun, BenchmarkRunStatus
from tunebench_operator import names, reasons
from tunebench_operator.cli_options import (
    Output,
    OutputOption,
    RunFile,
    Store,
    place_of,
    run_job_tool,
)
from tunebench_operator.dataset_cli import dataset_app
from tunebench_operator.errors import UserError
from tunebench_operator.installation import load_installation, load_pools
from tunebench_operator.local.cluster import LocalCluster, load_saved_status
from tunebench_operator.local.display import Display
from tunebench_operator.local.machine import find_machines, load_shapes
from tunebench_operator.local.runfile import (
    load_named_run,
    load_run,
    load_source_digests,
    parse_file,
)
from tunebench_operator.local.supervisor import Ending, drive
from tunebench_operator.observed import Observed
from tunebench_operator.plan import plan
from tunebench_operator.printing import (
    describe_gaps,
    failed_stages,
    print_json,
    print_plan,
    print_problems,
    print_results,
    say,
    say_failures,
    say_warnings,
    stderr,
)
from tunebench_operator.settings import load_settings
from tunebench_operator.trainings import find_contradictions
from tunebench_operator.verdicts_cli import score_command, verdicts_app

# Time does not heal these.
_USERS_ERRORS = {
    *(errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.ELOOP),
    *(errno.EACCES, errno.EPERM, errno.EROFS),
}
EXIT_FAILED, EXIT_USER, EXIT_PARTIAL, EXIT_INTERRUPTED = 1, 2, 3, 130


class _Commands(TyperGroup):
    """Says in JSON too, where that is asked for, what is wrong with a command line."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command that the arguments name."""
        try:
            return super().invoke(ctx)
        except typer.TyperException as error:
            print_problems([Problem("", error.format_message())], sys.argv[1:])
            raise


app = typer.Typer(
    cls=_Commands,
    help="Fine-tune open models, judge them against a baseline, and rank them.\n\n"
    "Exit codes: 0 done; 1 failed, may succeed when started again; 2 something in your files or "
    "environment must change; 3 done, but some models failed; 130 interrupted, start again to "
    "continue.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
prompts_app = typer.Typer(help="Look at prompt sets.", no_args_is_help=True)
app.add_typer(dataset_app, name="dataset")
app.add_typer(prompts_app, name="prompts")
app.add_typer(verdicts_app, name="verdicts")
app.command("score")(score_command)


def _show_version(wanted: bool) -> None:  # noqa: FBT001 - the signature of a callback
    if wanted:
        try:
            typer.echo(f"tunebench {version('tunebench')}")
        except PackageNotFoundError:
            typer.echo("tunebench, from a checkout that is not installed")
        raise typer.Exit


@app.callback()
def main_options(
    _version: Annotated[  # noqa: FBT002 - a flag of the command line
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """Do what stands before every command."""


@app.command("run")
def run_command(file: RunFile, store: Store = None, output: OutputOption = Output.TEXT) -> None:
    """Carry out a run on this machine, and print the leaderboard.

    Starting it again continues where it was: finished stages, completions and verdicts are kept.

    Example: tunebench run manifests/samples/quickstart.yaml
    """
    run = load_run(file)
    settings = load_settings()
    sources = load_source_digests(run, settings.prompts_dir)
    machines = find_machines(run)
    say_warnings(find_warnings(run))
    place = place_of(run, store)
    place.pull()
    cluster = LocalCluster(
        place,
        run.metadata.name,
        prompts_dir=settings.prompts_dir,
        machines=machines,
        shapes=load_shapes(run),
    )
    with Display(stderr) as display:
        ending = drive(run, cluster, sources, display.show)
    print_results(ending.status, place.root, as_json=output is Output.JSON)
    raise typer.Exit(_explain(ending, run, place.root))


@app.command("validate")
def validate_command(
    file: RunFile,
    output: OutputOption = Output.TEXT,
    *,
    cluster: Annotated[
        bool,
        typer.Option(
            "--cluster", help="Check it as the operator does; what it points to is not looked at."
        ),
    ] = False,
) -> None:
    """Check a run file and everything on this machine that it points to."""
    if cluster:
        run = parse_file(file, Backend.KUBERNETES)
    else:
        run = load_run(file)
        load_source_digests(run, load_settings().prompts_dir)
        find_machines(run)
    warnings = find_warnings(run)
    say_warnings(warnings)
    if output is Output.JSON:
        document = {"valid": True, "name": run.metadata.name}
        print_json(document | {"warnings": [each.to_wire() for each in warnings]})
    else:
        typer.echo(f"{file}: BenchmarkRun {run.metadata.name} is valid")


@app.command("plan")
def plan_command(
    file: RunFile,
    store: Store = None,
    output: OutputOption = Output.TEXT,
    *,
    values: Annotated[
        Path | None,
        typer.Option(
            "--values",
            help="Helm values of tunebench: plan for a cluster with these pools, of whose store "
            "nothing is known here.",
        ),
    ] = None,
) -> None:
    """Show the stages of a run, which of them are done, and how trainings are sized and why."""
    run, observed = _observe_for_cluster(file, values) if values else _observe_here(file, store)
    status = plan(run, observed, now=datetime.now(UTC)).status
    warnings = find_warnings(run)
    say_warnings(warnings)
    print_plan(status, warnings, as_json=output is Output.JSON)


@app.command("results")
def results_command(
    name: Annotated[str, typer.Argument(metavar="RUN|FILE", help="Name of a run, or its file.")],
    store: Store = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Print the leaderboard of a run."""
    root, status = _load_saved(name, store)
    print_results(status, root, as_json=output is Output.JSON)


@app.command("report")
def report_command(
    name: Annotated[str, typer.Argument(metavar="RUN|FILE", help="Name of a run, or its file.")],
    store: Store = None,
    output: OutputOption = Output.TEXT,
    open_page: Annotated[  # noqa: FBT002 - a flag of the command line
        bool, typer.Option("--open", help="Open the report with every comparison in a browser.")
    ] = False,
) -> None:
    """Print the report of a run: Markdown, or with -o json all numbers.

    Where the report for a browser lies is said on standard error.
    """
    root, status = _load_saved(name, store)
    if not status.results:
        raise UserError(f"run `{name}` has no results yet; see `tunebench results {name}`")
    _point_to_page(root / status.results / "report.html", open_page=open_page)
    wanted = "results.json" if output is Output.JSON else "leaderboard.md"
    typer.echo((root / status.results / wanted).read_text(encoding="utf-8"), nl=False)


@app.command("operator")
def operator_command(
    installation: Annotated[
        Path, typer.Option(help="YAML file that says what children are built with.")
    ],
    namespace: Annotated[
        str | None, typer.Option(help="Watch this namespace only. Default: all.")
    ] = None,
    lease_namespace: Annotated[
        str | None, typer.Option(help="Namespace of the lease by which one of several leads.")
    ] = None,
    port: Annotated[int, typer.Option(help="Port of /healthz, /readyz and /metrics.")] = 8080,
    sweep_seconds: Annotated[
        float, typer.Option(min=1, help="Between two listings of all that the watches may miss.")
    ] = 300.0,
) -> None:
    """Drive the BenchmarkRuns of a cluster. The Helm chart runs this."""
    # Only here, because it takes a second to import.
    from tunebench_operator.operate import OperatorOptions, operate  # noqa: PLC0415

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    options = OperatorOptions(namespace, lease_namespace, port, sweep_seconds)
    asyncio.run(operate(load_installation(installation), options))


@prompts_app.command("check")
def prompts_check_command(
    directory: Annotated[Path, typer.Argument(help="Folder of TOML files, PR-Agent's own too.")],
    output: OutputOption = Output.TEXT,
) -> None:
    """Load a prompt set and render it for a built-in pull request."""
    run_job_tool("prompts-check", [str(directory), "-o", output.value])


def main() -> None:
    """Run the command line; mistakes of the user end with code 2 and no traceback."""
    try:
        app()
    except InvalidRunError as error:
        _give_up(error.problems, EXIT_USER)
    except UserError as error:
        _give_up([parse_problem(str(error))], EXIT_USER)
    except OSError as error:
        if error.errno in _USERS_ERRORS:
            _give_up(
                [Problem("", f"{error}; correct the path, or what may be done there")], EXIT_USER
            )
        _give_up([Problem("", f"{error}; finished work is kept, start again")], EXIT_FAILED)


def _observe_here(file: Path, store: str | None) -> tuple[BenchmarkRun, Observed]:
    """Return a run of this machine, and what of it is done."""
    run = load_run(file)
    sources = load_source_digests(run, load_settings().prompts_dir)
    machines = find_machines(run)
    place = place_of(run, store)
    place.pull()
    name = run.metadata.name
    return run, LocalCluster.peek(place.root, name, sources, machines, load_shapes(run))


def _observe_for_cluster(file: Path, values: Path) -> tuple[BenchmarkRun, Observed]:
    """Return a run as the operator of a new cluster would see it."""
    run = parse_file(file, Backend.KUBERNETES)
    machines = {pool.name: pool.build_machines() for pool in load_pools(values)}
    problems = find_contradictions(run, machines)
    if problems:
        raise InvalidRunError(problems)
    return run, Observed(machines=machines)


def _give_up(problems: Sequence[Problem], code: int) -> NoReturn:
    for problem in problems:
        say(f"error: {problem}", style="red")
    print_problems(problems, sys.argv[1:])
    sys.exit(code)


def _load_saved(name: str, store: str | None) -> tuple[Path, BenchmarkRunStatus]:
    run = load_named_run(name)
    root = place_of(run, store).root
    run_name = run.metadata.name if run else name
    status = load_saved_status(root / "runs" / run_name)
    if status is None:
        known = sorted(path.parent.name for path in root.glob("runs/*/status.json"))
        have = f"it has {', '.join(known)}" if known else "it has none"
        raise UserError(f"store `{root}` must have a run `{run_name}`; {have}")
    return root, status


def _point_to_page(page: Path, *, open_page: bool) -> None:
    """Say where the report for a browser lies, and open it where that is asked for."""
    if not page.is_file():
        # Results of an earlier version have none.
        say(f"there is no `{page}`; start the run again, which scores anew without asking a judge")
        return
    say(f"with every comparison, for a browser: {page.resolve()}")
    if open_page and not webbrowser.open(page.resolve().as_uri()):
        say("no browser could be started here; open the file in one")


def _explain(ending: Ending, run: BenchmarkRun, root: Path) -> int:
    """Say how the run ended on standard error and return the exit code."""
    summary = next(each for each in ending.status.conditions if each.type == names.SUCCEEDED)
    if ending.interrupted and summary.status == "Unknown":
        say("interrupted; finished work is kept, start again to continue")
        return EXIT_INTERRUPTED
    codes = {
        reasons.SUCCEEDED: 0,
        reasons.PARTIALLY_SUCCEEDED: EXIT_PARTIAL,
        reasons.SUSPENDED: 0,
    }
    code = codes.get(summary.reason)
    if code is None or code == EXIT_PARTIAL:
        gaps = describe_gaps(ending.status, summary.message) if code else "no result for the run"
        say(f"{summary.reason}: {gaps}")
        say_failures(ending.status, root / "runs" / run.metadata.name / "children")
    else:
        say(f"{summary.reason}: {summary.message}")
    return _failure_code(ending) if code is None else code


def _failure_code(ending: Ending) -> int:
    """Return 2 when what failed can only be mended by the user."""
    retryable = any(stage.retryable for stage in failed_stages(ending.status))
    return EXIT_FAILED if retryable else EXIT_USER
