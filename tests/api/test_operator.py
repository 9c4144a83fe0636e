"""The operator against a real API server; nodes and KubeRay are stand-ins that let work succeed."""

from __future__ import annotations

import asyncio

import kubernetes
import pytest
from fake_kubelet import FakeKubelet
from kubernetes.dynamic import DynamicClient
from kubernetes.dynamic.exceptions import NotFoundError
from make_run import make_body
from operating import (
    background,
    create_run,
    eventually,
    find_reason,
    list_work,
    load_run,
    operating,
)

from tunebench_api.v1alpha1 import API_VERSION, KIND
from tunebench_operator import names

pytestmark = [pytest.mark.api, pytest.mark.timeout(240)]


async def test_a_run_ends_with_a_leaderboard(client: DynamicClient, namespace: str) -> None:
    """Every stage runs once, GPUs go as soon as nobody needs them, and then nothing is written."""
    create_run(client, namespace)
    kubelet = FakeKubelet(client, namespace)

    async with operating(namespace), background(kubelet.run()):
        await eventually(
            lambda: find_reason(load_run(client, namespace)) == "Succeeded", "leaderboard"
        )
        await eventually(lambda: not list_work(client, namespace, "serve"), "servers to go")
        done = load_run(client, namespace)
        # A sign of life of a child wakes the run, which finds that nothing has changed.
        jobs = client.resources.get(api_version="batch/v1", kind="Job")
        touched = jobs.get(namespace=namespace).to_dict()["items"][0]["metadata"]["name"]
        jobs.patch(
            name=touched,
            namespace=namespace,
            body={"metadata": {"annotations": {"touched": "yes"}}},
            content_type="application/merge-patch+json",
        )
        await asyncio.sleep(1.5)
        later = load_run(client, namespace)

    status = done["status"]
    assert status["summary"]["models"] == "2/2"
    assert status["leaderboard"][0]["winRate"]["pct"] == "40.0"
    assert sorted(kubelet.seen.values()).count("train") == 2
    assert all(stage["attempt"] <= 1 for stage in status["stages"])
    assert later["metadata"]["resourceVersion"] == done["metadata"]["resourceVersion"]
    events = client.resources.get(api_version="events.k8s.io/v1", kind="Event")
    told = [each["note"] for each in events.get(namespace=namespace).to_dict()["items"]]
    assert any(note.startswith("train/one: ") for note in told)


async def test_a_restarted_operator_goes_on(client: DynamicClient, namespace: str) -> None:
    """Stopped and started again and again, it repeats nothing."""
    create_run(client, namespace)
    kubelet = FakeKubelet(client, namespace)

    async with background(kubelet.run()):
        for _ in range(20):
            async with operating(namespace):
                await asyncio.sleep(0.4)
            if find_reason(load_run(client, namespace)) == "Succeeded":
                break
        async with operating(namespace):
            await eventually(
                lambda: find_reason(load_run(client, namespace)) == "Succeeded", "leaderboard"
            )

    stages = load_run(client, namespace)["status"]["stages"]
    served = [stage for stage in stages if stage["name"].startswith("serve")]
    assert all(stage["attempt"] <= 1 for stage in stages if stage not in served)
    assert sorted(kubelet.seen.values()).count("train") == 2


async def test_removed_work_comes_back(client: DynamicClient, namespace: str) -> None:
    """What somebody deletes while it is needed is made again, as the same attempt."""
    create_run(client, namespace)
    kubelet = FakeKubelet(
        client, namespace, lambda metadata: metadata["labels"][names.STAGE_LABEL] != "train"
    )

    async with operating(namespace), background(kubelet.run()):
        await eventually(lambda: bool(list_work(client, namespace, "train")), "a training")
        (name,) = list_work(client, namespace, "train")
        jobs = client.resources.get(api_version="ray.io/v1", kind="RayJob")
        before = jobs.get(name=name, namespace=namespace).metadata.uid
        jobs.delete(name=name, namespace=namespace)
        await eventually(
            lambda: (
                list_work(client, namespace, "train") == [name]
                and jobs.get(name=name, namespace=namespace).metadata.uid != before
            ),
            "the training to come back",
        )

    stages = {each["name"]: each for each in load_run(client, namespace)["status"]["stages"]}
    assert stages["train/one"]["attempt"] == 1


