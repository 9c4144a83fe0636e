"""Where pull requests, prompts and baseline completions come from."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from tunebench_api.v1alpha1.rules import ExactlyOneOf, OnlyWith
from tunebench_api.v1alpha1.wire import (
    Decimal,
    EnvironmentName,
    HowOnly,
    HttpUrl,
    Name,
    ShortText,
    Text,
    Uri,
    VariableName,
    Wire,
    named_list,
)

TEMPLATE_BASELINE = "tunebench/template"


class GitSource(Wire):
    """Pull requests read from the merge and squash commits of a git repository."""

    repository: Uri = Field(
        description="Path or clone URL of the repository. A path is relative to the file that "
        "holds the run. Must be given."
    )
    ref: ShortText = Field(
        default="HEAD", description="Branch, tag or commit whose history is walked. Absent: HEAD."
    )
    limit: Annotated[int, Field(ge=1, le=100_000)] = Field(
        default=1000, description="Newest commits to look at. Absent: 1000."
    )


class Holdout(StrEnum):
    """Which rows of the training source become the evaluation set."""

    NEWEST = "Newest"


class TrainSource(Wire):
    """Where the training pull requests come from."""

    rules = (ExactlyOneOf(("uri", "git")),)

    uri: Uri | None = Field(
        default=None,
        description="JSONL or Parquet file of pull requests: a path (not in a cluster), "
        "pvc://CLAIM/PATH (in a cluster), s3://BUCKET/PATH or sample://NAME (ships with "
        "tunebench). "
        "Absent: `git` is used.",
    )
    git: GitSource | None = Field(
        default=None, description="Repository whose history is used. Absent: `uri` is used."
    )
    limit: Annotated[int, Field(ge=1, le=10_000_000)] | None = Field(
        default=None, description="Most pull requests to train on. Absent: all."
    )


class EvalSource(Wire):
    """Where the held-out pull requests come from."""

    rules = (ExactlyOneOf(("uri", "git", "holdout")),)

    uri: Uri | None = Field(
        default=None,
        description="JSONL or Parquet file of pull requests, as in `train`. Absent: see `holdout`.",
    )
    git: GitSource | None = Field(
        default=None, description="Repository whose history is used. Absent: see `holdout`."
    )
    holdout: Holdout | None = Field(
        default=None,
        description="Newest: keep the newest pull requests of `train` for evaluation. "
        "Absent: `uri` or `git` is used.",
    )
    per_tool: Annotated[int, Field(ge=1, le=10_000)] = Field(
        default=100, description="Tasks to judge for each tool. Absent: 100."
    )


class Answers(StrEnum):
    """Who wrote the answers that models are trained on."""

    ROWS = "Rows"
    HUMAN = "Human"


class Licenses(StrEnum):
    """Which pull requests may be used."""

    ANY = "Any"
    PERMISSIVE = "Permissive"


class DatasetSpec(Wire):
    """Pull requests to train on and to evaluate with."""

    train: TrainSource = Field(description="Pull requests to train on. Must be given.")
    eval: EvalSource = Field(description="Pull requests to evaluate with. Must be given.")
    answers: Answers = Field(
        default=Answers.ROWS,
        description="Rows: each row carries its answers. Human: the title and description that "
        "people wrote are the answer to Describe, and are hidden from the prompt. Absent: Rows.",
    )
    licenses: Licenses = Field(
        default=Licenses.ANY, description="Licences that rows may have. Absent: Any."
    )
    teacher_family: ShortText | None = Field(
        default=None,
        description="Family of the model that wrote the training answers, so that judges of the "
        "same family are flagged. Absent: unknown.",
    )


class Variable(Wire):
    """One value for the prompt templates."""

    name: VariableName = Field(description="Variable of the templates. Must be given.")
    value: Text = Field(
        description="Its value; true, false and whole numbers become that type. Must be given."
    )


class ConfigMapRef(Wire):
    """A ConfigMap in the namespace of the run."""

    name: Name = Field(description="Name of the ConfigMap. Must be given.")


class PromptsSpec(Wire):
    """The prompt set that training, serving and judging share."""

    rules = (ExactlyOneOf(("builtin", "uri", "configMapRef")),)

    builtin: Name | None = Field(
        default=None,
        description="Prompt set that ships with tunebench: default, or compact for small models. "
        "Absent: `uri` or `configMapRef` is used.",
    )
    uri: Uri | None = Field(
        default=None, description="Folder of TOML files in PR-Agent's layout. Absent: `builtin`."
    )
    config_map_ref: ConfigMapRef | None = Field(
        default=None, description="ConfigMap that holds such files. Absent: `builtin`."
    )
    variables: tuple[Variable, ...] = named_list(
        64, "Values that replace the templates' defaults. Absent: the defaults.", default=()
    )


class SecretRef(Wire):
    """One entry of a Secret; on a laptop, an environment variable."""

    name: Name = Field(description="Name of the Secret. Must be given.")
    key: EnvironmentName = Field(
        description="Key in the Secret; `tunebench run` reads the environment variable of this "
        "name. Must be given."
    )


class StoredCompletions(Wire):
    """Completions that were made earlier."""

    uri: Uri = Field(
        description="JSONL file with `pr`, `tool`, `completion`; see `dataset.train.uri`. "
        "Must be given."
    )


class BaselineSpec(Wire):
    """What every model is compared with."""

    rules = (
        ExactlyOneOf(("completions", "model")),
        OnlyWith("apiBase", "model"),
        OnlyWith("secretRef", "model"),
    )

    name: ShortText = Field(description="Name to show, with a date if it has one. Must be given.")
    family: ShortText | None = Field(
        default=None,
        description="Vendor family, so that related judges are flagged. Absent: unknown.",
    )
    completions: StoredCompletions | None = Field(
        default=None, description="Stored completions. Absent: `model` is asked."
    )
    model: ShortText | None = Field(
        default=None,
        description="LiteLLM model id to ask, or tunebench/template for a fixed template that "
        "knows the changed files only and is no model. Absent: `completions` is read.",
    )
    api_base: HttpUrl | None = Field(
        default=None, description="Address of an OpenAI-compatible server. Absent: the vendor's."
    )
    secret_ref: Annotated[SecretRef | None, HowOnly()] = Field(
        default=None, description="API key. Absent: the vendor's usual environment variable."
    )
    temperature: Decimal = Field(
        default="0.2", description="Sampling temperature for `model`. Absent: 0.2."
    )
    max_tokens: Annotated[int, Field(ge=1, le=65_536)] = Field(
        default=2048, description="Most tokens of a completion of `model`. Absent: 2048."
    )
