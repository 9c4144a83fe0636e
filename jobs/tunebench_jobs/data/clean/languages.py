"""The language of a pull request, for the list of those that are wanted."""

from __future__ import annotations

from collections.abc import Collection

from tunebench_jobs.data.clean.changes import count_changes
from tunebench_jobs.data.drops import Finding, RowDrop
from tunebench_jobs.data.file_languages import find_main_language
from tunebench_jobs.rows import PullRequest


def find_pull_language(pr: PullRequest) -> str:
    """Return the row's language, or the one with most changed lines by the files' names."""
    return pr.language.strip() or find_main_language(
        (file.path, count_changes(file.patch)) for file in pr.files
    )


def find_language_problem(pr: PullRequest, wanted: Collection[str]) -> Finding | None:
    """Say so if the language is none of `wanted`, which are in lower case."""
    language = find_pull_language(pr)
    if language.lower() in wanted:
        return None
    return Finding(RowDrop.LANGUAGE, f"is `{language}`" if language else "is not known")