async def test_suspending_stops_what_runs(client: DynamicClient, namespace: str) -> None:
    """A suspended run has no work; resumed, it goes on with a new attempt and no lost retry."""
    create_run(client, namespace, retries=0)
    held = True
    kubelet = FakeKubelet(
        client,
        namespace,
        lambda metadata: not held or metadata["labels"][names.STAGE_LABEL] != "train",
    )
    runs = client.resources.get(api_version=API_VERSION, kind=KIND)

    def set_suspended(*, value: bool) -> None:
        runs.patch(
            name="test",
            namespace=namespace,
            body={"spec": {"suspend": value}},
            content_type="application/merge-patch+json",
        )

    async with operating(namespace), background(kubelet.run()):
        await eventually(lambda: bool(list_work(client, namespace, "train")), "a training")
        set_suspended(value=True)
        await eventually(lambda: not list_work(client, namespace, "train"), "the training to go")
        await eventually(
            lambda: find_reason(load_run(client, namespace)) == "Suspended", "the reason Suspended"
        )
        held = False
        set_suspended(value=False)
        await eventually(
            lambda: find_reason(load_run(client, namespace)) == "Succeeded", "leaderboard"
        )

    stages = {each["name"]: each for each in load_run(client, namespace)["status"]["stages"]}
    assert stages["train/one"]["attempt"] == 2


async def test_a_deleted_run_leaves_no_work(client: DynamicClient, namespace: str) -> None:
    """Deletion stops the training, and only then lets the run go."""
    create_run(client, namespace)
    kubelet = FakeKubelet(
        client, namespace, lambda metadata: metadata["labels"][names.STAGE_LABEL] != "train"
    )
    runs = client.resources.get(api_version=API_VERSION, kind=KIND)

    def is_gone() -> bool:
        try:
            runs.get(name="test", namespace=namespace)
        except NotFoundError:
            return True
        return False

    async with operating(namespace), background(kubelet.run()):
        await eventually(lambda: bool(list_work(client, namespace, "train")), "a training")
        finalizers = load_run(client, namespace)["metadata"]["finalizers"]
        runs.delete(name="test", namespace=namespace)
        await eventually(is_gone, "the run to go")
        work = list_work(client, namespace, "train")

    assert finalizers == [names.FINALIZER]
    assert work == []


async def test_pods_may_report_and_nothing_else(client: DynamicClient, namespace: str) -> None:
    """A job's token can patch its run's reports; no Secret, no other ConfigMap, no pod."""
    create_run(client, namespace)
    kubelet = FakeKubelet(client, namespace, lambda _: False)

    async with operating(namespace), background(kubelet.run()):
        await eventually(lambda: bool(list_work(client, namespace, "data")), "the data stage")

    (job,) = list_work(client, namespace, "data")
    accounts = client.resources.get(api_version="v1", kind="ServiceAccount")
    (account,) = [
        each["metadata"]["name"]
        for each in accounts.get(namespace=namespace).to_dict()["items"]
        if each["metadata"]["name"] != "default"
    ]
    user = f"system:serviceaccount:{namespace}:{account}"
    asked = {
        ("patch", "configmaps", names.report_name(job)): True,
        ("get", "configmaps", names.report_name(job)): True,
        ("get", "configmaps", job): False,
        ("patch", "configmaps", job): False,
        ("create", "configmaps", ""): False,
        ("list", "configmaps", ""): False,
        ("get", "secrets", "llm-keys"): False,
        ("get", "pods", ""): False,
    }
    answers = {each: is_allowed(client, user, namespace, each) for each in asked}
    assert answers == asked


async def test_a_run_that_pods_cannot_read_is_refused(
    client: DynamicClient, namespace: str
) -> None:
    """A laptop's path in a cluster: nothing starts, and the status names the field."""
    runs = client.resources.get(api_version=API_VERSION, kind=KIND)
    runs.create(body=make_body(), namespace=namespace)

    async with operating(namespace):
        await eventually(lambda: bool(find_reason(load_run(client, namespace))), "a refusal")

    run = load_run(client, namespace)
    (condition,) = run["status"]["conditions"]
    assert (condition["status"], condition["reason"]) == ("False", "InvalidSpec")
    assert "`spec.dataset.train.uri` must begin with" in condition["message"]
    assert "pvc://" in condition["message"]
    assert list_work(client, namespace) == []


def is_allowed(
    client: DynamicClient, user: str, namespace: str, asked: tuple[str, str, str]
) -> bool:
    """Ask the API server whether a user may do something: verb, resource, name."""
    verb, resource, name = asked
    body = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "spec": {
            "user": user,
            "resourceAttributes": {
                "namespace": namespace,
                "verb": verb,
                "resource": resource,
                "name": name,
            },
        },
    }
    api = kubernetes.client.AuthorizationV1Api(client.client)
    return bool(api.create_subject_access_review(body).status.allowed)


