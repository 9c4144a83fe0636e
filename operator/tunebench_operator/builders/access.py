"""What the pods of a run may do: report; and who may talk to them: each other, and KubeRay.

A winner that stays served answers the namespace besides, at that one port.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import MappingProxyType

from tunebench_api.v1alpha1 import BenchmarkRun, Keep
from tunebench_operator import names
from tunebench_operator.builders.metadata import Manifest, build_metadata, seal

# Of KubeRay's operator, as its Helm chart and its kustomization label it alike; it asks Ray how
# jobs are.
_KUBERAY_LABELS = MappingProxyType({"app.kubernetes.io/component": "kuberay-operator"})


def build_access(run: BenchmarkRun, reports: Sequence[str]) -> list[Manifest]:
    """Build the identity of a run's pods, which may touch these report ConfigMaps alone."""
    name = access_name(run)
    account = {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": build_metadata(run, name, names.ACCESS_PART),
        "automountServiceAccountToken": False,
    }
    role = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "Role",
        "metadata": build_metadata(run, name, names.ACCESS_PART),
        "rules": [
            {
                "apiGroups": [""],
                "resources": ["configmaps"],
                "resourceNames": sorted(reports),
                "verbs": ["get", "patch"],
            }
        ],
    }
    binding = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": build_metadata(run, name, names.ACCESS_PART),
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name},
        "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": run.metadata.namespace}],
    }
    mine = {names.MANAGED_BY_LABEL: names.MANAGED_BY, names.RUN_LABEL: run.metadata.name}
    policy = {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": build_metadata(run, name, names.ACCESS_PART),
        "spec": {
            "podSelector": {"matchLabels": mine},
            "policyTypes": ["Ingress"],
            # Whoever can talk to Ray can run code with the run's keys.
            "ingress": [
                {
                    "from": [
                        {"podSelector": {"matchLabels": mine}},
                        {
                            "namespaceSelector": {},
                            "podSelector": {"matchLabels": dict(_KUBERAY_LABELS)},
                        },
                    ]
                },
                *_build_openings(run),
            ],
        },
    }
    return [seal(account), seal(role), seal(binding), seal(policy)]


def _build_openings(run: BenchmarkRun) -> list[Manifest]:
    """Let the run's namespace ask the server that stays; Ray's own ports stay closed."""
    if run.spec.serving.keep is Keep.NONE:
        return []
    port = {"protocol": "TCP", "port": names.SERVE_PORT}
    return [{"from": [{"podSelector": {}}], "ports": [port]}]


def access_name(run: BenchmarkRun) -> str:
    """Return the name of the run's ServiceAccount."""
    return names.access_name(run.metadata.name, run.metadata.uid or "")
