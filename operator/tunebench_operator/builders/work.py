"""What does a child's work: a batch Job, a RayJob or a RayService."""

from __future__ import annotations

import json
import math

from tunebench_api.contract import ServeConfig, StageKind, TrainConfig
from tunebench_api.v1alpha1 import BenchmarkRun, ModelSpec
from tunebench_operator import names
from tunebench_operator.builders.metadata import Manifest, build_child_metadata, seal
from tunebench_operator.builders.pods import (
    CONFIG_PATH,
    STAGE_COMMAND,
    build_pod,
    build_submitter,
)
from tunebench_operator.errors import UserError
from tunebench_operator.installation import Installation, NodePool, Quantities
from tunebench_operator.plan import Child
from tunebench_operator.trainings import find_contradictions

_RAY_API = "ray.io/v1"
# Of the pod's memory, for objects that workers share; Ray's default of 30% starves the model.
_OBJECT_STORE_SHARE = 0.1
_MIN_OBJECT_STORE = 80 << 20


def build_work(
    run: BenchmarkRun, child: Child, installation: Installation, storage_uri: str
) -> Manifest:
    """Build the object that does a child's work.

    Raises:
        UserError: The run names a pool that the installation lacks.
    """
    if child.kind is StageKind.TRAIN:
        return build_train_job(run, child, installation, storage_uri)
    if child.kind is StageKind.SERVE:
        return build_serve_service(run, child, installation, storage_uri)
    return build_batch_job(run, child, installation, storage_uri)


def build_batch_job(
    run: BenchmarkRun, child: Child, installation: Installation, storage_uri: str
) -> Manifest:
    """Build the Job of a stage that needs no Ray; the planner counts its attempts."""
    template = build_pod(
        run,
        child,
        installation,
        container="stage",
        quantities=installation.job,
        storage_uri=storage_uri,
        command=STAGE_COMMAND,
    )
    template["spec"]["restartPolicy"] = "Never"
    spec: Manifest = {
        "backoffLimit": 0,
        "ttlSecondsAfterFinished": installation.keep_ended_seconds,
        "template": template,
    }
    return _finish(run, child, "batch/v1", "Job", spec)


def build_train_job(
    run: BenchmarkRun, child: Child, installation: Installation, storage_uri: str
) -> Manifest:
    """Build the RayJob that fine-tunes one model: all workers at once, or none."""
    assert isinstance(child.config, TrainConfig)  # noqa: S101 - the planner builds it so
    pool = _find_pool(installation, _find_trained_model(run, child))
    spec: Manifest = {
        "entrypoint": " ".join(STAGE_COMMAND),
        "submissionMode": "K8sJobMode",
        # Attempts are counted by the planner, which knows the reasons.
        "backoffLimit": 0,
        "submitterConfig": {"backoffLimit": 0},
        "preRunningDeadlineSeconds": installation.gang_timeout_seconds,
        # The Ray cluster, and with it every GPU, goes as soon as the job has ended; the submitter
        # stays with its log. `deletionStrategy.deletionRules` could keep the head, which nobody
        # needs, and is refused where its feature gate is off, as it is by default before 1.6.
        "shutdownAfterJobFinishes": True,
        "ttlSecondsAfterFinished": 0,
        "submitterPodTemplate": build_submitter(run, child, installation, pool),
        "rayClusterSpec": _build_cluster(
            run, child, installation, storage_uri, pool, workers=_count_workers(child)
        ),
    }
    return _finish(run, child, _RAY_API, "RayJob", spec)


def build_serve_service(
    run: BenchmarkRun, child: Child, installation: Installation, storage_uri: str
) -> Manifest:
    """Build the RayService of one base model with its adapters."""
    pool = _find_pool(installation, _find_served_model(run, child))
    application = {
        "name": "tunebench",
        "route_prefix": "/",
        "import_path": "tunebench_jobs.serve.application:build",
        "args": {"config": CONFIG_PATH},
    }
    spec: Manifest = {
        # JSON is YAML.
        "serveConfigV2": json.dumps({"applications": [application]}, sort_keys=True),
        "rayClusterConfig": _build_cluster(run, child, installation, storage_uri, pool, workers=1),
    }
    return _finish(run, child, _RAY_API, "RayService", spec)


def count_gpus(run: BenchmarkRun, child: Child, installation: Installation) -> int:
    """Return the GPUs that a child holds while it runs.

    Raises:
        UserError: The run names a pool that the installation lacks.
    """
    pool = find_child_pool(run, child, installation)
    if pool is None:
        return 0
    return pool.gpus * _count_workers(child)


