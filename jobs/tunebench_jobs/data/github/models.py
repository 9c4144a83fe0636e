"""What is kept of GitHub's answers; each type reads both the API's JSON and the journal's."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    AliasChoices,
    AliasPath,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
)

from tunebench_api.v1alpha1 import RepositoryName
from tunebench_jobs.data.github.errors import Refusal
from tunebench_jobs.rows import Languages

_MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", re.ASCII)
# What GitHub says where it finds a licence that it does not know.
_NO_LICENSE = frozenset({"NOASSERTION", "NONE"})


def _clean(value: Any) -> Any:
    """Make nothing of null, and text of what JSON lets pass and UTF-8 does not."""
    if value is None:
        return ""
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else value


def _clean_license(value: Any) -> Any:
    return value if isinstance(value, str) and value not in _NO_LICENSE else None


def is_moment(value: object) -> bool:
    """Whether a value is a moment as GitHub writes them."""
    if not isinstance(value, str) or not _MOMENT.fullmatch(value):
        return False
    try:
        datetime.fromisoformat(value)
    except ValueError:
        return False
    return True


def _check_moment(text: str) -> str:
    if not is_moment(text):
        raise ValueError("must be a moment such as 2024-01-31T00:00:00Z")
    return text


Words = Annotated[str, BeforeValidator(_clean)]
# GitHub writes all moments alike, so that they sort as text.
Moment = Annotated[str, AfterValidator(_check_moment)]


class Kept(BaseModel):
    """A frozen value that takes of an answer what it knows."""

    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True)


class Repository(Kept):
    """A repository as it is now: its name, licence and languages of old are not told."""

    id: int = Field(ge=1)
    name: RepositoryName = Field(validation_alias=AliasChoices("full_name", "name"))
    license: Annotated[str | None, BeforeValidator(_clean_license)] = Field(
        default=None, validation_alias=AliasChoices(AliasPath("license", "spdx_id"), "license")
    )
    fork_of: RepositoryName | None = Field(
        default=None, validation_alias=AliasChoices(AliasPath("parent", "full_name"), "fork_of")
    )
    languages: Languages = Field(default_factory=dict)


class PullHead(Kept):
    """A merged pull request as the list of a repository tells it."""

    number: int = Field(ge=1)
    title: Words = ""
    body: Words = ""
    branch: Words = Field(
        default="", validation_alias=AliasChoices(AliasPath("head", "ref"), "branch")
    )
    author: Words = Field(
        default="", validation_alias=AliasChoices(AliasPath("user", "login"), "author")
    )
    updated_at: Moment
    merged_at: Moment
    commit: Words = Field(default="", validation_alias=AliasChoices("merge_commit_sha", "commit"))
    url: Words = Field(default="", validation_alias=AliasChoices("html_url", "url"))


class PullFile(Kept):
    """A changed file; `patch` is absent where GitHub does not send it with the others."""

    path: Words = Field(min_length=1, validation_alias=AliasChoices("filename", "path"))
    status: str = "modified"
    previous_path: Words = Field(
        default="", validation_alias=AliasChoices("previous_filename", "previous_path")
    )
    patch: Annotated[str | None, BeforeValidator(lambda text: text and _clean(text))] = None
    changes: int = 0
    # Git's name of the new content, or of the old one where the file was removed.
    sha: Words = ""
    old_text: str | None = None
    new_text: str | None = None


class PullDetails(Kept):
    """The rest of a pull request, or why it cannot be had."""

    number: int
    files: tuple[PullFile, ...] = ()
    commits: tuple[Words, ...] = ()
    # Whether the whole files were asked for.
    texts: bool = False
    refusal: Refusal | None = None
    detail: str = ""


class PageMark(Kept):
    """A page of a repository's list, whose pull requests are kept beside it."""

    url: str
    etag: str | None = None
    next_url: str | None = None
    # Of all pull requests on the page, the unmerged ones too; empty on an empty page.
    newest: str = ""
    oldest: str = ""
    # Its merged pull requests, which another machine may not have sent.
    numbers: tuple[int, ...] = ()


class Coverage(Kept):
    """All pull requests with a change after `oldest` are kept, as they were at `newest`."""

    newest: str
    # Empty: the list was read to its end.
    oldest: str
    # Merged pull requests that were kept then.
    merged: int = 0
