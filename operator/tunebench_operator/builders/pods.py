"""The pods of children: hardened alike, with their document, their claims and their keys."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tunebench_api.contract import StageKind
from tunebench_api.places import claim_mount, find_claims
from tunebench_api.v1alpha1 import BenchmarkRun, BenchmarkRunSpec, SecretRef, TrackingSpec
from tunebench_operator import names
from tunebench_operator.builders.access import access_name
from tunebench_operator.builders.metadata import Manifest, build_child_labels, child_object_name
from tunebench_operator.builders.prompts import find_mount, find_prompts_name
from tunebench_operator.builders.storage import build_storage_variables
from tunebench_operator.installation import Installation, NodePool, Quantities
from tunebench_operator.plan import Child

CONFIG_PATH = f"{names.CONFIG_FOLDER}/{names.CONFIG_KEY}"
STAGE_COMMAND = ("python", "-m", "tunebench_jobs", "stage", "--config", CONFIG_PATH)

# Any user but root that the image does not have to know.
USER = 10_001
# Read by Ray in every process of it; usage reports would leave the cluster.
_RAY_SETTINGS = {
    # Pods of other runs are kept away by the network policy.
    "RAY_AUTH_MODE": "disabled",
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    "RAY_TRAIN_METRICS_ENABLED": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "TOKENIZERS_PARALLELISM": "false",
}


def build_pod(  # noqa: PLR0913 - each argument is a part of the pod
    run: BenchmarkRun,
    child: Child,
    installation: Installation,
    *,
    container: str,
    quantities: Quantities,
    storage_uri: str,
    pool: NodePool | None = None,
    command: Sequence[str] = (),
) -> Manifest:
    """Build the template of a child's pod; without a command, KubeRay gives it one."""
    storage = build_storage_variables(run, installation, storage_uri)
    main = _build_container(run, child, container, quantities, storage_uri, storage)
    main["image"] = (pool and pool.image) or installation.image
    main["imagePullPolicy"] = installation.image_pull_policy
    if command:
        main["command"] = list(command)
    if pool and pool.gpu_resource and pool.gpus:
        for kind in ("requests", "limits"):
            main["resources"][kind][pool.gpu_resource] = str(pool.gpus)
    spec: dict[str, Any] = {
        "serviceAccountName": access_name(run),
        "automountServiceAccountToken": True,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER,
            "runAsGroup": USER,
            "fsGroup": USER,
            "fsGroupChangePolicy": "OnRootMismatch",
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [main],
        "volumes": _build_volumes(run, child, storage_uri),
    }
    if installation.image_pull_secrets:
        spec["imagePullSecrets"] = [{"name": name} for name in installation.image_pull_secrets]
    if pool and pool.node_selector:
        spec["nodeSelector"] = dict(pool.node_selector)
    if pool and pool.tolerations:
        spec["tolerations"] = [dict(toleration) for toleration in pool.tolerations]
    labels = {names.MANAGED_BY_LABEL: names.MANAGED_BY, **build_child_labels(run, child)}
    return {"metadata": {"labels": labels}, "spec": spec}


def build_submitter(
    run: BenchmarkRun, child: Child, installation: Installation, pool: NodePool | None
) -> Manifest:
    """Build the template of the pod that hands a job to Ray and waits; it sees no data."""
    container = {
        "name": "submitter",
        "image": (pool and pool.image) or installation.image,
        "imagePullPolicy": installation.image_pull_policy,
        "env": [
            {"name": "HOME", "value": "/tmp"},  # noqa: S108 - a volume of the pod
            *({"name": each, "value": value} for each, value in _RAY_SETTINGS.items()),
        ],
        "resources": _build_resources(Quantities(cpu="200m", memory="512Mi")),
        "securityContext": _build_security(),
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],  # noqa: S108 - likewise
    }
    labels = {names.MANAGED_BY_LABEL: names.MANAGED_BY, **build_child_labels(run, child)}
    return {
        "metadata": {"labels": labels},
        "spec": {
            "automountServiceAccountToken": False,
            "restartPolicy": "Never",
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": USER,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [container],
            "volumes": [{"name": "tmp", "emptyDir": {}}],
        },
    }


