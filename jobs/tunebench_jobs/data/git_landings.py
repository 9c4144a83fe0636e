"""What landed together: a merge with its side branch, or the commits of one rebased branch."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from tunebench_jobs.data.git_log import SideCommit
from tunebench_jobs.data.git_messages import is_own_review, parse_message

# GitHub rebases no longer branch.
MAX_REBASED = 100
# A rebase writes its commits one right after the other.
_REBASE_SECONDS = 2


@dataclass(frozen=True)
class Landing:
    """Commits of the mainline that are one pull request, oldest first, with what they merge."""

    shas: tuple[str, ...]
    commits: tuple[SideCommit, ...]
    side: tuple[SideCommit, ...] = ()

    @property
    def sha(self) -> str:
        """The commit with which all of it had landed."""
        return self.shas[-1]

    @property
    def base(self) -> str | None:
        """The commit of the mainline before it."""
        return self.commits[0].parents[0] if self.commits[0].parents else None


def plan_landings(mainline: Sequence[str], history: Mapping[str, SideCommit]) -> list[Landing]:
    """Group the commits of the mainline, newest first, and give each merge its side branch.

    Commits in a row are one pull request if their messages name the same one, or if one person
    wrote them, and one rebase wrote them anew.
    """
    sides = plan_sides(mainline, history)
    groups: list[list[str]] = []
    for sha in reversed(mainline):
        if groups and len(groups[-1]) < MAX_REBASED and _is_joined(groups[-1], sha, history):
            groups[-1].append(sha)
        else:
            groups.append([sha])
    return [
        Landing(tuple(group), tuple(history[sha] for sha in group), sides[group[-1]])
        for group in reversed(groups)
    ]


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


def _is_joined(group: Sequence[str], sha: str, history: Mapping[str, SideCommit]) -> bool:
    """Whether a commit belongs to the pull request of those right before it."""
    first, previous, commit = history[group[0]], history[group[-1]], history[sha]
    # A merge lands its own pull request, and before a root commit there is nothing to compare with.
    if len(first.parents) != 1 or len(commit.parents) != 1:
        return False
    numbers = [parse_message(each.message, is_merge=False).number for each in (previous, commit)]
    if any(numbers):
        return numbers[0] == numbers[1]
    return (
        (previous.author, previous.committer) == (commit.author, commit.committer)
        and not any(is_own_review(each.message) for each in (previous, commit))
        and all(_is_rewritten(each) for each in (previous, commit))
        and _measure_pause(previous, commit) <= _REBASE_SECONDS
    )


def _is_rewritten(commit: SideCommit) -> bool:
    """Whether it was written before it was committed, as each commit of a rebase was."""
    return commit.authored_at != commit.committed_at


def _measure_pause(before: SideCommit, after: SideCommit) -> float:
    """Return the seconds from one commit to the next; time that runs backwards is a long pause."""
    if before.committed_at is None or after.committed_at is None:
        return math.inf
    pause = after.committed_at - before.committed_at
    return pause if pause >= 0 else math.inf


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
