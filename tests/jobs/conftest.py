"""What several files of tests with real processes share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from github_server import GitHubServer
from github_world import FakeRepository, make_repository


@pytest.fixture
def shop() -> FakeRepository:
    """Return a repository with 24 merged pull requests of 30."""
    return make_repository(7, "acme/shop", 30)


@pytest.fixture
def github(shop: FakeRepository) -> Iterator[GitHubServer]:
    """Run a server that behaves like GitHub's and has that repository."""
    running = GitHubServer(shop)
    yield running
    running.close()
