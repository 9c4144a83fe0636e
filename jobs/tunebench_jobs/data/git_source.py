"""Pull requests out of the history of one git repository, as a stream."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tunebench_jobs.data.git_blobs import open_blobs
from tunebench_jobs.data.git_facts import load_facts
from tunebench_jobs.data.git_landings import plan_landings
from tunebench_jobs.data.git_log import load_diffs, load_history
from tunebench_jobs.data.git_pulls import DroppedCommit, PullBuilder, PullRules
from tunebench_jobs.data.git_repository import GitRepository, open_repository, resolve_commit
from tunebench_jobs.data.opened import Row


@dataclass(frozen=True)
class GitOptions:
    """How a history is read; `file_texts` asks for whole files beside the diffs."""

    limit: int
    rules: PullRules = field(default_factory=PullRules)
    file_texts: bool = False
    # Folder for clones of addresses.
    clones: Path | None = None


@dataclass(frozen=True)
class GitHistory:
    """A history that is read once; `facts` and `dropped` are complete after that."""

    repository: GitRepository
    commit: str
    options: GitOptions
    facts: dict[str, Any]
    dropped: list[DroppedCommit] = field(default_factory=list)

    def read(self) -> Iterator[Row]:
        """Yield the pull requests, newest first.

        Raises:
            InputError: Git cannot read the repository.
        """
        repository, options = self.repository, self.options
        newest = ("rev-list", "--first-parent", f"--max-count={options.limit}", self.commit, "--")
        mainline = repository.read(*newest).split()
        landings = plan_landings(mainline, load_history(repository, self.commit, mainline[-1]))
        kept = 0
        with open_blobs(repository) as blobs:
            shared = load_facts(repository, self.commit, blobs)
            builder = PullBuilder(
                repository.name,
                mainline=repository.branch,
                rules=options.rules,
                facts=shared,
                read_texts=blobs.read if options.file_texts else None,
            )
            changes = ((landing.sha, landing.base) for landing in landings)
            diffs = load_diffs(repository, changes, options.rules.limits)
            for landing, commit in zip(landings, diffs, strict=True):
                built = builder.build(commit, landing)
                if isinstance(built, DroppedCommit):
                    self.dropped.append(built)
                    continue
                kept += 1
                yield Row(built, f"{repository.shown}@{commit.sha}")
        joined = len(mainline) - len(landings)
        self.facts.update(
            {"license": shared.license} if shared.license else {},
            commits_seen=len(mainline),
            commits_kept=kept,
            commits_dropped=count_drops(self.dropped),
        )
        # Commits of rebased pull requests, but for the one that each is known by.
        self.facts.update({"commits_joined": joined} if joined else {})


def open_history(address: str, ref: str, options: GitOptions) -> GitHistory:
    """Open the newest commits on the first-parent line of `ref`.

    Raises:
        InputError: No such repository, commit, or access to them.
        RetryableError: The repository's server does not answer.
    """
    repository = open_repository(address, clones=options.clones)
    sha = resolve_commit(repository, ref)
    facts = {"repository": repository.shown, "ref": ref, "commit": sha}
    return GitHistory(repository, sha, options, facts)


def count_drops(dropped: list[DroppedCommit]) -> dict[str, int]:
    """Return how many commits were dropped for each reason."""
    return dict(sorted(Counter(str(drop.reason) for drop in dropped).items()))
