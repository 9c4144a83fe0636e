"""The operator seen through a proxy: what it writes, a deaf watch, and a leader that dies."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from api_proxy import ApiProxy, proxying
from control_plane import ControlPlane
from fake_kubelet import FakeKubelet
from kubernetes.dynamic import DynamicClient
from make_installation import make_installation
from operating import (
    SPEC,
    background,
    create_run,
    eventually,
    find_reason,
    list_work,
    load_run,
    operating,
)

from tunebench_operator import names
from tunebench_operator.yaml_text import build_yaml

pytestmark = [pytest.mark.api, pytest.mark.timeout(300)]

RUN = "/benchmarkruns/test"


def is_done(client: DynamicClient, namespace: str) -> bool:
    """Return whether the run has its leaderboard."""
    return find_reason(load_run(client, namespace)) == "Succeeded"


def find_free_port() -> int:
    """Return a port that nobody has."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def load_page(port: int, path: str) -> tuple[int, str]:
    """Return status and text of one of the operator's pages; 0 while it does not listen."""
    try:
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"http://127.0.0.1:{port}{path}") as answer,
        ):
            return answer.status, await answer.text()
    except aiohttp.ClientError:
        return 0, ""


async def test_writes_are_few(
    plane: ControlPlane,
    client: DynamicClient,
    namespace: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """At most two writes to the run for each change of a stage; none where nothing changes."""
    port = find_free_port()
    kubelet = FakeKubelet(client, namespace)
    async with proxying(plane) as proxy:
        monkeypatch.setenv("KUBECONFIG", str(proxy.write_kubeconfig(plane, tmp_path / "config")))
        create_run(client, namespace)
        async with operating(namespace, port=port), background(kubelet.run()):
            await eventually(lambda: is_done(client, namespace), "a leaderboard")
            await eventually(lambda: not list_work(client, namespace, "serve"), "servers to go")
            await asyncio.sleep(1)
            of_run, before = proxy.list_writes(RUN), len(proxy.list_writes())
            touch_job(client, namespace)
            await asyncio.sleep(2)
            after = len(proxy.list_writes())
            status, page = await load_page(port, "/metrics")
    stages = load_run(client, namespace)["status"]["stages"]

    # Pending, Running, Succeeded: two changes of each stage.
    assert len(of_run) <= 2 * 2 * len(stages)
    assert after == before
    assert status == 200
    assert 'tunebench_runs{reason="Succeeded"} 1.0' in page
    assert 'tunebench_reconciles_total{outcome="success"}' in page
    assert 'tunebench_api_requests_total{kind="RayJob",status="200",verb="apply"} 2.0' in page
    assert "tunebench_watch_deaf 0.0" in page


def touch_job(client: DynamicClient, namespace: str) -> None:
    """Change a child in a way that means nothing; the run is looked at."""
    jobs = client.resources.get(api_version="batch/v1", kind="Job")
    touched = jobs.get(namespace=namespace).to_dict()["items"][0]["metadata"]["name"]
    jobs.patch(
        name=touched,
        namespace=namespace,
        body={"metadata": {"annotations": {"touched": "yes"}}},
        content_type="application/merge-patch+json",
    )


async def test_a_deaf_watch_is_noticed_and_healed(
    plane: ControlPlane,
    client: DynamicClient,
    namespace: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """No event comes through: the sweep drives the run to its end, and liveness asks for help."""
    port = find_free_port()
    kubelet = FakeKubelet(client, namespace)
    alive: list[int] = []

    async def probe() -> None:
        while True:
            alive.append((await load_page(port, "/healthz"))[0])
            await asyncio.sleep(0.2)

    async with proxying(plane) as proxy:
        monkeypatch.setenv("KUBECONFIG", str(proxy.write_kubeconfig(plane, tmp_path / "config")))
        async with operating(namespace, port=port, sweep_seconds=1.5):
            healthy = await load_page(port, "/healthz")
            proxy.is_deaf = lambda _: True
            create_run(client, namespace)
            async with background(kubelet.run()), background(probe()):
                await eventually(lambda: is_done(client, namespace), "a leaderboard", 120)
            _, page = await load_page(port, "/metrics")

    assert proxy.swallowed > 0
    assert healthy[0] == 200
    # The first sweep that finds something may have been too early for the watch; the second not.
    assert 503 in alive
    assert alive.index(200) < alive.index(503)
    assert "tunebench_sweep_unseen_runs 1.0" in page


def write_installation(folder: Path) -> Path:
    """Write what the chart mounts into the pod."""
    folder.mkdir()
    path = folder / "installation.yaml"
    path.write_text(build_yaml(make_installation().to_wire()), encoding="utf-8")
    return path


@asynccontextmanager
async def replica(
    plane: ControlPlane, proxy: ApiProxy, namespace: str, folder: Path
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run the operator's own process, as a pod does, through a proxy."""
    installation = await asyncio.to_thread(write_installation, folder)
    options = {"installation": installation, "namespace": namespace, "lease-namespace": namespace}
    with (folder / "log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tunebench_operator", "operator"),
            *(f"--{key}={value}" for key, value in options.items()),
            f"--port={find_free_port()}",
            env={**os.environ, "KUBECONFIG": str(proxy.write_kubeconfig(plane, folder / "config"))},
            stdout=log,
            stderr=log,
        )
        try:
            yield process
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()


async def test_one_of_two_acts_and_the_other_takes_over(
    plane: ControlPlane, client: DynamicClient, namespace: str, tmp_path: Path
) -> None:
    """A follower writes nothing until the leader is killed; then it ends the run, nothing twice."""
    held = True
    kubelet = FakeKubelet(
        client,
        namespace,
        lambda metadata: not held or metadata["labels"][names.STAGE_LABEL] != "train",
    )
    async with (
        proxying(plane) as first,
        proxying(plane) as second,
        replica(plane, first, namespace, tmp_path / "first") as leader,
        background(kubelet.run()),
    ):
        await eventually(lambda: bool(first.list_writes("/leases")), "the first to lead")
        async with replica(plane, second, namespace, tmp_path / "second"):
            create_run(client, namespace)
            await eventually(lambda: bool(list_work(client, namespace, "train")), "a training")
            await eventually(lambda: bool(second.requests), "the second to follow")
            foreign = [each for each in second.list_writes() if "/leases" not in each[1]]
            os.kill(leader.pid, signal.SIGKILL)
            held = False
            await eventually(lambda: is_done(client, namespace), "a leaderboard", 120)
    acted = [each for each in second.list_writes() if "/leases" not in each[1]]
    stages = load_run(client, namespace)["status"]["stages"]

    assert foreign == []
    assert acted
    assert all(stage["attempt"] <= 1 for stage in stages)
    assert sorted(kubelet.seen.values()).count("train") == 2


async def test_no_key_is_ever_shown(
    client: DynamicClient, namespace: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A Secret that a run names is in no object, no Event and no line of the operator's log."""
    canary = "canary-5f1d0c9a7b"
    secrets = client.resources.get(api_version="v1", kind="Secret")
    for name in ("llm-keys", "teacher-keys"):
        body = {"metadata": {"name": name}, "stringData": {"KEY": canary}}
        secrets.create(body=body, namespace=namespace)
    judge = {
        "name": "judge",
        "model": "openai/gpt-4o-2024-11-20",
        "secretRef": {"name": "llm-keys", "key": "KEY"},
    }
    teacher = {
        "model": "openai/gpt-4o-2024-08-06",
        "secretRef": {"name": "teacher-keys", "key": "KEY"},
        "budgetUSD": "1",
    }
    dataset = {**SPEC["dataset"], "answers": "Teacher", "teacher": teacher}
    create_run(client, namespace, judges=[judge], dataset=dataset)
    kubelet = FakeKubelet(client, namespace)

    with caplog.at_level("DEBUG"):
        async with operating(namespace), background(kubelet.run()):
            await eventually(lambda: is_done(client, namespace), "a leaderboard")
    texts = [str(each) for each in list_everything(client, namespace)]

    assert len(texts) > 50
    assert any("llm-keys" in text for text in texts)
    assert any("teacher-keys" in text for text in texts)
    assert not any(canary in text for text in texts)
    assert canary not in caplog.text


def list_everything(client: DynamicClient, namespace: str) -> list[Any]:
    """Return every object of a namespace but its Secrets."""
    kinds = [
        ("tunebench.dev/v1alpha1", "BenchmarkRun"),
        ("v1", "ConfigMap"),
        ("v1", "Event"),
        ("v1", "ServiceAccount"),
        ("v1", "Pod"),
        ("batch/v1", "Job"),
        ("ray.io/v1", "RayJob"),
        ("ray.io/v1", "RayService"),
        ("rbac.authorization.k8s.io/v1", "Role"),
        ("networking.k8s.io/v1", "NetworkPolicy"),
    ]
    return [
        each
        for api_version, kind in kinds
        for each in client.resources.get(api_version=api_version, kind=kind)
        .get(namespace=namespace)
        .to_dict()["items"]
    ]
