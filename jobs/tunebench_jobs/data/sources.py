"""Open what a run names as a stream of pull requests, whatever it is."""

from __future__ import annotations

import os
from pathlib import Path

from tunebench_api.v1alpha1 import (
    Answers,
    CleaningSpec,
    EvalSource,
    GitHubSource,
    GitSource,
    TrainSource,
)
from tunebench_jobs.data.files_source import open_files
from tunebench_jobs.data.git_list import open_listed
from tunebench_jobs.data.git_pulls import build_rules
from tunebench_jobs.data.git_source import GitOptions, open_history
from tunebench_jobs.data.github import GitHubPlace, find_github_token, open_github
from tunebench_jobs.data.hugging_face import open_hugging_face
from tunebench_jobs.data.opened import OpenedSource


def open_source(  # noqa: PLR0913 - one call, each argument a part of how a source is read
    source: TrainSource | EvalSource,
    dataset: str,
    *,
    answers: Answers,
    clones: Path,
    collections: GitHubPlace,
    cleaning: CleaningSpec | None = None,
    file_texts: bool = True,
) -> OpenedSource:
    """Open what `source` names.

    Args:
        source: A part of the run.
        dataset: `train` or `eval`.
        answers: Who writes the answers; people's own words must say something.
        clones: Folder for clones of git repositories.
        collections: Where what GitHub tells is kept.
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
    if source.git_hub is not None:
        return open_collection(source.git_hub, collections, dataset)
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


def open_collection(source: GitHubSource, place: GitHubPlace, dataset: str) -> OpenedSource:
    """Open what GitHub tells; what it told before is not asked for again.

    Raises:
        InputError: The token is refused, or there is no repository that can be had.
        RetryableError: GitHub is away; what came is kept.
    """
    field = f"spec.dataset.{dataset}.gitHub"
    token = find_github_token(source, field, os.environ)
    found = open_github(source, field=field, token=token, place=place)
    return OpenedSource(dataset, found.rows, found.facts)