async def test_deleted_artefacts_are_said(client: DynamicClient, namespace: str) -> None:
    """With `cleanup: Delete` a Job deletes before the run goes, and an Event says how it went."""
    create_run(client, namespace, cleanup="Delete")
    kubelet = FakeKubelet(client, namespace)
    runs = client.resources.get(api_version=API_VERSION, kind=KIND)

    def is_gone() -> bool:
        try:
            load_run(client, namespace)
        except NotFoundError:
            return True
        return False

    async with operating(namespace), background(kubelet.run()):
        await eventually(lambda: bool(list_work(client, namespace, "data")), "some work")
        await eventually(lambda: bool(find_reason(load_run(client, namespace))), "a status")
        runs.delete(name="test", namespace=namespace)
        await eventually(is_gone, "the run to go")

    assert "cleanup" in kubelet.seen.values()
    events = client.resources.get(api_version="events.k8s.io/v1", kind="Event")
    told = [each["reason"] for each in events.get(namespace=namespace).to_dict()["items"]]
    assert told.count("ArtefactsDeleted") == 1


async def test_a_namespace_that_goes_is_not_held_up(client: DynamicClient) -> None:
    """Nothing can be made in a namespace that is being deleted; its runs go all the same."""
    spaces = client.resources.get(api_version="v1", kind="Namespace")
    space = str(spaces.create(body={"metadata": {"generateName": "going-"}}).metadata.name)
    create_run(client, space, cleanup="Delete")

    def is_gone() -> bool:
        try:
            spaces.get(name=space)
        except NotFoundError:
            return True
        return False

    async with operating(space):
        await eventually(lambda: bool(list_work(client, space, "data")), "some work")
        spaces.delete(name=space)
        await eventually(is_gone, "the namespace to go", seconds=90)


async def test_prompts_come_from_a_config_map(client: DynamicClient, namespace: str) -> None:
    """A run waits for its ConfigMap, copies it once, and later changes mean nothing to it."""
    create_run(client, namespace, prompts={"configMapRef": {"name": "ours"}})
    kubelet = FakeKubelet(client, namespace)
    maps = client.resources.get(api_version="v1", kind="ConfigMap")
    ours = {"metadata": {"name": "ours"}, "data": {"a.toml": "[pr_description_prompt]"}}

    def find_digests() -> list[str]:
        return [each["digest"] for each in load_run(client, namespace)["status"]["stages"]]

    async with operating(namespace), background(kubelet.run()):
        await eventually(
            lambda: find_reason(load_run(client, namespace)) == "PromptsMissing", "a refusal"
        )
        waiting = list_work(client, namespace)
        maps.create(body=ours, namespace=namespace)
        await eventually(
            lambda: find_reason(load_run(client, namespace)) == "Succeeded", "leaderboard"
        )
        before = find_digests()
        maps.patch(
            name="ours",
            namespace=namespace,
            body={"data": {"a.toml": "changed"}},
            content_type="application/merge-patch+json",
        )
        # A sign of life of a child wakes the run.
        await asyncio.sleep(1.5)

    copies = maps.get(namespace=namespace, label_selector=f"{names.PART_LABEL}=prompts")
    assert waiting == []
    assert [each["data"] for each in copies.to_dict()["items"]] == [ours["data"]]
    assert find_digests() == before


async def test_the_winner_stays_served(client: DynamicClient, namespace: str) -> None:
    """Its address is in the status, and its server goes when it is no longer asked for."""
    create_run(client, namespace, serving={"keep": "Winner"})
    kubelet = FakeKubelet(client, namespace)
    runs = client.resources.get(api_version=API_VERSION, kind=KIND)

    def find_endpoint() -> str:
        serving = (load_run(client, namespace).get("status") or {}).get("serving") or {}
        return str(serving.get("endpoint", ""))

    async with operating(namespace), background(kubelet.run()):
        await eventually(lambda: bool(find_endpoint()), "the winner to answer")
        done = load_run(client, namespace)
        (server,) = list_work(client, namespace, "serve")
        endpoint = find_endpoint()
        runs.patch(
            name="test",
            namespace=namespace,
            body={"spec": {"serving": {"keep": "None"}}},
            content_type="application/merge-patch+json",
        )
        await eventually(lambda: not list_work(client, namespace, "serve"), "the server to go")
        await eventually(lambda: not find_endpoint(), "the address to go")

    assert find_reason(done) == "Succeeded"
    assert done["status"]["serving"]["variant"] == "one"
    assert endpoint == f"http://{server}-serve-svc.{namespace}.svc:8000/v1"
    assert find_reason(load_run(client, namespace)) == "Succeeded"
