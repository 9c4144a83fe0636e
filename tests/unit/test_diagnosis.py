"""Whatever keeps work from going on is told by `kubectl describe benchmarkrun` alone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from memory_cluster import MemoryCluster, make_cluster_run, stage_of

from tunebench_api.contract import ResultState, StageKind, StageResult
from tunebench_api.v1alpha1 import BenchmarkRunStatus
from tunebench_operator import names, reasons
from tunebench_operator.builders.metadata import Manifest
from tunebench_operator.observe import build_objects, list_podless
from tunebench_operator.transitions import WARNING, Transition, build_transitions

NO_NODE = "0/3 nodes are available: 3 Insufficient nvidia.com/gpu."
NO_CLAIM = '0/1 nodes are available: persistentvolumeclaim "bench" not found.'
QUOTA = 'pods "x" is forbidden: exceeded quota: team, requested: memory=3Gi, used: 0, limited: 1Gi'
OOM = {"terminated": {"reason": "OOMKilled", "exitCode": 137}}


def make_cluster(stage: StageKind, **spec: Any) -> tuple[MemoryCluster, Manifest]:
    """Return a cluster in which a stage has just been started, and what does its work."""
    cluster = MemoryCluster(make_cluster_run(**spec))
    for _ in range(20):
        cluster.step()
        for work in cluster.list_work_in_progress():
            if stage_of(work) is stage:
                return cluster, work
            cluster.succeed(work)
    raise AssertionError(stage)


def add_pod(cluster: MemoryCluster, work: Manifest, **status: Any) -> None:
    """Give a piece of work a pod."""
    metadata = {"name": "pod-1", "namespace": "bench", "labels": work["metadata"]["labels"]}
    cluster.objects["Pod", "pod-1"] = {"kind": "Pod", "metadata": metadata, "status": status}


def tell(cluster: MemoryCluster) -> tuple[BenchmarkRunStatus, list[Transition]]:
    """Return the status after a step, and the Events that come with it."""
    before = cluster.run.status
    status = cluster.step().status
    return status, build_transitions(before, status)


def waiting(reason: str, message: str = "") -> dict[str, Any]:
    """Return the status of a pod whose container waits."""
    state = {"waiting": {"reason": reason, "message": message}}
    return {"containerStatuses": [{"state": state}]}


def unschedulable(message: str) -> dict[str, Any]:
    """Return the status of a pod that the scheduler finds no node for."""
    condition = {"type": "PodScheduled", "status": "False", "message": message}
    return {"conditions": [condition]}


@pytest.mark.parametrize(
    ("pod", "reason", "words"),
    [
        pytest.param(
            waiting("ImagePullBackOff", 'Back-off pulling image "acme/jobs:1"'),
            reasons.IMAGE_PULL_FAILED,
            ("acme/jobs:1", "`imagePullSecrets` of the installation"),
            id="image",
        ),
        pytest.param(unschedulable(NO_NODE), reasons.UNSCHEDULABLE, (NO_NODE,), id="no-node"),
        pytest.param(
            unschedulable(NO_CLAIM),
            reasons.MISSING_CLAIM,
            ("PersistentVolumeClaim bench must exist", "create it"),
            id="no-claim",
        ),
        pytest.param(
            waiting("CreateContainerConfigError", 'configmap "x" not found'),
            reasons.CONTAINER_NOT_STARTED,
            ('configmap "x" not found',),
            id="config",
        ),
        pytest.param(
            {
                "containerStatuses": [
                    {"state": {"waiting": {"reason": "CrashLoopBackOff"}}, "lastState": OOM}
                ]
            },
            reasons.OUT_OF_MEMORY,
            ("raise the pool's memory", "started again"),
            id="memory-again-and-again",
        ),
        pytest.param(
            {"containerStatuses": [{"state": {"running": {}}, "lastState": OOM}]},
            reasons.OUT_OF_MEMORY,
            ("more memory than its limit", "`tuning.microBatchSize`"),
            id="worker-killed",
        ),
    ],
)
@pytest.mark.parametrize("stage", [StageKind.DATA, StageKind.TRAIN, StageKind.SERVE])
def test_troubles_of_pods_are_told(
    stage: StageKind, pod: dict[str, Any], reason: str, words: tuple[str, ...]
) -> None:
    """The stage, the models, the summary and an Event name the cause and the remedy, once."""
    cluster, work = make_cluster(stage)
    cluster.step()
    for other in cluster.list_work_in_progress():
        if other != work:
            cluster.succeed(other)
    cluster.step()
    add_pod(cluster, work, **pod)
    status, events = tell(cluster)
    _, again = tell(cluster)
    shown = next(each for each in status.stages if each.name.partition("/")[0] == stage)
    summary = next(each for each in status.conditions if each.type == names.SUCCEEDED)

    assert (shown.state, shown.reason) == ("Running", reason)
    assert all(word in shown.message for word in words)
    assert all(word in summary.message for word in words)
    assert summary.reason == reason
    assert any(model.reason == reason for model in status.models)
    assert [(each.kind, each.reason) for each in events] == [(WARNING, reason)]
    assert again == []


def test_trouble_that_is_over_is_told() -> None:
    """A node that comes at last leaves the stage running, and the status says so."""
    cluster, work = make_cluster(StageKind.TRAIN)
    add_pod(cluster, work, **unschedulable(NO_NODE))
    tell(cluster)
    add_pod(cluster, work, containerStatuses=[{"state": {"running": {}}}])
    status, events = tell(cluster)

    assert next(each for each in status.stages if each.name == "train/one").reason == "Running"
    assert [each.reason for each in events if each.note.startswith("train/one")] == ["Running"]


def test_one_that_waits_is_no_headline_while_others_go_on() -> None:
    """The run is running; the message tells of the model that is not."""
    models = [{"name": name, "base": f"acme/{name}"} for name in ("one", "two")]
    cluster, work = make_cluster(StageKind.TRAIN, models=models, parallelism=2)
    add_pod(cluster, work, **unschedulable(NO_NODE))
    status, _ = tell(cluster)
    summary = next(each for each in status.conditions if each.type == names.SUCCEEDED)

    assert summary.reason == "Running"
    assert NO_NODE in summary.message


def test_an_oom_killed_worker_is_told_even_by_a_job_that_cannot_know() -> None:
    """Ray only sees a worker vanish; its pod says why, and that stays when the pod has gone."""
    cluster, work = make_cluster(StageKind.TRAIN, retries=0)
    result = StageResult(
        state=ResultState.FAILED,
        reason="WorkerDied",
        message="a training worker died",
        retryable=True,
        finished_at=cluster.now.isoformat(),
    )
    cluster.report(work, result)
    add_pod(cluster, work, containerStatuses=[{"state": OOM}])
    cluster.step()
    del cluster.objects["Pod", "pod-1"]
    status, _ = tell(cluster)
    stage = next(each for each in status.stages if each.name == "train/one")

    assert (stage.state, stage.reason) == ("Failed", reasons.OUT_OF_MEMORY)
    assert "more memory than its limit" in stage.message
    assert "a training worker died" in stage.message


def test_an_evicted_worker_is_no_failure_of_the_job_that_missed_it() -> None:
    """Ray only sees a worker vanish; its pod says that the node was taken, and no retry is used."""
    cluster, work = make_cluster(StageKind.TRAIN, retries=0, preemptions=1)
    result = StageResult(
        state=ResultState.FAILED,
        reason="WorkerDied",
        message="a training worker died",
        retryable=True,
        finished_at=cluster.now.isoformat(),
    )
    cluster.report(work, result)
    taken = {"type": "DisruptionTarget", "status": "True", "message": "node is drained"}
    add_pod(cluster, work, conditions=[taken])
    cluster.step()
    del cluster.objects["Pod", "pod-1"]
    status, _ = tell(cluster)
    stage = next(each for each in status.stages if each.name == "train/one")

    assert (stage.state, stage.attempt) == ("Running", 2)


def test_kueue_that_admits_nothing_is_told() -> None:
    """Work that Kueue holds back names its queue."""
    cluster, work = make_cluster(StageKind.TRAIN, queue={"name": "team-a"})
    key = work["kind"], work["metadata"]["name"]
    cluster.objects[key] = {**work, "spec": {**work["spec"], "suspend": True}}
    status, events = tell(cluster)
    stage = next(each for each in status.stages if each.name == "train/one")

    assert stage.reason == reasons.NOT_ADMITTED
    assert "Kueue's queue `team-a`" in stage.message
    assert events[0].reason == reasons.NOT_ADMITTED


@pytest.mark.parametrize("where", ["rayClusterStatus", "pendingServiceStatus"])
def test_quota_that_keeps_ray_from_its_pods_is_told(where: str) -> None:
    """KubeRay says in the Ray cluster's conditions that the API server refuses pods."""
    failed = {"conditions": [{"type": "ReplicaFailure", "status": "True", "message": QUOTA}]}
    stage = StageKind.TRAIN if where == "rayClusterStatus" else StageKind.SERVE
    cluster, work = make_cluster(stage)
    status = failed if stage is StageKind.TRAIN else {"rayClusterStatus": failed}
    cluster._set_status(work, **{where: status})
    told, events = tell(cluster)

    assert events[0].reason == reasons.PODS_REFUSED
    assert any(QUOTA in each.message for each in told.stages)


def test_jobs_without_pods_are_asked_about() -> None:
    """Only a Job that has stood for a while without a pod, and that may have one, is."""
    cluster, work = make_cluster(StageKind.DATA)
    created = datetime.fromisoformat(work["metadata"]["creationTimestamp"])

    def list_names(after: timedelta) -> list[str]:
        found = list_podless(
            build_objects(cluster.objects.values(), cluster.run.metadata.uid), created + after
        )
        return [each["metadata"]["name"] for each in found if stage_of(each) is StageKind.DATA]

    young, old = list_names(timedelta(seconds=-1)), list_names(timedelta())
    add_pod(cluster, work)
    with_pod = list_names(timedelta())

    assert (young, old, with_pod) == ([], [work["metadata"]["name"]], [])
    assert created.tzinfo == UTC
