"""Prompts and the baseline that every model is compared with."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from tunebench_api.v1alpha1.rules import ExactlyOneOf, OnlyWith
from tunebench_api.v1alpha1.sources import SecretRef
from tunebench_api.v1alpha1.wire import (
    Decimal,
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
        default=None,
        description="In a cluster: ConfigMap that holds such files. A run copies it when it "
        "begins, and later changes mean nothing to it. Absent: `builtin`.",
    )
    variables: tuple[Variable, ...] = named_list(
        64, "Values that replace the templates' defaults. Absent: the defaults.", default=()
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
