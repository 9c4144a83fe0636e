"""Programs and reverts are recognised the same way in git, on GitHub and in files."""

from __future__ import annotations

import pytest
from make_pulls import make_pull

from tunebench_jobs.data.clean.bots import find_bot, is_bot, is_bot_branch
from tunebench_jobs.data.clean.reverts import is_revert, is_revert_pull


@pytest.mark.parametrize(
    ("title", "body", "branch", "expected"),
    [
        pytest.param('Revert "Count stock"', "", "", True, id="quoted title"),
        pytest.param("revert: count stock", "", "", True, id="conventional commit"),
        pytest.param("Count stock", "This reverts commit 01234567.", "", True, id="git's body"),
        pytest.param("Count stock", "Reverts acme/shop#12", "", True, id="GitHub's body"),
        pytest.param("Count stock", "", "revert-12-count", True, id="GitHub's branch"),
        pytest.param("Revert to the saved state on errors", "", "", False, id="verb of the change"),
        pytest.param("Count stock", "It reverts commits on failure.", "", False, id="description"),
    ],
)
def test_revert_is_recognised(title: str, body: str, branch: str, *, expected: bool) -> None:
    """A change that takes another back is told apart from code that reverts something."""
    assert is_revert(title, f"{title}\n\n{body}", branch) is expected


def test_pull_request_of_reverts_only_is_a_revert() -> None:
    """One reverted commit among others makes none."""
    revert = 'Revert "x"\n\nThis reverts commit 0123456789.'

    assert is_revert_pull(make_pull(1, commits=[revert, revert]))
    assert not is_revert_pull(make_pull(1, commits=["Count", revert]))


@pytest.mark.parametrize(
    ("author", "expected"),
    [
        pytest.param("dependabot[bot] <49699333+x@users.example.org>", True, id="mark"),
        pytest.param("renovate <bot@example.org>", True, id="name"),
        pytest.param("k8s-ci-robot", True, id="robot"),
        pytest.param("acme-release_bot", True, id="ending"),
        pytest.param("Hosted Weblate <hosted@weblate.example>", True, id="service"),
        pytest.param("Abbott <abbott@example.org>", False, id="person"),
        pytest.param("Ann <ann@snyk.io>", False, id="employee"),
        pytest.param("talbot", False, id="surname"),
        pytest.param("", False, id="unknown"),
    ],
)
def test_bots_are_recognised(author: str, *, expected: bool) -> None:
    """Programs are known by name or mark; a surname is no mark."""
    assert is_bot(author) is expected


def test_branch_of_a_bot_is_recognised() -> None:
    """The branch tells where the author is a person who merged."""
    assert is_bot_branch("dependabot/pip/click-9")
    assert is_bot_branch("pre-commit-ci-update-config")
    assert not is_bot_branch("fix/renovated-menu")


@pytest.mark.parametrize(
    "title",
    [
        "Bump lodash from 4.17.15 to 4.17.19",
        "build(deps-dev): bump the linters group across 1 directory with 3 updates",
        "chore(deps): update dependency react to v18",
        "[pre-commit.ci] pre-commit autoupdate",
    ],
)
def test_title_of_an_updater_counts_without_an_author(title: str) -> None:
    """Where the row says that a person wrote it, the same title is that person's."""
    assert find_bot(make_pull(1, title=title))
    assert find_bot(make_pull(1, title=title, author="ada")) is None
