"""Read the sources that a run names, with the facts that the manifest keeps of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tunebench_api.v1alpha1 import Answers, EvalSource, GitSource, TrainSource
from tunebench_jobs.data.git_pulls import DroppedCommit
from tunebench_jobs.data.git_source import load_git_pulls
from tunebench_jobs.data.load import Row, load_rows, parse_local_path
from tunebench_jobs.files import build_file_digest


@dataclass(frozen=True)
class LoadedSource:
    """The rows of one source; `facts` say what it was, `dropped` which commits gave no row."""

    dataset: str
    rows: Sequence[Row]
    facts: dict[str, Any]
    dropped: Sequence[DroppedCommit] = ()


def load_source(
    source: TrainSource | EvalSource, dataset: str, *, answers: Answers, clones: Path
) -> LoadedSource:
    """Read the file or the repository that `source` names; `dataset` is `train` or `eval`.

    Raises:
        InputError: It is absent, unreadable or broken.
        RetryableError: A server does not answer.
    """
    if source.git is not None:
        return _load_git(source.git, dataset, answers=answers, clones=clones)
    field = f"spec.dataset.{dataset}.uri"
    path = parse_local_path(source.uri or "", field)
    rows = tuple(load_rows(path, field))
    facts = {"uri": source.uri, "sha256": build_file_digest(path), "rows": len(rows)}
    return LoadedSource(dataset, rows, facts)


def _load_git(source: GitSource, dataset: str, *, answers: Answers, clones: Path) -> LoadedSource:
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
    rows = tuple(Row(pull, f"{found.repository}@{sha}") for pull, sha in found.pulls)
    return LoadedSource(dataset, rows, facts, found.dropped)
