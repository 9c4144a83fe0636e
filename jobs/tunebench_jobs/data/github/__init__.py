"""Merged pull requests out of the API of GitHub, kept in a journal so that none is asked twice."""

from tunebench_jobs.data.github.archive import BATCH
from tunebench_jobs.data.github.source import (
    ARCHIVE_FOLDER,
    GitHubPlace,
    GitHubPulls,
    find_github_token,
    open_github,
)

__all__ = [
    "ARCHIVE_FOLDER",
    "BATCH",
    "GitHubPlace",
    "GitHubPulls",
    "find_github_token",
    "open_github",
]