def _build_container(  # noqa: PLR0913, PLR0917 - each argument is a part of the container
    run: BenchmarkRun,
    child: Child,
    name: str,
    quantities: Quantities,
    storage_uri: str,
    storage: Sequence[Manifest],
) -> Manifest:
    return {
        "name": name,
        "env": [
            {"name": "HOME", "value": "/tmp"},  # noqa: S108 - a volume of the pod
            *storage,
            *({"name": each, "value": value} for each, value in _RAY_SETTINGS.items()),
            *_build_keys(run, child),
        ],
        "resources": _build_resources(quantities),
        "securityContext": _build_security(),
        "volumeMounts": [
            {"name": "config", "mountPath": names.CONFIG_FOLDER, "readOnly": True},
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - likewise
            {"name": "shm", "mountPath": "/dev/shm"},  # noqa: S108 - Ray's object store
            *_build_prompt_mounts(run, child),
            *(
                {"name": f"claim-{number}", "mountPath": claim_mount(claim)}
                for number, claim in enumerate(_list_claims(run, storage_uri))
            ),
        ],
    }


def _build_volumes(run: BenchmarkRun, child: Child, storage_uri: str) -> list[Manifest]:
    return [
        {"name": "config", "configMap": {"name": child_object_name(run, child)}},
        {"name": "tmp", "emptyDir": {}},
        {"name": "shm", "emptyDir": {"medium": "Memory"}},
        *(
            {"name": mount["name"], "configMap": {"name": find_prompts_name(run)}}
            for mount in _build_prompt_mounts(run, child)
        ),
        *(
            {"name": f"claim-{number}", "persistentVolumeClaim": {"claimName": claim}}
            for number, claim in enumerate(_list_claims(run, storage_uri))
        ),
    ]


def _build_prompt_mounts(run: BenchmarkRun, child: Child) -> list[Manifest]:
    place = find_mount(run, child.kind)
    return [{"name": "prompts", "mountPath": place, "readOnly": True}] if place else []


def _list_claims(run: BenchmarkRun, storage_uri: str) -> list[str]:
    return sorted({*find_claims(storage_uri), *find_claims(run.spec.to_wire())})


def _build_keys(run: BenchmarkRun, child: Child) -> list[Manifest]:
    """Build the variables with API keys and tokens; a stage that asks nobody gets none."""
    return [
        {
            # With the Secret's name, because two Secrets may use one key.
            "name": f"{ref.name}.{ref.key}",
            # The preflight says what is missing; kubelet would only wait.
            "valueFrom": {"secretKeyRef": {"name": ref.name, "key": ref.key, "optional": True}},
        }
        for ref in dict.fromkeys(list_secrets(run.spec, child.kind))
    ]


def list_secrets(spec: BenchmarkRunSpec, kind: StageKind) -> list[SecretRef]:
    """Return the keys that a stage needs, and no others."""
    dataset, tracking = spec.dataset, spec.tracking or TrackingSpec()
    owners: Mapping[StageKind, Sequence[SecretRef | None]] = {
        StageKind.DATA: [
            *(llm.secret_ref for _, llm in dataset.makers),
            *(ref for _, ref in dataset.source_secrets),
        ],
        StageKind.BASELINE: [spec.baseline.secret_ref],
        StageKind.JUDGE: [judge.secret_ref for judge in spec.judges],
        StageKind.TRAIN: [ref for _, ref in tracking.training_secrets],
        StageKind.SCORE: [ref for _, ref in tracking.result_secrets],
    }
    if kind is StageKind.PREFLIGHT:
        # It looks whether all of them are there.
        order = (
            StageKind.JUDGE,
            StageKind.BASELINE,
            StageKind.DATA,
            StageKind.TRAIN,
            StageKind.SCORE,
        )
        return [ref for each in order for ref in owners[each] if ref]
    return [ref for ref in owners.get(kind, ()) if ref]


def _build_resources(quantities: Quantities) -> Manifest:
    asked = {"cpu": quantities.cpu, "memory": quantities.memory}
    return {"requests": dict(asked), "limits": {"memory": quantities.memory}}


def _build_security() -> Manifest:
    return {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
