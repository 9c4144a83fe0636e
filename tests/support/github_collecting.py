"""Collects from the server of the tests as the data stage would."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from github_server import GitHubServer
from github_world import FakeRepository

from tunebench_api.v1alpha1 import GitHubSource
from tunebench_jobs.data.github import GitHubPlace, GitHubPulls, open_github
from tunebench_jobs.data.github.client import ClientSettings
from tunebench_jobs.rows import PullRequest

TOKEN = "ghp_0123456789abcdefTEST"  # noqa: S105 - of the test
FAST = ClientSettings(requests_per_minute=100_000, tries=4, first_delay=0.01, timeout=0.5)


def collect(
    server: GitHubServer, folder: Path, settings: ClientSettings = FAST, **fields: Any
) -> tuple[GitHubPulls, list[PullRequest]]:
    """Collect from the server, and read all rows."""
    named = {} if "search" in fields else {"repositories": ["acme/shop"]}
    source = GitHubSource.from_wire({"apiBase": server.url, **named, **fields})
    place = GitHubPlace(folder)
    found = open_github(
        source, field="spec.dataset.train.gitHub", token=TOKEN, place=place, settings=settings
    )
    rows = [row.pr for row in found.rows]
    return found, rows


def list_merged(repository: FakeRepository) -> list[str]:
    """Return the ids of the merged pull requests, newest first."""
    merged = sorted(
        ((each.merged_at, each.number) for each in repository.pulls if each.merged_at),
        reverse=True,
    )
    return [f"{repository.name}#{number}" for _, number in merged]
