"""What `tunebench dataset collect` is asked for: a source of a run, or one made of options."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, NamedTuple

import typer
from pydantic import ValidationError

from tunebench_api.v1alpha1 import BenchmarkRun, GitHubSource
from tunebench_api.v1alpha1.wire import PATTERN_WORDS
from tunebench_operator.errors import UserError

# Options by the fields that they set, where the name is another.
_OPTIONS: Mapping[str, str] = MappingProxyType(
    {
        "repositories": "--repository",
        "apiBase": "--api-base",
        "mergedAfter": "--merged-after",
        "maxRepositories": "--max-repositories",
        "secretRef": "--token-variable",
    }
)


class Split(StrEnum):
    """The source of a run that is meant."""

    TRAIN = "train"
    EVAL = "eval"


# Options of the command.
File = Annotated[
    Path | None,
    typer.Argument(metavar="[FILE]", help="YAML file of a run whose `gitHub` is collected."),
]
SplitOption = Annotated[
    Split | None,
    typer.Option("--dataset", help="Which source of the file. Default: the first one."),
]
Repositories = Annotated[
    list[str] | None,
    typer.Option("--repository", help="OWNER/NAME; may be given several times."),
]
Search = Annotated[
    str | None,
    typer.Option(help="Search for repositories, such as 'language:go license:mit stars:>500'."),
]
MaxRepositories = Annotated[
    int | None, typer.Option(min=1, help="Most repositories of the search. Default: 1000.")
]
Limit = Annotated[int | None, typer.Option(min=1, help="Newest of each repository. Default: 1000.")]
MergedAfter = Annotated[
    str | None, typer.Option(help="RFC 3339 time, such as 2024-01-31T00:00:00Z.")
]
FileContents = Annotated[bool, typer.Option("--file-contents", help="Fetch whole files too.")]
ApiBase = Annotated[
    str | None, typer.Option(help="Address of the API. Default: https://api.github.com.")
]
TokenVariable = Annotated[
    str | None,
    typer.Option(help="Environment variable that holds the token. Default: GITHUB_TOKEN."),
]


class Asked(NamedTuple):
    """A source and its place in a run; empty where options describe it."""

    source: GitHubSource
    field: str


def find_source(run: BenchmarkRun, split: Split | None) -> Asked:
    """Return the source of a run that GitHub is asked for; without a split, the first one.

    Raises:
        UserError: It has none.
    """
    dataset = run.spec.dataset
    sources = {Split.TRAIN: dataset.train.git_hub, Split.EVAL: dataset.eval.git_hub}
    for each, source in sources.items():
        if source is not None and split in {None, each}:
            return Asked(source, f"spec.dataset.{each}.gitHub")
    place = f"spec.dataset.{split or 'train'}"
    msg = f"`{place}` must have `gitHub` to collect; add it, or name repositories by `--repository`"
    raise UserError(msg)


def build_source(token_variable: str | None, **fields: Any) -> Asked:
    """Build the source that options describe; None is an option that is absent.

    Raises:
        UserError: An option has a value that the field does not take.
    """
    wire = {name: value for name, value in fields.items() if value}
    if token_variable is not None:
        wire["secretRef"] = {"name": "github", "key": token_variable}
    try:
        return Asked(GitHubSource.from_wire(wire), "")
    except ValidationError as error:
        problem = error.errors()[0]
        name = str(problem["loc"][0]) if problem["loc"] else ""
        pattern = problem.get("ctx", {}).get("pattern", "")
        if not name:
            msg = "`--repository` or `--search` must be given, and not both"
            raise UserError(msg) from None
        words = PATTERN_WORDS.get(pattern)
        said = f"be {words}, got {problem['input']!r}" if words else f"be right: {problem['msg']}"
        raise UserError(f"`{_OPTIONS.get(name, f'--{name}')}` must {said}") from None
