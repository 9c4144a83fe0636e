"""What commands print: the answer on standard output, all else on standard error."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import typer
from rich.console import Console

from tunebench_api.contract import StageKind
from tunebench_api.errors import Problem, build_problem_document, parse_problem
from tunebench_api.v1alpha1 import BenchmarkRunStatus, StageStatus
from tunebench_operator import names

stderr = Console(stderr=True)
_JSON_OPTIONS = ("-o", "--output")


def wants_json(arguments: Sequence[str]) -> bool:
    """Return whether a command line asks for JSON, even one that cannot be parsed."""
    joined = {"-ojson", "-o=json", "--output=json"}
    return any(each in joined for each in arguments) or any(
        option in _JSON_OPTIONS and value == "json"
        for option, value in itertools.pairwise(arguments)
    )


def print_json(document: dict[str, Any]) -> None:
    """Print the one document of a command."""
    typer.echo(json.dumps(document, indent=2, ensure_ascii=False))


def print_problems(problems: Iterable[Problem], arguments: Sequence[str]) -> None:
    """Print what must change as the document of a command, where the command line asks for it."""
    if wants_json(arguments):
        print_json(build_problem_document(problems))


def make_printable(text: str) -> str:
    """Return text without what would steer a terminal: messages quote others' words."""
    return "".join(
        letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text
    )


def say(text: str, style: str = "") -> None:
    """Print lines for people, whatever characters they hold."""
    for line in map(make_printable, text.splitlines()):
        stderr.print(line, style=style, markup=False, highlight=False, soft_wrap=True)


def say_warnings(warnings: Iterable[Problem]) -> None:
    """Print what stops nothing and should be known."""
    for warning in warnings:
        say(f"warning: {warning}", style="yellow")


def say_failures(status: BenchmarkRunStatus, children: Path) -> None:
    """Print every stage that failed, with its reason, its remedy and its log."""
    for stage in failed_stages(status):
        say(f"{stage.name} failed: {stage.reason}: {stage.message}", style="red")
        child = names.child_name(stage.name, stage.digest, stage.attempt)
        say(f"  log: {children / child / 'log.txt'}")


def print_results(status: BenchmarkRunStatus, store: Path, *, as_json: bool) -> None:
    """Print the leaderboard of a run, or where its models stand."""
    if as_json:
        problems = list(_list_problems(status))
        print_json(status.to_wire() | ({"problems": problems} if problems else {}))
    elif status.results:
        typer.echo((store / status.results / "leaderboard.md").read_text(encoding="utf-8"))
    else:
        for model in status.models:
            typer.echo(f"{model.name}: {model.stage} {model.reason} {model.message}")


def print_plan(status: BenchmarkRunStatus, warnings: Sequence[Problem], *, as_json: bool) -> None:
    """Print the stages of a run, and how trainings are sized that leave it open."""
    sized = [model for model in status.models if model.sizing]
    if as_json:
        document: dict[str, Any] = {"stages": [stage.to_wire() for stage in status.stages]}
        document["sizing"] = [{"model": each.name, "sizing": each.sizing} for each in sized]
        print_json(document | {"warnings": [each.to_wire() for each in warnings]})
        return
    width = max(len(stage.name) for stage in status.stages)
    for stage in status.stages:
        typer.echo(f"{stage.name:<{width}}  {stage.digest}  {stage.state:<10} {stage.message}")
    for model in sized:
        typer.echo(f"\n{model.name}: {model.sizing}")


def failed_stages(status: BenchmarkRunStatus) -> list[StageStatus]:
    """Return the stages that failed themselves, not those that only needed one of them."""
    return [stage for stage in status.stages if stage.state == "Failed"]


def variants_without_verdicts(status: BenchmarkRunStatus) -> list[str]:
    """Return what has no row in the leaderboard."""
    judging = f"{StageKind.JUDGE}/"
    return [
        stage.name.removeprefix(judging)
        for stage in status.stages
        if stage.name.startswith(judging) and stage.state in {"Failed", "Skipped"}
    ]


def describe_gaps(status: BenchmarkRunStatus, message: str) -> str:
    """Say what a run that partly succeeded lacks; `message` tells it where that is no variant."""
    variants = variants_without_verdicts(status)
    return f"no result for {', '.join(variants)}" if variants else message


def _list_problems(status: BenchmarkRunStatus) -> Iterator[dict[str, str]]:
    for stage in failed_stages(status):
        for line in stage.message.splitlines() or [""]:
            facts = {"stage": stage.name, "reason": stage.reason}
            yield facts | parse_problem(line).to_wire()
