"""The two ConfigMaps of a child: what it reads, and where it reports."""

from __future__ import annotations

from tunebench_api.contract import Runtime, StageDocument, build_report_address
from tunebench_api.places import resolve_place
from tunebench_api.v1alpha1 import BenchmarkRun
from tunebench_operator import names
from tunebench_operator.builders.metadata import (
    Manifest,
    build_child_metadata,
    child_object_name,
    seal,
)
from tunebench_operator.builders.prompts import find_mount
from tunebench_operator.builders.work import count_gpus, find_child_pool
from tunebench_operator.installation import Installation
from tunebench_operator.plan import Child


def build_config(
    run: BenchmarkRun, child: Child, installation: Installation, storage_uri: str
) -> Manifest:
    """Build the ConfigMap with a child's stage document; it also says that the child exists.

    Raises:
        UserError: The run names a pool that the installation lacks.
    """
    metadata = build_child_metadata(run, child, names.CONFIG_PART)
    metadata["annotations"] = {
        names.KEY_ANNOTATION: child.key,
        names.DIGEST_ANNOTATION: child.digest,
        names.ATTEMPT_ANNOTATION: str(child.attempt),
        names.GPUS_ANNOTATION: str(count_gpus(run, child, installation)),
    }
    document = build_document(run, child, installation, storage_uri)
    return seal(
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": metadata,
            "immutable": True,
            "data": {names.CONFIG_KEY: document.model_dump_json(by_alias=True)},
        }
    )


def build_report(run: BenchmarkRun, child: Child) -> Manifest:
    """Build the ConfigMap that a child patches; its data is the child's."""
    metadata = build_child_metadata(run, child, names.REPORT_PART)
    return seal({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata})


def build_document(
    run: BenchmarkRun, child: Child, installation: Installation, storage_uri: str
) -> StageDocument:
    """Build what a child reads.

    Raises:
        UserError: The run names a pool that the installation lacks.
    """
    pool = find_child_pool(run, child, installation)
    report = names.report_name(child_object_name(run, child))
    runtime = Runtime(
        store=resolve_place(storage_uri),
        output=child.output,
        report=build_report_address(run.metadata.namespace or "default", report),
        endpoint=child.endpoint,
        served_name=child.served_name,
        prompts_dir=names.PROMPTS_FOLDER if find_mount(run, child.kind) else None,
        spent_usd=child.spent_usd,
        absent_judges=child.absent_judges,
        attempt=child.attempt,
        cpus=(pool.worker if pool else installation.job).threads,
        gpus=pool.gpus if pool else 0,
        sizing=child.sizing,
    )
    return StageDocument(config=child.config, runtime=runtime)
