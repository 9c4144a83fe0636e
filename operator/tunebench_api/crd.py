"""The CustomResourceDefinition, built from the types.

Pydantic writes JSON Schema; the API server takes a structural schema: no references, no titles, no
unions with null, no `additionalProperties: false`. Defaults of `status` are left out, because
only the operator says what was observed.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from tunebench_api.v1alpha1 import (
    API_GROUP,
    API_VERSION,
    KIND,
    BenchmarkRun,
    BenchmarkRunSpec,
    BenchmarkRunStatus,
    Metadata,
)

PLURAL = "benchmarkruns"
SINGULAR = "benchmarkrun"
SHORT_NAME = "brun"
CATEGORY = "tunebench"
CRD_NAME = f"{PLURAL}.{API_GROUP}"
SUMMARY_CONDITION = "Succeeded"

Schema = dict[str, Any]

_KEPT = (
    "type",
    "description",
    "default",
    "enum",
    "pattern",
    "minimum",
    "maximum",
    "minLength",
    "maxLength",
    "minItems",
    "maxItems",
    "required",
    "nullable",
)


def build_crd() -> Schema:
    """Build the CustomResourceDefinition of BenchmarkRun."""
    _, _, version = API_VERSION.rpartition("/")
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": CRD_NAME},
        "spec": {
            "group": API_GROUP,
            "names": {
                "kind": KIND,
                "listKind": f"{KIND}List",
                "plural": PLURAL,
                "singular": SINGULAR,
                "shortNames": [SHORT_NAME],
                "categories": [CATEGORY],
            },
            "scope": "Namespaced",
            "versions": [
                {
                    "name": version,
                    "served": True,
                    "storage": True,
                    "subresources": {"status": {}},
                    "additionalPrinterColumns": _build_columns(),
                    "schema": {"openAPIV3Schema": _build_root_schema()},
                }
            ],
        },
    }


def build_schema(model: type[BaseModel]) -> Schema:
    """Build the structural schema of one type."""
    _, document = models_json_schema([(model, "validation")], by_alias=True)
    definitions = document["$defs"]
    return _build_structural(definitions[model.__name__], definitions)


def _build_root_schema() -> Schema:
    # The API server lets a CRD restrict no metadata but the name.
    name = build_schema(Metadata)["properties"]["name"]
    status = build_schema(BenchmarkRunStatus)
    _drop_defaults(status)
    return {
        "type": "object",
        "description": BenchmarkRun.__doc__,
        "required": ["spec"],
        "properties": {
            "apiVersion": {"type": "string", "description": "Version of this schema."},
            "kind": {"type": "string", "description": f"Always {KIND}."},
            "metadata": {"type": "object", "properties": {"name": name}},
            "spec": build_schema(BenchmarkRunSpec),
            "status": status,
        },
    }


def _build_columns() -> list[Schema]:
    condition = f'.status.conditions[?(@.type=="{SUMMARY_CONDITION}")]'
    return [
        _build_column("Status", f"{condition}.reason", "Reason of the condition Succeeded."),
        _build_column("Models", ".status.summary.models", "Models done and in all."),
        _build_column("Best", ".status.summary.best", "Variant with the highest win rate."),
        _build_column("Win-Rate", ".status.summary.winRate", "Its win rate in percent."),
        {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
        _build_column("Judges", ".status.summary.judges", "Judges, by name.", priority=1),
        _build_column(
            "Agreement", ".status.summary.agreement", "Judges' agreement in percent.", priority=1
        ),
        _build_column("Cost", ".status.summary.costUSD", "Cost of judges in USD.", priority=1),
        _build_column("Queue", ".spec.queue.name", "Kueue queue.", priority=1),
        _build_column("Message", f"{condition}.message", "The state in words.", priority=1),
    ]


def _build_column(name: str, path: str, description: str, *, priority: int = 0) -> Schema:
    # Priority 0 is the default; the API server would drop it, and drift would be reported.
    shown = {"priority": priority} if priority else {}
    return {
        "name": name,
        "type": "string",
        "jsonPath": path,
        "description": description,
        **shown,
    }


def _build_structural(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> Schema:
    """Return a schema without references, titles and unions with null."""
    schema = _resolve(schema, definitions)
    # Copies, as a definition is used in several places, and YAML would write anchors.
    built: Schema = {key: copy.deepcopy(schema[key]) for key in _KEPT if key in schema}
    built |= {key: value for key, value in schema.items() if key.startswith("x-kubernetes-")}
    # Absent is the only way to leave out a field, as the API server drops nulls.
    if built.get("default", ...) is None:
        del built["default"]
    if "properties" in schema:
        built["properties"] = {
            name: _build_structural(field, definitions)
            for name, field in schema["properties"].items()
        }
        if "default" in built:
            built["default"] = _without_implied(built["default"], built)
    if "items" in schema:
        built["items"] = _build_structural(schema["items"], definitions)
    return built


def _resolve(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> Schema:
    """Follow references and pick the branch that is not null; what stands beside it wins."""
    beside = {key: value for key, value in schema.items() if key not in {"$ref", "anyOf"}}
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return _resolve(definitions[name], definitions) | beside
    if "anyOf" in schema:
        (branch,) = (one for one in schema["anyOf"] if one.get("type") != "null")
        return _resolve(branch, definitions) | beside
    return dict(schema)


def _without_implied(value: Any, schema: Schema) -> Any:
    """Return an object's default without what the defaults of its fields say anyway."""
    if not isinstance(value, dict) or "properties" not in schema:
        return value
    fields = schema["properties"]
    own = {
        name: _without_implied(field, fields[name])
        for name, field in value.items()
        if field is not None
    }
    return {name: field for name, field in own.items() if field != fields[name].get("default")}


def _drop_defaults(schema: Schema) -> None:
    schema.pop("default", None)
    for field in schema.get("properties", {}).values():
        _drop_defaults(field)
    if "items" in schema:
        _drop_defaults(schema["items"])
