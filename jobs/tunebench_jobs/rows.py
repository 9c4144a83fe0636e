"""Pull requests as datasets hold them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field

from tunebench_api.v1alpha1 import Tool
from tunebench_jobs.records import Record


class ChangedFile(Record):
    """One file of a pull request; `patch` is git's text from the first `@@` on."""

    path: str = Field(min_length=1, max_length=4096)
    status: Literal["added", "modified", "removed", "renamed"] = "modified"
    previous_path: str | None = None
    patch: str = ""
    # The whole file before and after, where the source has it: for context around the hunks.
    old_text: str | None = None
    new_text: str | None = None
    is_binary: bool = False


# Bytes of each language in a repository; more than Parquet's integers hold are none.
Languages = Mapping[str, Annotated[int, Field(ge=0, lt=1 << 63)]]


class PullRequest(Record):
    """One merged pull request, with the answers to learn where it has them."""

    id: str = Field(min_length=1, max_length=512)
    repository: str = Field(min_length=1, max_length=512)
    title: str = ""
    description: str = ""
    branch: str = ""
    language: str = ""
    merged_at: str | None = None
    # SPDX expression.
    license: str | None = None
    # Login or name of who opened it.
    author: str = ""
    url: str = ""
    # Commit that landed it.
    commit: str = ""
    # Repository that this one was forked from.
    fork_of: str | None = None
    # PR-Agent puts files in the order of their sizes.
    languages: Languages = Field(default_factory=dict)
    commits: tuple[str, ...] = ()
    files: tuple[ChangedFile, ...] = Field(min_length=1)
    answers: Mapping[Tool, str | None] = Field(default_factory=dict)
    # Who wrote each answer, where it is known: `Human`, or the id of a model.
    answered_by: Mapping[Tool, str] = Field(default_factory=dict)
