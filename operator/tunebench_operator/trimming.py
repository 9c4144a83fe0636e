"""The little of each object that steps look at: a thousand runs are to fit into 128 MB. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from tunebench_api.contract import StageKind
from tunebench_operator import names
from tunebench_operator.builders.metadata import Manifest
from tunebench_operator.observe import ACCESS_KINDS

_METADATA = (
    *("name", "namespace", "uid", "resourceVersion", "labels", "annotations"),
    *("creationTimestamp", "deletionTimestamp", "finalizers", "generation"),
)
# Of what does work, the spec says whether it is held back; nothing else of it is read again.
_SPEC = ("suspend",)


def trim_run(body: Mapping[str, Any]) -> Manifest:
    """Return a run with its spec and status, without what the API server keeps for itself."""
    return {**body, "metadata": _trim_metadata(body["metadata"])}


def trim_child(body: Mapping[str, Any]) -> Manifest:
    """Return what steps read of an object that belongs to a run."""
    trimmed: Manifest = {
        "apiVersion": body["apiVersion"],
        "kind": body["kind"],
        "metadata": _trim_metadata(body["metadata"]),
    }
    if body["kind"] in ACCESS_KINDS:
        return trimmed
    if "status" in body:
        trimmed["status"] = body["status"]
    if body["kind"] == "ConfigMap":
        trimmed |= _trim_data(body)
        if _is_config(body) and "ownerReferences" in body["metadata"]:
            trimmed["metadata"]["ownerReferences"] = body["metadata"]["ownerReferences"]
    elif body["kind"] != "Pod":
        spec = body.get("spec") or {}
        trimmed["spec"] = {key: spec[key] for key in _SPEC if key in spec}
    return trimmed


def pack(manifest: Manifest) -> bytes:
    """Return an object as text, which takes a fifth of the memory and a moment to read."""
    return json.dumps(manifest, separators=(",", ":")).encode()


def unpack(packed: bytes) -> Manifest:
    """Return a packed object."""
    manifest: Manifest = json.loads(packed)
    return manifest


def _trim_data(body: Mapping[str, Any]) -> Manifest:
    """Return the data of a report; of configs, that alone which says what is being deleted."""
    if body["metadata"].get("labels", {}).get(names.PART_LABEL) == names.PROMPTS_PART:
        return {}
    stage = body["metadata"].get("labels", {}).get(names.STAGE_LABEL)
    if _is_config(body) and stage != StageKind.CLEANUP:
        return {}
    return {"data": body["data"]} if "data" in body else {}


def _is_config(body: Mapping[str, Any]) -> bool:
    labels = body["metadata"].get("labels", {})
    return bool(labels.get(names.PART_LABEL) == names.CONFIG_PART)


def _trim_metadata(metadata: Mapping[str, Any]) -> Manifest:
    return {key: metadata[key] for key in _METADATA if metadata.get(key)}
