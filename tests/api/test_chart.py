"""The Helm chart on a real API server: installed, used with the rights that it grants, removed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes
import pytest
import yaml
from control_plane import (
    TOOLS,
    ControlPlane,
    apply_crd,
    make_api_client,
    running_control_plane,
    write_kubeconfig,
)
from fake_kubelet import FakeKubelet
from helm import run_helm
from kubernetes.client import CoreV1Api
from kubernetes.dynamic import DynamicClient
from operating import background, create_run, eventually, find_reason, load_run, operating

from tunebench_operator import names
from tunebench_operator.installation import Installation, load_installation

pytestmark = [pytest.mark.api, pytest.mark.timeout(300)]

REPOSITORY = Path(__file__).parents[2]
CHART = REPOSITORY / "charts" / "tunebench"
SPACE = "tunebench-system"
AUDIENCE = "https://kubernetes.default.svc"


def render(folder: Path, *arguments: str) -> dict[tuple[str, str], dict[str, Any]]:
    """Return the objects of the chart by kind and name."""
    command = ["template", "tunebench", str(CHART), "--namespace", SPACE]
    # Helm asks no cluster here, and knows no version by itself.
    text = run_helm(*command, "--kube-version", "1.35.4", *arguments, folder=folder)
    found = [each for each in yaml.safe_load_all(text) if each]
    return {(each["kind"], each["metadata"]["name"]): each for each in found}


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """Return a cluster that knows KubeRay and has never heard of tunebench."""
    with running_control_plane(tmp_path_factory.mktemp("bare")) as running:
        for path in sorted((TOOLS / "kuberay-crds").glob("*.yaml")):
            apply_crd(running, path.read_text(encoding="utf-8"))
        yield running


def test_the_chart_is_in_order(tmp_path: Path) -> None:
    """Helm finds nothing to say, with every switch on."""
    switches = ["metrics.serviceMonitor.enabled=true", "storage.claim.create=true", "replicas=2"]
    run_helm(
        "lint", "--strict", str(CHART), *(f"--set={each}" for each in switches), folder=tmp_path
    )
    objects = render(tmp_path, *(f"--set={each}" for each in switches))

    assert ("ServiceMonitor", "tunebench") in objects
    assert objects["PersistentVolumeClaim", "tunebench-runs"]
    text = objects["ConfigMap", "tunebench"]["data"]["installation.yaml"]
    assert Installation.from_wire(yaml.safe_load(text)).storage_uri == "pvc://tunebench-runs/runs"


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ("storage.uri=s4://bucket", "storage"),
        ("replica=2", "replica"),
        ("jobs.head.memory=lots", "memory"),
        ("pools[0].name=No_Name", "name"),
        ("serviceAccount.create=false", "serviceAccount.name must be given"),
    ],
)
def test_wrong_values_are_refused(tmp_path: Path, wrong: str, told: str) -> None:
    """A mistake in the values is named before anything is installed."""
    with pytest.raises(RuntimeError, match=told):
        render(tmp_path, "--set", wrong)


def test_the_operator_may_do_this_and_no_more(tmp_path: Path) -> None:
    """Every permission stands here: who adds one, says so."""
    objects = render(tmp_path)
    rules = {
        "/".join(
            part for part in (group, resource, *rule.get("resourceNames", ())) if part
        ): " ".join(rule["verbs"])
        for (kind, _), found in objects.items()
        if kind in {"ClusterRole", "Role"}
        for rule in found["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
    }

    assert rules == {
        "apiextensions.k8s.io/customresourcedefinitions": "list watch",
        "batch/jobs": "list watch create patch delete",
        "configmaps": "get list watch create patch",
        "coordination.k8s.io/leases": "create",
        f"coordination.k8s.io/leases/{names.FIELD_MANAGER}": "get update",
        "events": "list",
        "events.k8s.io/events": "create",
        "networking.k8s.io/networkpolicies": "list watch create patch",
        "pods": "list watch",
        "ray.io/rayjobs": "list watch create patch delete",
        "ray.io/rayservices": "list watch create patch delete",
        "rbac.authorization.k8s.io/rolebindings": "list watch create patch",
        "rbac.authorization.k8s.io/roles": "list watch create patch",
        "serviceaccounts": "list watch create patch",
        "tunebench.dev/benchmarkruns": "list watch patch",
        "tunebench.dev/benchmarkruns/finalizers": "update",
        "tunebench.dev/benchmarkruns/status": "patch",
    }


def make_operator_kubeconfig(bare: ControlPlane, folder: Path) -> Path:
    """Write a kubeconfig with the token that the operator's pod would get."""
    spec = kubernetes.client.V1TokenRequestSpec(audiences=[AUDIENCE])
    token = CoreV1Api(make_api_client(bare)).create_namespaced_service_account_token(
        "tunebench", SPACE, kubernetes.client.AuthenticationV1TokenRequest(spec=spec)
    )
    write_kubeconfig(folder / "operator", bare.server, bare.certificate, str(token.status.token))
    return folder / "operator"


