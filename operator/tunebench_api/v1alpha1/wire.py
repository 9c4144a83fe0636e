"""Building blocks that every type of the API shares."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any, ClassVar, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    StringConstraints,
    model_validator,
)
from pydantic.alias_generators import to_camel
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError

from tunebench_api.v1alpha1.rules import VALIDATIONS, Rule, find_duplicates, unique_list

API_GROUP = "tunebench.dev"
API_VERSION = f"{API_GROUP}/v1alpha1"
KIND = "BenchmarkRun"

# Type of the pydantic errors that come from rules, whose message is fit for users.
RULE_ERROR = "rule"


def build_wire_name(name: str) -> str:
    """Build a field's name in JSON; acronyms keep one case, as the API conventions ask."""
    return re.sub(r"Usd$", "USD", to_camel(name))


@dataclass(frozen=True)
class HowOnly:
    """Marks a field that decides how work is done, not what comes out: no digest knows it."""


@dataclass(frozen=True)
class AddedLater:
    """Marks a field that older runs lack: no digest knows its default, so theirs stay."""


class Wire(BaseModel):
    """A frozen value that is camelCase in JSON and refuses fields it does not know."""

    model_config = ConfigDict(
        alias_generator=build_wire_name, populate_by_name=True, frozen=True, extra="forbid"
    )

    # What no single field can say; the CRD and `find_violations` are made from it.
    rules: ClassVar[tuple[Rule, ...]] = ()

    def to_wire(self) -> dict[str, Any]:
        """Return plain JSON values, without absent fields."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)

    def to_identity(self) -> dict[str, Any]:
        """Return plain JSON values of what decides a result, as `HowOnly` and `AddedLater` say."""
        return self.model_dump(
            mode="json", by_alias=True, exclude_none=True, exclude=_find_undecisive(self)
        )

    @classmethod
    def from_wire(cls, raw: Any) -> Self:
        """Build from plain JSON values."""
        return cls.model_validate(raw)

    @classmethod
    def find_violations(cls, raw: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        """Yield the path below this value, and what is wrong there, for each rule it breaks."""
        for rule in cls.rules:
            if violation := rule.find_violation(raw):
                yield "", violation
        for field in cls.model_fields.values():
            entries = raw.get(field.alias or "")
            if isinstance(field.json_schema_extra, dict) and isinstance(entries, list):
                for where, violation in find_duplicates(field.json_schema_extra, entries):
                    yield f".{field.alias}{where}", violation

    @classmethod
    def __get_pydantic_json_schema__(
        cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        schema = handler(core_schema)
        if cls.rules:
            handler.resolve_ref_schema(schema)[VALIDATIONS] = [
                rule.build_cel() for rule in cls.rules
            ]
        return schema

    @model_validator(mode="after")
    def _rules_hold(self) -> Self:
        has_unique_lists = any(
            field.json_schema_extra for field in type(self).model_fields.values()
        )
        if self.rules or has_unique_lists:
            for path, violation in type(self).find_violations(self.to_wire()):
                message = f"`{path.lstrip('.')}` {violation}" if path else violation
                raise PydanticCustomError(RULE_ERROR, "{message}", {"message": message})
        return self


def _find_undecisive(value: Wire) -> dict[Any, Any]:
    """Return the places of fields that no digest knows, as pydantic's `exclude` wants them."""
    places: dict[Any, Any] = {}
    for name, field in type(value).model_fields.items():
        inner = getattr(value, name)
        kinds = {type(mark) for mark in field.metadata}
        if HowOnly in kinds or (AddedLater in kinds and inner == field.default):
            places[name] = True
        elif isinstance(inner, Wire):
            places[name] = _find_undecisive(inner)
        elif isinstance(inner, tuple):
            entries = enumerate(inner)
            places[name] = {
                i: _find_undecisive(each) for i, each in entries if isinstance(each, Wire)
            }
    return {name: below for name, below in places.items() if below}


