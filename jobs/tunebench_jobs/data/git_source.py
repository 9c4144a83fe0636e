"""Pull requests out of the history of a git repository."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tunebench_jobs.data.git_log import SideCommit, load_history, load_mainline
from tunebench_jobs.data.git_pulls import DroppedCommit, PullBuilder
from tunebench_jobs.data.git_repository import open_repository, resolve_commit
from tunebench_jobs.rows import PullRequest


@dataclass(frozen=True)
class GitPulls:
    """The pull requests of a repository, newest first, and the commits that gave none."""

    repository: str
    ref: str
    commit: str
    seen: int
    pulls: tuple[tuple[PullRequest, str], ...]
    dropped: tuple[DroppedCommit, ...]

    @property
    def reasons(self) -> dict[str, int]:
        """How many commits were dropped for each reason."""
        return dict(sorted(Counter(str(drop.reason) for drop in self.dropped).items()))


def load_git_pulls(
    address: str, *, ref: str, limit: int, human_answers: bool, clones: Path | None
) -> GitPulls:
    """Read the newest `limit` commits on the first-parent line of `ref`.

    Raises:
        InputError: No such repository, commit, or access to them.
        RetryableError: The repository's server does not answer.
    """
    repository = open_repository(address, clones=clones)
    sha = resolve_commit(repository, ref)
    newest = ("rev-list", "--first-parent", f"--max-count={limit}", sha, "--")
    mainline = repository.read(*newest).split()
    sides = plan_sides(mainline, load_history(repository, sha, mainline[-1]))
    builder = PullBuilder(repository.name, mainline=repository.branch, human_answers=human_answers)
    built = [
        (builder.build(commit, sides[commit.sha]), commit.sha)
        for commit in load_mainline(repository, sha, limit)
    ]
    return GitPulls(
        repository=repository.shown,
        ref=ref,
        commit=sha,
        seen=len(mainline),
        pulls=tuple((pull, name) for pull, name in built if isinstance(pull, PullRequest)),
        dropped=tuple(drop for drop, _ in built if isinstance(drop, DroppedCommit)),
    )


def plan_sides(
    mainline: Sequence[str], history: Mapping[str, SideCommit]
) -> dict[str, tuple[SideCommit, ...]]:
    """Give each commit of a side branch to the oldest mainline commit that merges it.

    Args:
        mainline: Commits of the mainline, newest first.
        history: All commits in question, newest first.
    """
    # What is outside `history` was merged before.
    open_commits = set(history) - set(mainline)
    order = {sha: place for place, sha in enumerate(history)}
    sides = {}
    for landed in reversed(mainline):
        found = _take_reachable(history[landed].parents[1:], history, open_commits)
        oldest_first = sorted(found, key=order.__getitem__, reverse=True)
        # A merge inside a side branch says nothing about the change.
        sides[landed] = tuple(
            history[sha]
            for sha in oldest_first
            if len(history[sha].parents) < 2  # noqa: PLR2004 - a merge has 2
        )
    return sides


def _take_reachable(
    starts: Iterable[str], history: Mapping[str, SideCommit], open_commits: set[str]
) -> list[str]:
    """Return what is reachable from `starts`, and take it out of `open_commits`."""
    found = []
    waiting = list(starts)
    while waiting:
        sha = waiting.pop()
        if sha in open_commits:
            open_commits.remove(sha)
            found.append(sha)
            waiting.extend(history[sha].parents)
    return found
