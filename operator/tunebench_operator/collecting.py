"""What `tunebench dataset collect` is asked for: a source of a run, or one made of options."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Any, NamedTuple

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
