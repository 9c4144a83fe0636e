"""Pull requests as datasets hold them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pydantic import Field

from tunebench_api.v1alpha1 import Tool
from tunebench_jobs.records import Record


class ChangedFile(Record):
    """One file of a pull request; `patch` is git's text from the first `@@` on."""

    path: str = Field(min_length=1, max_length=4096)
    status: Literal["added", "modified", "removed", "renamed"] = "modified"
    previous_path: str | None = None
    patch: str = ""


class PullRequest(Record):
    """One merged pull request, with the answers to learn where it has them."""

    id: str = Field(min_length=1, max_length=512)
    repository: str = Field(min_length=1, max_length=512)
    title: str = ""
    description: str = ""
    branch: str = ""
    language: str = ""
    merged_at: str | None = None
    license: str | None = None
    commits: tuple[str, ...] = ()
    files: tuple[ChangedFile, ...] = Field(min_length=1)
    answers: Mapping[Tool, str | None] = Field(default_factory=dict)