def find_child_pool(run: BenchmarkRun, child: Child, installation: Installation) -> NodePool | None:
    """Return the nodes on which a child computes; none for a stage that needs no Ray.

    Raises:
        UserError: The run names a pool that the installation lacks.
    """
    if child.kind is StageKind.TRAIN:
        return _find_pool(installation, _find_trained_model(run, child))
    if child.kind is StageKind.SERVE:
        return _find_pool(installation, _find_served_model(run, child))
    return None


def check_pools(run: BenchmarkRun, installation: Installation) -> None:
    """Check that the installation has every pool that a run names, and the GPUs that it asks for.

    Raises:
        UserError: It lacks some.
    """
    for model in run.spec.models:
        _find_pool(installation, model)
    problems = find_contradictions(run, installation.build_machines())
    if problems:
        raise UserError("\n".join(map(str, problems)))


def build_endpoint(run: BenchmarkRun, service: str) -> str:
    """Return the address at which other pods reach a RayService's models."""
    host = f"{service}-serve-svc.{run.metadata.namespace}.svc"
    return f"http://{host}:{names.SERVE_PORT}/v1"


def _build_cluster(  # noqa: PLR0913 - each argument is a part of the cluster
    run: BenchmarkRun,
    child: Child,
    installation: Installation,
    storage_uri: str,
    pool: NodePool,
    *,
    workers: int,
) -> Manifest:
    """Build a Ray cluster: a head that only steers, and workers that come together."""
    head = build_pod(
        run,
        child,
        installation,
        container="ray-head",
        quantities=installation.head,
        storage_uri=storage_uri,
    )
    worker = build_pod(
        run,
        child,
        installation,
        container="ray-worker",
        quantities=pool.worker,
        storage_uri=storage_uri,
        pool=pool,
    )
    return {
        "rayVersion": installation.ray_version,
        "headGroupSpec": {
            "rayStartParams": {
                # No actor of ours lands beside Ray's own processes.
                "num-cpus": "0",
                "object-store-memory": _object_store(installation.head),
            },
            "template": head,
        },
        "workerGroupSpecs": [
            {
                "groupName": "workers",
                "replicas": workers,
                "minReplicas": workers,
                "maxReplicas": workers,
                "rayStartParams": {"object-store-memory": _object_store(pool.worker)},
                "template": worker,
            }
        ],
    }


def _finish(
    run: BenchmarkRun, child: Child, api_version: str, kind: str, spec: Manifest
) -> Manifest:
    metadata = build_child_metadata(run, child, names.WORK_PART)
    # Deleting must not wait for quota.
    if run.spec.queue and child.kind is not StageKind.CLEANUP:
        # Kueue suspends it until there is quota.
        metadata["labels"][names.QUEUE_LABEL] = run.spec.queue.name
    return seal({"apiVersion": api_version, "kind": kind, "metadata": metadata, "spec": spec})


def _find_pool(installation: Installation, model: ModelSpec) -> NodePool:
    pool = installation.find_pool(model)
    if pool is None:
        have = ", ".join(each.name for each in installation.pools)
        msg = (
            f"`spec.models[{model.name}].resources.pool` must be one of {have}, "
            f"got {model.resources.pool or 'default'}"
        )
        raise UserError(msg)
    return pool


def _find_trained_model(run: BenchmarkRun, child: Child) -> ModelSpec:
    return next(
        model
        for model in run.spec.models
        if child.key == names.stage_key(StageKind.TRAIN, model.name)
    )


def _find_served_model(run: BenchmarkRun, child: Child) -> ModelSpec:
    """Return a model of the server's base; all of them are served alike."""
    assert isinstance(child.config, ServeConfig)  # noqa: S101 - the planner builds it so
    names_served = {variant.name for variant in child.config.variants}
    base = child.config.base
    return next(
        model
        for model in run.spec.models
        if model.name in names_served
        or (model.base, model.revision, model.gguf_file)
        == (base.base, base.revision, base.gguf_file)
    )


def _count_workers(child: Child) -> int:
    """Return the workers of a training, or the one of a server."""
    if child.sizing is not None:
        return child.sizing.workers
    return child.config.tuning.workers if isinstance(child.config, TrainConfig) else 1


def _object_store(quantities: Quantities) -> str:
    """Return Ray's object store in bytes."""
    share = math.floor(quantities.memory_bytes * _OBJECT_STORE_SHARE)
    return str(max(_MIN_OBJECT_STORE, share))
