"""Building blocks that every type of the API shares."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints
from pydantic.alias_generators import to_camel

API_GROUP = "tunebench.dev"
API_VERSION = f"{API_GROUP}/v1alpha1"
KIND = "BenchmarkRun"


class Wire(BaseModel):
    """A frozen value that is camelCase in JSON and refuses fields it does not know."""

    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, frozen=True, extra="forbid"
    )

    def to_wire(self) -> dict[str, Any]:
        """Return plain JSON values, without absent fields."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)

    @classmethod
    def from_wire(cls, raw: Any) -> Self:
        """Build from plain JSON values."""
        return cls.model_validate(raw)


# RFC 1123 label, kept short because child names and Ray cluster names are made from it.
Name = Annotated[
    str, StringConstraints(pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$", min_length=1, max_length=63)
]
ShortText = Annotated[str, StringConstraints(max_length=256)]
Text = Annotated[str, StringConstraints(max_length=4096)]
Uri = Annotated[str, StringConstraints(min_length=1, max_length=1024)]
# Kubernetes APIs hold no floats, because encoders disagree about them.
Decimal = Annotated[
    str, StringConstraints(pattern=r"^[0-9]+(\.[0-9]+)?([eE][-+]?[0-9]+)?$", max_length=24)
]


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
        json_schema_extra={
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["name"],
        },
        **extra,
    )
