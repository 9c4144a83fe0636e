"""Turn commits of the mainline into pull requests, or say why one is none."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import Literal

from tunebench_api.v1alpha1 import CleaningSpec, CleaningStep
from tunebench_jobs.data.clean.bots import is_bot, is_bot_branch
from tunebench_jobs.data.clean.reverts import is_revert
from tunebench_jobs.data.file_languages import find_main_language
from tunebench_jobs.data.git_facts import RepositoryFacts
from tunebench_jobs.data.git_landings import Landing
from tunebench_jobs.data.git_log import (
    MAX_FILES,
    MAX_PATCH_BYTES,
    DiffLimits,
    FileDiff,
    LoggedCommit,
)
from tunebench_jobs.data.git_messages import (
    Kind,
    Landed,
    is_merge_of_mainline,
    is_telling,
    join_landed,
    list_bullets,
    parse_message,
)
from tunebench_jobs.data.names import find_path_problem, neutralise_prose
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
    UNSAFE_NAME = "UnsafeName"


DROP_MEANINGS: Mapping[CommitDrop, str] = {
    CommitDrop.MERGE_OF_MAINLINE: "merges a long-lived branch, so it lands no pull request",
    CommitDrop.BOT: "written by a program",
    CommitDrop.REVERT: "takes an earlier change back",
    CommitDrop.NO_CHANGE: "changes no line of text",
    CommitDrop.BINARY_ONLY: "changes binary files only",
    CommitDrop.GENERATED_ONLY: "changes locks, vendored or generated files only",
    CommitDrop.TOO_LARGE: f"more than {MAX_PATCH_BYTES // 1024} KiB of diff or {MAX_FILES} files",
    CommitDrop.NO_DESCRIPTION: "no title that says something",
    CommitDrop.UNSAFE_NAME: "names a file so that it could deceive a reader or a program",
}
_SKIPPED: Mapping[CleaningStep, CommitDrop] = {
    CleaningStep.BOTS: CommitDrop.BOT,
    CleaningStep.REVERTS: CommitDrop.REVERT,
    CleaningStep.GENERATED: CommitDrop.GENERATED_ONLY,
    CleaningStep.BINARY: CommitDrop.BINARY_ONLY,
}


@dataclass(frozen=True)
class DroppedCommit:
    """A commit that gives no pull request."""

    sha: str
    subject: str
    reason: CommitDrop


@dataclass(frozen=True)
class PullRules:
    """What is left out and how much is kept, as a run's cleaning says."""

    human_answers: bool = False
    limits: DiffLimits = field(default_factory=DiffLimits)
    # What is a pull request all the same.
    kept: frozenset[CommitDrop] = frozenset()


def build_rules(cleaning: CleaningSpec | None, *, human_answers: bool) -> PullRules:
    """Build the rules; without cleaning they are the usual ones."""
    if cleaning is None:
        return PullRules(human_answers)
    any_size = CleaningStep.SIZE in cleaning.skip
    limits = DiffLimits(
        patch_bytes=_find_most("max_diff_kib", cleaning, any_size=any_size) * 1024,
        files=_find_most("max_files", cleaning, any_size=any_size),
        with_generated=CleaningStep.GENERATED in cleaning.skip,
    )
    kept = frozenset(_SKIPPED[step] for step in cleaning.skip if step in _SKIPPED)
    return PullRules(human_answers, limits, kept)