NAME_PATTERN = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"
# Two digits of exponent: more are no finite number.
DECIMAL_PATTERN = r"^[0-9]+(\.[0-9]+)?([eE][-+]?[0-9]{1,2})?$"
POSITIVE_PATTERN = (
    r"^([0-9]*[1-9][0-9]*(\.[0-9]+)?|[0-9]+\.[0-9]*[1-9][0-9]*)([eE][-+]?[0-9]{1,2})?$"
)
SHARE_PATTERN = r"^0(\.[0-9]+)?$"
VARIABLE_PATTERN = r"^[a-z_][a-z0-9_]*$"
ENVIRONMENT_PATTERN = r"^[A-Za-z_][A-Za-z0-9_]*$"
HTTP_PATTERN = r"^https?://[^/\s]\S*$"
# Not only of dots, which would lead elsewhere.
REPOSITORY_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_-]*/[A-Za-z0-9._-]*[A-Za-z0-9_-][A-Za-z0-9._-]*$"
EXPERIMENT_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9 ._-]*$"
GPUS_PATTERN = r"^(Auto|[1-9][0-9]{0,3})$"

# What each pattern asks for, to follow "must be".
PATTERN_WORDS = {
    NAME_PATTERN: "lower-case letters, digits, `-` and `.`, with a letter or digit at both ends",
    DECIMAL_PATTERN: 'a decimal number in quotes, such as "0.1" or "2e-4"',
    POSITIVE_PATTERN: 'a decimal number above 0 in quotes, such as "0.1" or "2e-4"',
    SHARE_PATTERN: 'a decimal number below 1 in quotes, such as "0.05"',
    VARIABLE_PATTERN: "lower-case letters, digits and `_`, with no digit first",
    ENVIRONMENT_PATTERN: "letters, digits and `_`, with no digit first",
    HTTP_PATTERN: "an address that begins with http:// or https://",
    REPOSITORY_PATTERN: "OWNER/NAME",
    EXPERIMENT_PATTERN: "letters, digits, spaces, `.`, `_` and `-`, with a letter or digit first",
    GPUS_PATTERN: 'Auto, or a whole number in quotes such as "8"',
}

# RFC 1123 label, kept short because child names and Ray cluster names are made from it.
Name = Annotated[str, StringConstraints(pattern=NAME_PATTERN, min_length=1, max_length=63)]
ShortText = Annotated[str, StringConstraints(max_length=256)]
Text = Annotated[str, StringConstraints(max_length=4096)]
Uri = Annotated[str, StringConstraints(min_length=1, max_length=1024)]
HttpUrl = Annotated[str, StringConstraints(pattern=HTTP_PATTERN, max_length=1024)]
RepositoryName = Annotated[str, StringConstraints(pattern=REPOSITORY_PATTERN, max_length=256)]
VariableName = Annotated[str, StringConstraints(pattern=VARIABLE_PATTERN, max_length=63)]
EnvironmentName = Annotated[str, StringConstraints(pattern=ENVIRONMENT_PATTERN, max_length=253)]
ExperimentName = Annotated[str, StringConstraints(pattern=EXPERIMENT_PATTERN, max_length=250)]
GpuCount = Annotated[str, StringConstraints(pattern=GPUS_PATTERN, max_length=4)]
# Kubernetes APIs hold no floats, because encoders disagree about them.
Share = Annotated[str, StringConstraints(pattern=SHARE_PATTERN, max_length=24)]
Decimal = Annotated[str, StringConstraints(pattern=DECIMAL_PATTERN, max_length=24)]
Positive = Annotated[str, StringConstraints(pattern=POSITIVE_PATTERN, max_length=24)]


class Tool(StrEnum):
    """What a model is asked to do with a pull request."""

    DESCRIBE = "Describe"
    REVIEW = "Review"
    IMPROVE = "Improve"


def named_list(maximum: int, description: str, **extra: Any) -> Any:
    """Return the field of a list that is keyed by `name` and merges by it."""
    return Field(
        description=description,
        max_length=maximum,
        json_schema_extra=unique_list(keys=("name",)),
        **extra,
    )
