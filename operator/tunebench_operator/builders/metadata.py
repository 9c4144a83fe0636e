"""Labels, owners and identities, the same for every object of a run."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from tunebench_api.v1alpha1 import API_VERSION, KIND, BenchmarkRun
from tunebench_operator import names
from tunebench_operator.plan import Child

Manifest = dict[str, Any]


def build_metadata(
    run: BenchmarkRun, name: str, part: str, annotations: Mapping[str, str] | None = None
) -> Manifest:
    """Build the metadata of an object that goes when its run goes."""
    metadata: Manifest = {
        "name": name,
        "namespace": run.metadata.namespace,
        "labels": {
            names.MANAGED_BY_LABEL: names.MANAGED_BY,
            names.RUN_LABEL: run.metadata.name,
            names.PART_LABEL: part,
        },
        "ownerReferences": [
            {
                "apiVersion": API_VERSION,
                "kind": KIND,
                "name": run.metadata.name,
                "uid": run.metadata.uid,
                "controller": True,
                "blockOwnerDeletion": True,
            }
        ],
    }
    if annotations:
        metadata["annotations"] = dict(annotations)
    return metadata


def build_child_metadata(run: BenchmarkRun, child: Child, part: str) -> Manifest:
    """Build the metadata of one of the objects that a child consists of."""
    name = child_object_name(run, child)
    metadata = build_metadata(
        run, names.report_name(name) if part == names.REPORT_PART else name, part
    )
    metadata["labels"] |= build_child_labels(run, child)
    return metadata


def build_child_labels(run: BenchmarkRun, child: Child) -> dict[str, str]:
    """Build the labels by which a child's pods are found."""
    return {
        names.RUN_LABEL: run.metadata.name,
        names.STAGE_LABEL: str(child.kind),
        names.CHILD_LABEL: child_object_name(run, child),
    }


def child_object_name(run: BenchmarkRun, child: Child) -> str:
    """Return the name that all objects of a child share."""
    stem = f"{child.key}-{child.digest}"
    return names.object_name(
        run.metadata.name, f"{run.metadata.uid}/{stem}", child.key, child.attempt
    )


def seal(manifest: Manifest) -> Manifest:
    """Return the manifest with a digest of itself, so that a second application is spared."""
    text = json.dumps(manifest, sort_keys=True)
    digest = hashlib.sha256(text.encode()).hexdigest()[:16]
    metadata = manifest["metadata"]
    annotations = {**metadata.get("annotations", {}), names.APPLIED_ANNOTATION: digest}
    return {**manifest, "metadata": {**metadata, "annotations": annotations}}
