"""Where pull requests are read from."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from tunebench_api.v1alpha1.rules import ExactlyOneOf, unique_list
from tunebench_api.v1alpha1.wire import (
    EnvironmentName,
    HowOnly,
    HttpUrl,
    Name,
    RepositoryName,
    ShortText,
    Text,
    Uri,
    Wire,
    named_list,
)


class SecretRef(Wire):
    """One entry of a Secret; on a laptop, an environment variable."""

    name: Name = Field(description="Name of the Secret. Must be given.")
    key: EnvironmentName = Field(
        description="Key in the Secret; `tunebench run` reads the environment variable of this "
        "name. Must be given."
    )


class GitSource(Wire):
    """Pull requests read from the merge, squash and rebase commits of git repositories."""

    rules = (ExactlyOneOf(("repository", "list")),)

    repository: Uri | None = Field(
        default=None,
        description="Path or clone URL of the repository. A path is relative to the file that "
        "holds the run. Absent: see `list`.",
    )
    # Not a list of the spec, because it holds thousands.
    list: Uri | None = Field(
        default=None,
        description="Text file with a repository to a line, as in `repository`, perhaps with a "
        "space and a ref; it may lie where data may. Absent: `repository` is used.",
    )
    ref: ShortText = Field(
        default="HEAD", description="Branch, tag or commit whose history is walked. Absent: HEAD."
    )
    limit: Annotated[int, Field(ge=1, le=100_000)] = Field(
        default=1000, description="Newest commits to look at in each repository. Absent: 1000."
    )


class FileContents(StrEnum):
    """Whether whole files are collected beside their patches."""

    OMIT = "Omit"
    FETCH = "Fetch"


class GitHubSource(Wire):
    """Merged pull requests that the API of GitHub, or of a GitHub Enterprise server, tells."""

    rules = (ExactlyOneOf(("repositories", "search")),)

    repositories: tuple[RepositoryName, ...] | None = Field(
        default=None,
        description="Repositories as OWNER/NAME. Absent: `search` is used.",
        min_length=1,
        max_length=1024,
        json_schema_extra=unique_list(),
    )
    search: Text | None = Field(
        default=None,
        description="Search for repositories in GitHub's words, such as "
        "`language:go license:mit stars:>500`. Absent: `repositories` is used.",
    )
    api_base: HttpUrl = Field(
        default="https://api.github.com",
        description="Address of the API. Absent: https://api.github.com.",
    )
    secret_ref: Annotated[SecretRef | None, HowOnly()] = Field(
        default=None,
        description="Token. Absent: on a laptop, the environment variable GITHUB_TOKEN where "
        "`apiBase` is GitHub's own; else none, with which GitHub answers 60 requests an hour.",
    )
    merged_after: ShortText | None = Field(
        default=None,
        description="RFC 3339 time; earlier pull requests are left out. Absent: none is.",
    )
    limit: Annotated[int, Field(ge=1, le=1_000_000)] = Field(
        default=1000,
        description="Newest merged pull requests to collect of each repository. Absent: 1000.",
    )
    max_repositories: Annotated[int, Field(ge=1, le=100_000)] = Field(
        default=1000,
        description="Repositories to take of a search, those with most stars first. Absent: 1000.",
    )
    file_contents: FileContents = Field(
        default=FileContents.OMIT,
        description="Fetch: also the whole changed files, which patches with more context are made "
        "from; one more request for each file that was neither added nor removed. Absent: Omit.",
    )


class Column(Wire):
    """A column of a foreign dataset."""

    name: ShortText = Field(
        description="Column that tunebench knows, such as `title` or `answers.Describe`. "
        "Must be given."
    )
    source: ShortText = Field(
        description="Column of the dataset to take it from; `a.b` is `b` inside of `a`. "
        "Must be given."
    )


class HuggingFaceSource(Wire):
    """A dataset of the Hugging Face hub, read as a stream."""

    path: ShortText = Field(
        description="Dataset id, or a folder in the hub's layout: pvc://CLAIM/PATH, or on a laptop "
        "a path that begins with `.` or `/`. Must be given."
    )
    name: ShortText | None = Field(
        default=None, description="Configuration of the dataset. Absent: its only one."
    )
    split: Name = Field(default="train", description="Split to read. Absent: train.")
    revision: ShortText | None = Field(
        default=None, description="Commit, tag or branch. Absent: the newest."
    )
    columns: tuple[Column, ...] = named_list(
        64, "Columns with other names. Absent: they have tunebench's names.", default=()
    )
    secret_ref: Annotated[SecretRef | None, HowOnly()] = Field(
        default=None, description="Token of the hub. Absent: what the hub's library finds."
    )
    limit: Annotated[int, Field(ge=1, le=10_000_000)] | None = Field(
        default=None, description="First rows to read. Absent: all."
    )


class Holdout(StrEnum):
    """Which rows of the training source become the evaluation set."""

    NEWEST = "Newest"
    UNSEEN = "UnseenRepositories"


class Selection(StrEnum):
    """Which of the pull requests that may be asked are asked."""

    FIRST = "First"
    DIVERSE = "Diverse"


class TrainSource(Wire):
    """Where the training pull requests come from."""

    rules = (ExactlyOneOf(("uri", "git", "gitHub", "huggingFace")),)

    uri: Uri | None = Field(
        default=None,
        description="JSONL, JSON or Parquet file of pull requests, a folder of them, or a pattern "
        "with `*`: a path (not in a cluster), pvc://CLAIM/PATH (in a cluster), s3://BUCKET/PATH, "
        "sample://NAME (ships with tunebench), https://, hf:// or another URL that fsspec opens. "
        "Absent: another source is used.",
    )
    git: GitSource | None = Field(
        default=None, description="Repositories whose history is used. Absent: another source."
    )
    git_hub: GitHubSource | None = Field(
        default=None, description="Pull requests to ask GitHub for. Absent: another source."
    )
    hugging_face: HuggingFaceSource | None = Field(
        default=None, description="Dataset of the Hugging Face hub. Absent: another source."
    )
    limit: Annotated[int, Field(ge=1, le=10_000_000)] | None = Field(
        default=None, description="Most pull requests to train on. Absent: all."
    )


class EvalSource(Wire):
    """Where the held-out pull requests come from."""

    rules = (ExactlyOneOf(("uri", "git", "gitHub", "huggingFace", "holdout")),)

    uri: Uri | None = Field(
        default=None,
        description="Files of pull requests, as in `train`. Absent: see `holdout`.",
    )
    git: GitSource | None = Field(
        default=None, description="Repositories whose history is used. Absent: see `holdout`."
    )
    git_hub: GitHubSource | None = Field(
        default=None, description="Pull requests to ask GitHub for. Absent: see `holdout`."
    )
    hugging_face: HuggingFaceSource | None = Field(
        default=None, description="Dataset of the Hugging Face hub. Absent: see `holdout`."
    )
    holdout: Holdout | None = Field(
        default=None,
        description="Newest: keep the newest pull requests of `train` for evaluation. "
        "UnseenRepositories: keep the newest, and train on no pull request of their repositories "
        "and on none that was merged after the oldest of them. "
        "Absent: a source of their own is used.",
    )
    per_tool: Annotated[int, Field(ge=1, le=10_000)] = Field(
        default=100, description="Tasks to judge for each tool. Absent: 100."
    )
    selection: Selection = Field(
        default=Selection.FIRST,
        description="First: the first rows, or the newest of a holdout. Diverse: spread over "
        "languages, sizes, kinds of change and repositories. Absent: First.",
    )
    decisions: Uri | None = Field(
        default=None,
        description="File in which people accepted, rejected and edited pull requests "
        "(`tunebench dataset curate`). Absent: nobody did.",
    )
