"""What users are told by a real API server when their cluster lacks something."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from control_plane import ControlPlane, apply_crd, make_api_client, running_control_plane
from fake_kubelet import FakeKubelet
from kubernetes.dynamic import DynamicClient
from operating import background, create_run, eventually, find_reason, load_run, operating

pytestmark = [pytest.mark.api, pytest.mark.timeout(240)]

REPOSITORY = Path(__file__).parents[2]


def list_events(client: DynamicClient, namespace: str) -> list[dict[str, Any]]:
    """Return what `kubectl describe benchmarkrun` shows below the status."""
    events = client.resources.get(api_version="events.k8s.io/v1", kind="Event")
    found: list[dict[str, Any]] = events.get(namespace=namespace).to_dict()["items"]
    return [each for each in found if each["regarding"]["kind"] == "BenchmarkRun"]


async def test_an_exceeded_quota_is_told(client: DynamicClient, namespace: str) -> None:
    """A Job that may not make its pod says so in an Event of its own only; the run repeats it."""
    quotas = client.resources.get(api_version="v1", kind="ResourceQuota")
    quota = {"metadata": {"name": "team"}, "spec": {"hard": {"pods": "0"}}}
    quotas.create(body=quota, namespace=namespace)
    create_run(client, namespace)

    async with operating(namespace):
        await eventually(
            lambda: find_reason(load_run(client, namespace)) == "PodsRefused", "the quota", 90
        )
    run = load_run(client, namespace)

    stages = {each["name"]: each for each in run["status"]["stages"]}
    assert "exceeded quota: team" in stages["data"]["message"]
    assert "`kubectl describe resourcequotas`" in run["status"]["conditions"][0]["message"]
    told = [each for each in list_events(client, namespace) if each["reason"] == "PodsRefused"]
    assert {each["type"] for each in told} == {"Warning"}
    assert any("exceeded quota: team" in each["note"] for each in told)


async def test_a_cluster_without_kuberay_is_told(tmp_path: Path, plane: ControlPlane) -> None:
    """Stages that need no Ray are done; then the run names what to install, and waits for it."""
    assert plane
    with running_control_plane(tmp_path) as bare, pytest.MonkeyPatch.context() as environment:
        environment.setenv("KUBECONFIG", str(bare.kubeconfig))
        for path in (REPOSITORY / "manifests" / "crds").glob("*.yaml"):
            apply_crd(bare, path.read_text(encoding="utf-8"))
        client = DynamicClient(make_api_client(bare))
        create_run(client, "default")
        kubelet = FakeKubelet(client, "default", kinds=(("batch/v1", "Job"),))
        async with operating("default"), background(kubelet.run()):
            await eventually(
                lambda: find_reason(load_run(client, "default")) == "InstallationIncomplete",
                "what is missing",
            )
        run = load_run(client, "default")
        events = list_events(client, "default")

    (condition,) = (each for each in run["status"]["conditions"] if each["type"] == "Succeeded")
    assert condition["message"].endswith("install KubeRay")
    assert "RayJob" in condition["message"]
    told = [each for each in events if each["reason"] == "InstallationIncomplete"]
    assert [each["type"] for each in told] == ["Warning"]
