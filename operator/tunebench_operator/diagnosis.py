"""What pods say about why work does not go on, in words for the status. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tunebench_operator import names, reasons
from tunebench_operator.observed import Trouble

_OOM = "OOMKilled"
_IMAGE = "check the image's name, and `imagePullSecrets` of the installation"
# Of a container that waits: our reason, and the remedy.
_WAITING = {
    "ImagePullBackOff": (reasons.IMAGE_PULL_FAILED, _IMAGE),
    "ErrImagePull": (reasons.IMAGE_PULL_FAILED, _IMAGE),
    "InvalidImageName": (
        reasons.IMAGE_PULL_FAILED,
        "correct the image's name in the installation",
    ),
    "CreateContainerConfigError": (
        reasons.CONTAINER_NOT_STARTED,
        "check that the ConfigMaps and Secrets that it names exist",
    ),
    "CreateContainerError": (reasons.CONTAINER_NOT_STARTED, "see `kubectl describe pod`"),
    "CrashLoopBackOff": (reasons.CRASHED, "see `kubectl logs --previous`"),
}
_NO_CLAIM = re.compile(r'persistentvolumeclaim "([^"]+)" not found')
# Of a RayCluster that cannot make its pods.
_REPLICA_FAILURE = "ReplicaFailure"


@dataclass(frozen=True)
class Death:
    """Why a pod ended: the word for machines, and a sentence."""

    reason: str
    message: str


def find_trouble(pods: Iterable[Mapping[str, Any]]) -> Trouble | None:
    """Return what keeps pods from running, if anything does."""
    return next((trouble for pod in pods for trouble in _troubles(pod)), None)


def find_work_trouble(work: Mapping[str, Any]) -> Trouble | None:
    """Return what keeps work from getting pods, as its own object says."""
    queue = work["metadata"].get("labels", {}).get(names.QUEUE_LABEL)
    if queue and work["spec"].get("suspend"):
        message = (
            f"waits for quota in Kueue's queue `{queue}`; see `kubectl describe workloads` in this "
            "namespace"
        )
        return Trouble(reasons.NOT_ADMITTED, message)
    failures = [each for each in _cluster_conditions(work) if each["type"] == _REPLICA_FAILURE]
    if failures and failures[0]["status"] == "True":
        return build_refusal(failures[0].get("message", ""))
    return None


def build_refusal(message: str) -> Trouble:
    """Build the trouble of work for which no pod may be made."""
    remedy = "see `kubectl describe resourcequotas`, and the resources in the installation"
    return Trouble(reasons.PODS_REFUSED, f"its pods are refused: {message}; {remedy}")


def find_death(pods: Iterable[Mapping[str, Any]]) -> Death | None:
    """Return why a pod ended badly; the most telling cause of all."""
    deaths = [death for pod in pods for death in _deaths(pod)]
    order = [reasons.PREEMPTED, reasons.OUT_OF_MEMORY, reasons.KILLED, reasons.CRASHED]
    return min(deaths, key=lambda death: order.index(death.reason), default=None)


def _troubles(pod: Mapping[str, Any]) -> Iterator[Trouble]:
    name, status = pod["metadata"]["name"], pod.get("status", {})
    for condition in status.get("conditions", ()):
        if condition["type"] == "PodScheduled" and condition["status"] == "False":
            yield _build_unschedulable(name, condition.get("message", "unknown reason"))
    for container in _containers(status):
        # Before whatever else a container that is started again and again goes through.
        if any(each.get("reason") == _OOM for each in _list_ends(container)):
            yield Trouble(reasons.OUT_OF_MEMORY, f"{_describe_oom(name)}; it is started again")
        waiting = container.get("state", {}).get("waiting", {})
        if waiting.get("reason", "") in _WAITING:
            reason, remedy = _WAITING[waiting["reason"]]
            detail = waiting.get("message", "")
            text = f"pod {name} waits: {waiting['reason']}; {remedy}: {detail}".rstrip(": ")
            yield Trouble(reason, text)


def _build_unschedulable(pod: str, message: str) -> Trouble:
    """Build the trouble of a pod without a node, in the scheduler's own words."""
    missing = _NO_CLAIM.search(message)
    if missing:
        text = (
            f"PersistentVolumeClaim {missing[1]} must exist in the run's namespace; create it, or "
            f"name another one (pod {pod}: {message})"
        )
        return Trouble(reasons.MISSING_CLAIM, text)
    return Trouble(reasons.UNSCHEDULABLE, f"pod {pod} has no node yet: {message}")


def _describe_oom(pod: str) -> str:
    return (
        f"pod {pod} needed more memory than its limit; raise the pool's memory in "
        "the installation, or lower `tuning.microBatchSize` or `tuning.maxLength`"
    )


def _cluster_conditions(work: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield what KubeRay says of the Ray clusters of a RayJob or RayService."""
    status = work.get("status", {})
    halves = (status, status.get("activeServiceStatus"), status.get("pendingServiceStatus"))
    for half in halves:
        yield from ((half or {}).get("rayClusterStatus") or {}).get("conditions") or ()


def _deaths(pod: Mapping[str, Any]) -> Iterator[Death]:
    name, status = pod["metadata"]["name"], pod.get("status", {})
    for condition in status.get("conditions", ()):
        if condition["type"] == "DisruptionTarget" and condition["status"] == "True":
            message = condition.get("message", "the node was taken")
            yield Death(reasons.PREEMPTED, f"pod {name} was evicted: {message}")
    if status.get("reason") == "Evicted":
        yield Death(reasons.PREEMPTED, f"pod {name} was evicted: {status.get('message', '')}")
    for container in _containers(status):
        for ended in _list_ends(container):
            if ended.get("reason") == _OOM:
                yield Death(reasons.OUT_OF_MEMORY, _describe_oom(name))
            elif ended.get("exitCode") in {137, 143}:
                yield Death(reasons.KILLED, f"pod {name} was killed")
            elif ended.get("exitCode", 0) != 0:
                detail = ended.get("message") or ended.get("reason") or "no reason given"
                message = f"pod {name} ended with code {ended['exitCode']}: {detail}"
                yield Death(reasons.CRASHED, message)


def _list_ends(container: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return how a container ended, and how it did the time before."""
    states = (container.get("state", {}), container.get("lastState", {}))
    return [state["terminated"] for state in states if "terminated" in state]


def _containers(status: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [*status.get("initContainerStatuses", ()), *status.get("containerStatuses", ())]
