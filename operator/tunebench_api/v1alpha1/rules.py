"""Rules that span fields, each declared once for the CRD and for Python.

The API server checks them as CEL rules and as list types; parsing checks the very same
declarations, so a run that `tunebench validate` accepts is one that the cluster accepts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

LIST_TYPE = "x-kubernetes-list-type"
LIST_MAP_KEYS = "x-kubernetes-list-map-keys"
VALIDATIONS = "x-kubernetes-validations"


class Rule(Protocol):
    """What must hold among the fields of one mapping."""

    def build_cel(self) -> dict[str, str]:
        """Build the rule as the CRD states it."""
        ...

    def find_violation(self, value: Mapping[str, Any]) -> str | None:
        """Return what is wrong with a mapping, in the words of a `Problem`."""
        ...


@dataclass(frozen=True)
class ExactlyOneOf:
    """One of these fields is given, and no other of them; names as in YAML."""

    fields: tuple[str, ...]

    @property
    def message(self) -> str:
        """Return what must hold."""
        *others, last = (f"`{field}`" for field in self.fields)
        return f"must set exactly one of {', '.join(others)} and {last}"

    def build_cel(self) -> dict[str, str]:
        """Build the rule as the CRD states it."""
        given = ", ".join(f"has(self.{field})" for field in self.fields)
        return {"rule": f"[{given}].filter(x, x).size() == 1", "message": self.message}

    def find_violation(self, value: Mapping[str, Any]) -> str | None:
        """Return what is wrong with a mapping, in the words of a `Problem`."""
        given = [f"`{field}`" for field in self.fields if value.get(field) is not None]
        if len(given) == 1:
            return None
        return f"{self.message}, got {' and '.join(given) or 'none of them'}"


@dataclass(frozen=True)
class OnlyWith:
    """A field means nothing without another one; names as in YAML."""

    field: str
    other: str

    @property
    def message(self) -> str:
        """Return what must hold."""
        return f"must set `{self.field}` only together with `{self.other}`"

    def build_cel(self) -> dict[str, str]:
        """Build the rule as the CRD states it."""
        rule = f"!has(self.{self.field}) || has(self.{self.other})"
        return {"rule": rule, "message": self.message}

    def find_violation(self, value: Mapping[str, Any]) -> str | None:
        """Return what is wrong with a mapping, in the words of a `Problem`."""
        alone = value.get(self.field) is not None and value.get(self.other) is None
        return f"{self.message}, which is not set" if alone else None


@dataclass(frozen=True)
class GivenWhen:
    """A field is given if another one has a certain value, and only then; names as in YAML."""

    field: str
    other: str
    value: str

    @property
    def message(self) -> str:
        """Return what must hold."""
        return f"must set `{self.field}` if `{self.other}` is {self.value}, and only then"

    def build_cel(self) -> dict[str, str]:
        """Build the rule as the CRD states it."""
        applies = f"(has(self.{self.other}) && self.{self.other} == '{self.value}')"
        return {"rule": f"{applies} == has(self.{self.field})", "message": self.message}

    def find_violation(self, value: Mapping[str, Any]) -> str | None:
        """Return what is wrong with a mapping, in the words of a `Problem`."""
        given = value.get(self.field) is not None
        if given == (value.get(self.other) == self.value):
            return None
        return f"{self.message}, got {value.get(self.other)}"


@dataclass(frozen=True)
class NeededFor:
    """A field has one of certain values wherever another one has a value; names as in YAML."""

    needed: str
    values: tuple[str, ...]
    field: str
    value: str

    @property
    def message(self) -> str:
        """Return what must hold."""
        values = " or ".join(self.values)
        return f"must set `{self.needed}` to {values} with `{self.field}: {self.value}`"

    def build_cel(self) -> dict[str, str]:
        """Build the rule as the CRD states it."""
        applies = f"has(self.{self.field}) && self.{self.field} == '{self.value}'"
        values = ", ".join(f"'{value}'" for value in self.values)
        holds = f"has(self.{self.needed}) && self.{self.needed} in [{values}]"
        return {"rule": f"!({applies}) || ({holds})", "message": self.message}

    def find_violation(self, value: Mapping[str, Any]) -> str | None:
        """Return what is wrong with a mapping, in the words of a `Problem`."""
        if value.get(self.field) != self.value or value.get(self.needed) in self.values:
            return None
        return f"{self.message}, got {value.get(self.needed)}"


@dataclass(frozen=True)
class Unchanging:
    """A field keeps its value once the object exists; only the API server knows the old one."""

    field: str
    # Whether the field may be absent.
    optional: bool = False

    def build_cel(self) -> dict[str, str]:
        """Build the rule as the CRD states it."""
        same = f"self.{self.field} == oldSelf.{self.field}"
        if self.optional:
            has, had = f"has(self.{self.field})", f"has(oldSelf.{self.field})"
            same = f"{has} == {had} && (!{has} || {same})"
        message = (
            f"`spec.{self.field}` may not change once the run exists; create another run, which "
            "uses finished work again"
        )
        return {"rule": same, "message": message}

    def find_violation(self, value: Mapping[str, Any]) -> str | None:  # noqa: ARG002 - has no past
        """Return nothing: a document alone has no past."""
        return None


def unique_list(*, keys: tuple[str, ...] = ()) -> dict[str, Any]:
    """Build the schema extension of a list without duplicates, by key or as a set."""
    if keys:
        return {LIST_TYPE: "map", LIST_MAP_KEYS: list(keys)}
    return {LIST_TYPE: "set"}


def find_duplicates(schema: Mapping[str, Any], entries: Sequence[Any]) -> Iterator[tuple[str, str]]:
    """Yield where and how the entries of a list repeat what `unique_list` says is unique."""
    if LIST_TYPE not in schema:
        return
    keys: list[str] = schema.get(LIST_MAP_KEYS, [])
    first_at: dict[Any, int] = {}
    for index, entry in enumerate(entries):
        identity = _identity(entry, keys)
        if identity is None:
            continue
        first = first_at.setdefault(identity, index)
        if first != index:
            where = f"[{index}]" + (f".{keys[0]}" if keys else "")
            yield where, f'must be unique, got "{identity[-1]}" again (first at index {first})'


def _identity(entry: Any, keys: Sequence[str]) -> tuple[str, ...] | None:
    """Return what an entry is told apart by; None where its shape is wrong anyway."""
    if not keys:
        return (entry,) if isinstance(entry, str) else None
    if not isinstance(entry, Mapping):
        return None
    values = [value for key in keys if isinstance(value := entry.get(key), str)]
    return tuple(values) if len(values) == len(keys) else None
