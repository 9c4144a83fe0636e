"""Open what a run names as a stream of pull requests, whatever it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tunebench_api.v1alpha1 import Answers, CleaningSpec, EvalSource, GitSource, TrainSource
from tunebench_jobs.data.files_source import open_files
from tunebench_jobs.data.git_list import open_listed
from tunebench_jobs.data.git_pulls import DroppedCommit, build_rules
from tunebench_jobs.data.git_source import GitOptions, open_history
from tunebench_jobs.data.hugging_face import open_hugging_face
from tunebench_jobs.data.opened import BrokenRow, OpenedSource, Row

__all__ = ["BrokenRow", "LoadedSource", "OpenedSource", "Row", "load_source", "open_source"]


@dataclass(frozen=True)
class LoadedSource:
    """The rows of one source; `facts` say what it was, `dropped` which commits gave no row."""

    dataset: str
    rows: Sequence[Row]
    facts: dict[str, Any]
    dropped: Sequence[DroppedCommit] = ()


def open_source(  # noqa: PLR0913 - one call, each argument a part of how a source is read
    source: TrainSource | EvalSource,
    dataset: str,
    *,
    answers: Answers,
    clones: Path,
    cleaning: CleaningSpec | None = None,
    file_texts: bool = True,
) -> OpenedSource:
    """Open what `source` names.

    Args:
        source: A part of the run.
        dataset: `train` or `eval`.
        answers: Who writes the answers; people's own words must say something.
        clones: Folder for clones of git repositories.
        cleaning: What a history leaves out as it is read, where that is not the usual.
        file_texts: Whether rows of a history have whole files beside the diffs.

    Raises:
        InputError: It is absent or unreadable.
        RetryableError: A server does not answer.
    """
    field = f"spec.dataset.{dataset}"
    if source.git is not None:
        rules = build_rules(cleaning, human_answers=answers is Answers.HUMAN)
        options = GitOptions(source.git.limit, rules, file_texts, clones)
        return open_git(source.git, options, dataset=dataset, field=f"{field}.git")
    if source.hugging_face is not None:
        place = f"{field}.huggingFace"
        return open_hugging_face(source.hugging_face, dataset=dataset, field=place)
    return open_files(source.uri or "", dataset, f"{field}.uri")


def open_git(source: GitSource, options: GitOptions, *, dataset: str, field: str) -> OpenedSource:
    """Open the history of a repository, or of all that a list names.

    Raises:
        InputError: It is absent or unreadable.
        RetryableError: A server does not answer.
    """
    if source.list is not None:
        return open_listed(source.list, source.ref, options, dataset=dataset, field=f"{field}.list")
    history = open_history(source.repository or "", source.ref, options)
    return OpenedSource(dataset, history.read(), history.facts, history.dropped)


def load_source(
    source: TrainSource | EvalSource, dataset: str, *, answers: Answers, clones: Path
) -> LoadedSource:
    """Read a source into memory, strictly: the first broken row ends it.

    Raises:
        InputError: It is absent, unreadable or broken.
        RetryableError: A server does not answer.
    """
    opened = open_source(source, dataset, answers=answers, clones=clones, file_texts=False)
    rows = []
    for row in opened.rows:
        if isinstance(row, BrokenRow):
            raise row.build_error()
        rows.append(row)
    return LoadedSource(dataset, rows, opened.facts, opened.dropped)