class PullBuilder:
    """Builds the pull requests of one repository; ids stay unique within it."""

    def __init__(
        self,
        repository: str,
        *,
        mainline: str,
        rules: PullRules,
        facts: RepositoryFacts,
        read_texts: Callable[[Sequence[str]], Mapping[str, str]] | None = None,
    ) -> None:
        """Remember what all pull requests share; `read_texts` returns files by their blobs."""
        self._repository = repository
        self._mainline = mainline
        self._rules = rules
        self._facts = facts
        self._read_texts = read_texts
        self._ids: Counter[str] = Counter()

    def build(self, commit: LoggedCommit, landing: Landing) -> PullRequest | DroppedCommit:
        """Build the pull request that `landing` is; `commit` has its whole difference."""
        landed = _describe(landing)
        reason = self._find_drop(commit, landing, landed)
        if reason:
            return DroppedCommit(commit.sha, commit.subject[:_SHOWN_SUBJECT], reason)
        web = self._facts.web
        pull = PullRequest(
            id=self._build_id(commit, landed),
            repository=self._repository,
            title=landed.title,
            description=landed.description,
            branch=landed.branch,
            language=find_main_language((file.path, file.changed_lines) for file in commit.files),
            merged_at=_build_utc(commit.committed_at),
            license=self._facts.license,
            author=_find_author(landing),
            url=web.build_url(commit.sha, landed.number) if web else "",
            commit=commit.sha,
            languages=self._facts.languages,
            commits=tuple(_list_commits(landing, landed)),
            files=tuple(self._build_files(commit)),
        )
        return neutralise_prose(pull)

    def _find_drop(
        self, commit: LoggedCommit, landing: Landing, landed: Landed
    ) -> CommitDrop | None:
        merges = len(landing.commits[0].parents) > 1
        if merges and is_merge_of_mainline(commit.subject, self._mainline):
            return CommitDrop.MERGE_OF_MAINLINE
        kept = self._rules.kept
        if CommitDrop.BOT not in kept and _is_by_bots(landing, landed):
            return CommitDrop.BOT
        first = landing.commits[0].message
        if CommitDrop.REVERT not in kept and is_revert(landed.title, first, landed.branch):
            return CommitDrop.REVERT
        return self._find_diff_drop(commit) or self._find_text_drop(landed)

    def _find_diff_drop(self, commit: LoggedCommit) -> CommitDrop | None:
        files = commit.files
        if files and all(file.generated for file in files):
            return CommitDrop.GENERATED_ONLY
        if commit.is_too_large(self._rules.limits):
            return CommitDrop.TOO_LARGE
        kept = [file for file in files if _is_kept(file)]
        if any(map(_has_unsafe_name, kept)):
            return CommitDrop.UNSAFE_NAME
        if any(file.patch for file in kept):
            return None
        if any(file.binary for file in kept):
            return None if CommitDrop.BINARY_ONLY in self._rules.kept else CommitDrop.BINARY_ONLY
        return CommitDrop.NO_CHANGE

    def _find_text_drop(self, landed: Landed) -> CommitDrop | None:
        telling = landed.titled and is_telling(landed.title)
        # Where people's words are the answer, a poor title would be a poor lesson.
        if self._rules.human_answers or (landed.kind is Kind.DIRECT and not landed.description):
            return None if telling else CommitDrop.NO_DESCRIPTION
        return None

    def _build_id(self, commit: LoggedCommit, landed: Landed) -> str:
        """Name the pull request; a number that was seen before is made unique by the commit."""
        if landed.number is None:
            return f"{self._repository}@{commit.sha[:12]}"
        name = f"{self._repository}#{landed.number}"
        self._ids[name] += 1
        return name if self._ids[name] == 1 else f"{name}@{commit.sha[:12]}"

    def _build_files(self, commit: LoggedCommit) -> list[ChangedFile]:
        files = [file for file in commit.files if _is_kept(file)]
        texts: Mapping[str, str] = {}
        if self._read_texts is not None:
            written = [file for file in files if file.patch]
            blobs = [blob for file in written for blob in (file.old_blob, file.new_blob)]
            texts = self._read_texts(blobs)
        return [_build_file(file, texts) for file in files]


def _describe(landing: Landing) -> Landed:
    """Read the message of what landed, or that of the only commit that it merges."""
    merges = len(landing.commits[0].parents) > 1
    parts = [parse_message(each.message, is_merge=merges) for each in landing.commits]
    landed = join_landed(parts) if len(parts) > 1 else parts[0]
    if landed.titled or len(landing.side) != 1:
        return landed
    only = parse_message(landing.side[0].message, is_merge=False)
    return replace(landed, title=only.title, description=only.description, titled=True)


def _is_by_bots(landing: Landing, landed: Landed) -> bool:
    authors = [each.author for each in landing.side or landing.commits]
    return is_bot_branch(landed.branch) or all(map(is_bot, authors))


def _find_author(landing: Landing) -> str:
    """Return the name of who wrote most commits; of equals, of who wrote the first one."""
    names = Counter(each.author.rpartition(" <")[0] for each in landing.side or landing.commits)
    return names.most_common(1)[0][0]


def _has_unsafe_name(file: FileDiff) -> bool:
    return any(find_path_problem(path) for path in (file.path, file.previous_path) if path)


def _find_most(name: str, cleaning: CleaningSpec, *, any_size: bool) -> int:
    """Return a limit of the cleaning, or where there is none the highest that it could have."""
    if not any_size:
        return int(getattr(cleaning, name))
    bounds = CleaningSpec.model_fields[name].metadata
    return int(next(bound.le for bound in bounds if hasattr(bound, "le")))


def _is_kept(file: FileDiff) -> bool:
    """Whether a file is part of the row: what people make, or a rename or removal of it."""
    if file.submodule or file.generated or file.status not in _STATUS:
        return False
    changes = file.patch or file.binary or file.status != "M"
    return bool(changes) and len(file.path) <= _MAX_PATH


def _build_file(file: FileDiff, texts: Mapping[str, str]) -> ChangedFile:
    return ChangedFile(
        path=file.path,
        status=_STATUS[file.status],
        previous_path=file.previous_path,
        patch=file.patch,
        old_text=texts.get(file.old_blob),
        new_text=texts.get(file.new_blob),
        is_binary=file.binary,
    )


def _list_commits(landing: Landing, landed: Landed) -> list[str]:
    if landing.side:
        return [other.message for other in landing.side]
    messages = [each.message for each in landing.commits]
    if len(messages) > 1:
        return messages
    return list_bullets(landed.description) or messages


def _build_utc(committed_at: int | None) -> str | None:
    """Return a moment as rows have it, where a calendar has it."""
    if committed_at is None:
        return None
    try:
        moment = datetime.fromtimestamp(committed_at, UTC)
    except (ValueError, OverflowError, OSError):
        return None
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z")
