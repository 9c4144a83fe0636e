"""Turn commits of the mainline into pull requests, or say why one is none."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import Literal

from tunebench_jobs.data.clean.bots import is_bot, is_bot_branch
from tunebench_jobs.data.clean.reverts import is_revert
from tunebench_jobs.data.git_log import (
    MAX_FILES,
    MAX_PATCH_BYTES,
    FileDiff,
    LoggedCommit,
    SideCommit,
)
from tunebench_jobs.data.git_messages import (
    Kind,
    Landed,
    is_merge_of_mainline,
    is_telling,
    list_bullets,
    parse_message,
)
from tunebench_jobs.data.paths import find_main_language
from tunebench_jobs.rows import ChangedFile, PullRequest

_SHOWN_SUBJECT = 200
_MAX_PATH = 4096
_STATUS: Mapping[str, Literal["added", "modified", "removed", "renamed"]] = {
    "A": "added",
    "C": "added",
    "D": "removed",
    "M": "modified",
    "R": "renamed",
}


class CommitDrop(StrEnum):
    """Why a commit gives no pull request."""

    MERGE_OF_MAINLINE = "MergeOfMainline"
    BOT = "Bot"
    REVERT = "Revert"
    NO_CHANGE = "NoChange"
    BINARY_ONLY = "BinaryOnly"
    GENERATED_ONLY = "GeneratedOnly"
    TOO_LARGE = "TooLarge"
    NO_DESCRIPTION = "NoDescription"


DROP_MEANINGS: Mapping[CommitDrop, str] = {
    CommitDrop.MERGE_OF_MAINLINE: "merges a long-lived branch, so it lands no pull request",
    CommitDrop.BOT: "written by a program",
    CommitDrop.REVERT: "takes an earlier change back",
    CommitDrop.NO_CHANGE: "changes no line of text",
    CommitDrop.BINARY_ONLY: "changes binary files only",
    CommitDrop.GENERATED_ONLY: "changes locks, vendored or generated files only",
    CommitDrop.TOO_LARGE: f"more than {MAX_PATCH_BYTES // 1024} KiB of diff or {MAX_FILES} files",
    CommitDrop.NO_DESCRIPTION: "no title that says something",
}


@dataclass(frozen=True)
class DroppedCommit:
    """A commit that gives no pull request."""

    sha: str
    subject: str
    reason: CommitDrop


class PullBuilder:
    """Builds the pull requests of one repository; ids stay unique within it."""

    def __init__(self, repository: str, *, mainline: str, human_answers: bool) -> None:
        """Remember what all pull requests share."""
        self._repository = repository
        self._mainline = mainline
        self._human_answers = human_answers
        self._ids: Counter[str] = Counter()

    def build(
        self, commit: LoggedCommit, side: Sequence[SideCommit]
    ) -> PullRequest | DroppedCommit:
        """Build the pull request that `commit` lands; `side` is what it merges, oldest first."""
        landed = _describe(commit, side)
        reason = self._find_drop(commit, side, landed)
        if reason:
            return DroppedCommit(commit.sha, commit.subject[:_SHOWN_SUBJECT], reason)
        return PullRequest(
            id=self._build_id(commit, landed),
            repository=self._repository,
            title=landed.title,
            description=landed.description,
            branch=landed.branch,
            language=find_main_language((file.path, file.changed_lines) for file in commit.files),
            merged_at=_build_utc(commit.committed_at),
            commits=tuple(_list_commits(commit, side, landed)),
            files=tuple(_build_file(file) for file in commit.files if _is_kept(file)),
        )

    def _find_drop(
        self, commit: LoggedCommit, side: Sequence[SideCommit], landed: Landed
    ) -> CommitDrop | None:
        authors = [other.author for other in side] or [commit.author]
        if len(commit.parents) > 1 and is_merge_of_mainline(commit.subject, self._mainline):
            return CommitDrop.MERGE_OF_MAINLINE
        if is_bot_branch(landed.branch) or all(is_bot(author) for author in authors):
            return CommitDrop.BOT
        if is_revert(landed.title, commit.message, landed.branch):
            return CommitDrop.REVERT
        return _find_diff_drop(commit) or self._find_text_drop(landed)

    def _find_text_drop(self, landed: Landed) -> CommitDrop | None:
        telling = landed.titled and is_telling(landed.title)
        # Where people's words are the answer, a poor title would be a poor lesson.
        if self._human_answers or (landed.kind is Kind.DIRECT and not landed.description):
            return None if telling else CommitDrop.NO_DESCRIPTION
        return None

    def _build_id(self, commit: LoggedCommit, landed: Landed) -> str:
        """Name the pull request; a number that was seen before is made unique by the commit."""
        if landed.number is None:
            return f"{self._repository}@{commit.sha[:12]}"
        name = f"{self._repository}#{landed.number}"
        self._ids[name] += 1
        return name if self._ids[name] == 1 else f"{name}@{commit.sha[:12]}"


def _describe(commit: LoggedCommit, side: Sequence[SideCommit]) -> Landed:
    """Read the commit's message, or that of the only commit that it merges."""
    landed = parse_message(commit.message, is_merge=len(commit.parents) > 1)
    if landed.titled or len(side) != 1:
        return landed
    only = parse_message(side[0].message, is_merge=False)
    return replace(landed, title=only.title, description=only.description, titled=True)


def _find_diff_drop(commit: LoggedCommit) -> CommitDrop | None:
    files = commit.files
    if files and all(file.generated for file in files):
        return CommitDrop.GENERATED_ONLY
    if commit.too_large:
        return CommitDrop.TOO_LARGE
    if any(file.patch and _is_kept(file) for file in files):
        return None
    if any(file.binary for file in files):
        return CommitDrop.BINARY_ONLY
    return CommitDrop.NO_CHANGE


def _is_kept(file: FileDiff) -> bool:
    """Whether a file is part of the row: text that people write, or a rename or removal of it."""
    if file.submodule or file.binary or file.generated or file.status not in _STATUS:
        return False
    return bool(file.patch or file.status != "M") and len(file.path) <= _MAX_PATH


def _build_file(file: FileDiff) -> ChangedFile:
    return ChangedFile(
        path=file.path,
        status=_STATUS[file.status],
        previous_path=file.previous_path,
        patch=file.patch,
    )


def _list_commits(commit: LoggedCommit, side: Sequence[SideCommit], landed: Landed) -> list[str]:
    if side:
        return [other.message for other in side]
    return list_bullets(landed.description) or [commit.message]


def _build_utc(committed_at: str) -> str:
    moment = datetime.fromisoformat(committed_at).astimezone(UTC)
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z")