def find_installation(client: DynamicClient, folder: Path) -> Installation:
    """Return what the operator's pod would read."""
    maps = client.resources.get(api_version="v1", kind="ConfigMap")
    found = maps.get(name="tunebench", namespace=SPACE).to_dict()["data"]["installation.yaml"]
    (folder / "installation.yaml").write_text(found, encoding="utf-8")
    return load_installation(folder / "installation.yaml")


@pytest.mark.parametrize("watched", ["", "team"], ids=["all namespaces", "one namespace"])
async def test_install_run_upgrade_uninstall(
    bare: ControlPlane, tmp_path: Path, watched: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From `helm install` to a leaderboard, with the chart's rights; uninstalling loses no run."""
    client = DynamicClient(make_api_client(bare))
    spaces = client.resources.get(api_version="v1", kind="Namespace")
    restricted = {"pod-security.kubernetes.io/enforce": "restricted"}
    name = watched or "anywhere"
    spaces.create(body={"metadata": {"name": name, "labels": restricted}})

    def helm(*arguments: str) -> str:
        return run_helm(
            *arguments, "--namespace", SPACE, kubeconfig=bare.kubeconfig, folder=tmp_path
        )

    settings = ["--set", "storage.claim.create=true", "--set", f"watchNamespace={watched}"]
    notes = helm("install", "tunebench", str(CHART), "--create-namespace", *settings)
    client = DynamicClient(make_api_client(bare))
    monkeypatch.setenv("KUBECONFIG", str(make_operator_kubeconfig(bare, tmp_path)))
    create_run(client, name)
    kubelet = FakeKubelet(client, name)
    async with (
        operating(watched or None, find_installation(client, tmp_path)),
        background(kubelet.run()),
    ):
        await eventually(lambda: find_reason(load_run(client, name)) == "Succeeded", "leaderboard")
    more = ["--set", "pools[0].name=default", "--set", "pools[1].name=big"]
    helm("upgrade", "tunebench", str(CHART), *settings, *more)
    pools = [pool.name for pool in find_installation(client, tmp_path).pools]
    helm("uninstall", "tunebench")

    assert "kubectl --namespace" in notes
    assert pools == ["default", "big"]
    # The CRD stays, and the claim with all results.
    assert find_reason(load_run(client, name)) == "Succeeded"
    claims = client.resources.get(api_version="v1", kind="PersistentVolumeClaim")
    assert claims.get(name="tunebench-runs", namespace=SPACE)
    deployments = client.resources.get(api_version="apps/v1", kind="Deployment")
    assert not deployments.get(namespace=SPACE).items


def test_the_operators_pod_is_restricted(bare: ControlPlane, tmp_path: Path) -> None:
    """A namespace that enforces the restricted pod security standard takes the pod."""
    core = CoreV1Api(make_api_client(bare))
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    core.create_namespace({"metadata": {"name": "restricted", "labels": labels}})
    core.create_namespaced_service_account("restricted", {"metadata": {"name": "tunebench"}})
    template = render(tmp_path)["Deployment", "tunebench"]["spec"]["template"]
    pod = {"metadata": {"name": "operator"}, "spec": template["spec"]}

    assert core.create_namespaced_pod("restricted", pod, dry_run="All").metadata.name == "operator"
