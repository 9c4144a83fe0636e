"""Open what a run names as a stream of pull requests, whatever it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tunebench_api.v1alpha1 import Answers, EvalSource, GitSource, TrainSource
from tunebench_jobs.data.files_source import open_files
from tunebench_jobs.data.git_pulls import DroppedCommit
from tunebench_jobs.data.git_source import load_git_pulls
from tunebench_jobs.data.opened import BrokenRow, OpenedSource, Row

__all__ = ["BrokenRow", "LoadedSource", "OpenedSource", "Row", "load_source", "open_source"]


@dataclass(frozen=True)
class LoadedSource:
    """The rows of one source; `facts` say what it was, `dropped` which commits gave no row."""

    dataset: str
    rows: Sequence[Row]
    facts: dict[str, Any]
    dropped: Sequence[DroppedCommit] = ()


def open_source(
    source: TrainSource | EvalSource, dataset: str, *, answers: Answers, clones: Path
) -> OpenedSource:
    """Open what `source` names; `dataset` is `train` or `eval`.

    Raises:
        InputError: It is absent or unreadable.
        RetryableError: A server does not answer.
    """
    if source.git is not None:
        return _open_git(source.git, dataset, answers=answers, clones=clones)
    return open_files(source.uri or "", dataset, f"spec.dataset.{dataset}.uri")


def load_source(
    source: TrainSource | EvalSource, dataset: str, *, answers: Answers, clones: Path
) -> LoadedSource:
    """Read a source into memory, strictly: the first broken row ends it.

    Raises:
        InputError: It is absent, unreadable or broken.
        RetryableError: A server does not answer.
    """
    opened = open_source(source, dataset, answers=answers, clones=clones)
    rows = []
    for row in opened.rows:
        if isinstance(row, BrokenRow):
            raise row.build_error()
        rows.append(row)
    return LoadedSource(dataset, rows, opened.facts, opened.dropped)


def _open_git(source: GitSource, dataset: str, *, answers: Answers, clones: Path) -> OpenedSource:
    found = load_git_pulls(
        source.repository or "",
        ref=source.ref,
        limit=source.limit,
        human_answers=answers is Answers.HUMAN,
        clones=clones,
    )
    facts = {
        "repository": found.repository,
        "ref": found.ref,
        "commit": found.commit,
        "commits_seen": found.seen,
        "commits_kept": len(found.pulls),
        "commits_dropped": found.reasons,
    }
    rows = (Row(pull, f"{found.repository}@{sha}") for pull, sha in found.pulls)
    return OpenedSource(dataset, rows, facts, list(found.dropped))
