"""The reference of all fields, built from the types like the CRD; pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from tunebench_api.crd import build_schema
from tunebench_api.v1alpha1 import API_VERSION, KIND, BenchmarkRunSpec, BenchmarkRunStatus, Metadata
from tunebench_api.v1alpha1.rules import LIST_MAP_KEYS, LIST_TYPE, VALIDATIONS
from tunebench_api.v1alpha1.wire import PATTERN_WORDS

Schema = Mapping[str, Any]

_INTRO = f"""\
# Fields of a {KIND}

<!-- Generated from operator/tunebench_api by `make manifests`; edit the types instead. -->

`apiVersion: {API_VERSION}`, `kind: {KIND}`. `tunebench validate FILE` checks a file against all of
this and names each mistake by its field. A field that does nothing yet is refused with "not
supported yet". Decimal numbers stand in quotes, because Kubernetes APIs hold no floats.
"""
_STATUS_INTRO = """\
What `kubectl get -o yaml`, and with `-o json` `tunebench run` and `tunebench results` show. Nobody
but tunebench writes it.
"""
_TYPES = {"string": "text", "integer": "whole number", "boolean": "true or false"}
# Rules of the API server about changes, which a file has none of.
_OLD = "oldSelf"


def build_reference() -> str:
    """Build the whole document."""
    name = build_schema(Metadata)["properties"]["name"]
    metadata = {"properties": {"name": name}, "required": ["name"], "type": "object"}
    spec, status = build_schema(BenchmarkRunSpec), build_schema(BenchmarkRunStatus)
    parts = [
        _INTRO,
        *_build_sections("metadata", metadata, defaults=True),
        *_build_sections("spec", spec, defaults=True),
        "## What is observed: `status`\n",
        _STATUS_INTRO,
        *_build_sections("status", status, defaults=False),
    ]
    return "\n".join(parts)


def _build_sections(path: str, schema: Schema, *, defaults: bool) -> Iterator[str]:
    """Yield a table for a mapping, and one for each mapping below it."""
    fields = schema["properties"]
    required = schema.get("required", ())
    depth = "##" if "." not in path else "###"
    yield f"{depth} `{path}`\n"
    yield "\n".join(_build_table(path, fields, required, defaults=defaults)) + "\n"
    rules = [rule["message"] for rule in schema.get(VALIDATIONS, ()) if _OLD not in rule["rule"]]
    if rules:
        yield "".join(f"* `{path}` {rule}.\n" for rule in rules)
    fixed = [rule["message"] for rule in schema.get(VALIDATIONS, ()) if _OLD in rule["rule"]]
    if fixed:
        names = ", ".join(message.split(" ")[0] for message in fixed)
        yield f"In a cluster these may not change once the run exists: {names}.\n"
    for name, field in fields.items():
        inner, below = _inner(path, name, field)
        if "properties" in inner:
            yield from _build_sections(below, inner, defaults=defaults)


def _build_table(
    path: str, fields: Mapping[str, Schema], required: Iterable[str], *, defaults: bool
) -> Iterator[str]:
    head = ["field", "type", *(["default"] if defaults else []), "bounds", "meaning"]
    yield f"| {' | '.join(head)} |"
    yield f"| {' | '.join('---' for _ in head)} |"
    for name, field in fields.items():
        shown = [_name_default(name, field, required)] if defaults else []
        cells = [f"`{name}`", _name_type(path, name, field), *shown, _name_bounds(field)]
        yield f"| {' | '.join([*cells, _escape(field.get('description', ''))])} |"


def _inner(path: str, name: str, field: Schema) -> tuple[Schema, str]:
    """Return the schema of a field or of a list's entries, and where it stands."""
    listed = field["type"] == "array"
    return (field["items"] if listed else field), f"{path}.{name}{'[]' if listed else ''}"


def _name_type(path: str, name: str, field: Schema) -> str:
    inner, below = _inner(path, name, field)
    if "enum" in inner:
        one = " or ".join(f"`{choice}`" for choice in inner["enum"])
    elif "properties" in inner:
        one = f"[{below}](#{_build_anchor(below)})"
    else:
        one = _TYPES[inner["type"]]
    return f"list of {one}" if field["type"] == "array" else one


def _name_default(name: str, field: Schema, required: Iterable[str]) -> str:
    if name in required:
        return "*must be given*"
    if "default" not in field:
        return "none"
    default = field["default"]
    if isinstance(default, list):
        return ", ".join(f"`{each}`" for each in default) or "none"
    if isinstance(default, dict):
        pairs = ", ".join(f"{key}: {value}" for key, value in default.items())
        return f"`{{{pairs}}}`" if pairs else "the defaults of its fields"
    return f"`{str(default).lower() if isinstance(default, bool) else default}`"


def _name_bounds(field: Schema) -> str:
    inner = field["items"] if field["type"] == "array" else field
    parts = [
        _name_range(field, "minItems", "maxItems", " entries"),
        _name_range(inner, "minimum", "maximum", ""),
        PATTERN_WORDS.get(inner.get("pattern", ""), ""),
        _name_range(inner, "minLength", "maxLength", " characters"),
        _name_uniqueness(field),
    ]
    return _escape("; ".join(part for part in parts if part))


def _name_range(schema: Schema, least: str, most: str, unit: str) -> str:
    low, high = schema.get(least), schema.get(most)
    if low is not None and high is not None:
        return f"{low} to {high}{unit}"
    if high is not None:
        return f"at most {high}{unit}"
    return "" if low is None else f"at least {low}{unit}"


def _name_uniqueness(field: Schema) -> str:
    keys = ", ".join(f"`{key}`" for key in field.get(LIST_MAP_KEYS, ()))
    return f"each with another {keys}" if keys else "no entry twice" if LIST_TYPE in field else ""


def _build_anchor(path: str) -> str:
    """Return what a heading is linked by: letters and digits alone are kept."""
    return "".join(letter for letter in path.lower() if letter.isalnum())


def _escape(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
