"""What pods say about why work does not go on, in words for the status. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tunebench_operator import reasons

_OOM = "OOMKilled"
_WAITING = {
    "ImagePullBackOff": "check the image's name, and `imagePullSecrets` of the installation",
    "ErrImagePull": "check the image's name, and `imagePullSecrets` of the installation",
    "InvalidImageName": "correct the image's name in the installation",
    "CreateContainerConfigError": "check that the ConfigMaps and Secrets that it names exist",
    "CreateContainerError": "see `kubectl describe pod`",
    "CrashLoopBackOff": "see `kubectl logs --previous`",
}


@dataclass(frozen=True)
class Death:
    """Why a pod ended: the word for machines, and a sentence."""

    reason: str
    message: str


def describe_trouble(pods: Iterable[Mapping[str, Any]]) -> str:
    """Return what keeps pods from running, or nothing."""
    return next((text for pod in pods for text in _troubles(pod)), "")


def find_death(pods: Iterable[Mapping[str, Any]]) -> Death | None:
    """Return why a pod ended badly; the most telling cause of all."""
    deaths = [death for pod in pods for death in _deaths(pod)]
    order = [reasons.PREEMPTED, reasons.OUT_OF_MEMORY, reasons.KILLED, reasons.CRASHED]
    return min(deaths, key=lambda death: order.index(death.reason), default=None)


def _troubles(pod: Mapping[str, Any]) -> Iterator[str]:
    name, status = pod["metadata"]["name"], pod.get("status", {})
    for condition in status.get("conditions", ()):
        if condition["type"] == "PodScheduled" and condition["status"] == "False":
            yield f"pod {name} has no node yet: {condition.get('message', 'unknown reason')}"
    for container in _containers(status):
        waiting = container.get("state", {}).get("waiting", {})
        remedy = _WAITING.get(waiting.get("reason", ""))
        if remedy:
            detail = waiting.get("message", "")
            yield f"pod {name} waits: {waiting['reason']}; {remedy}: {detail}".rstrip(": ")


def _deaths(pod: Mapping[str, Any]) -> Iterator[Death]:
    name, status = pod["metadata"]["name"], pod.get("status", {})
    for condition in status.get("conditions", ()):
        if condition["type"] == "DisruptionTarget" and condition["status"] == "True":
            message = condition.get("message", "the node was taken")
            yield Death(reasons.PREEMPTED, f"pod {name} was evicted: {message}")
    if status.get("reason") == "Evicted":
        yield Death(reasons.PREEMPTED, f"pod {name} was evicted: {status.get('message', '')}")
    for container in _containers(status):
        states = (container.get("state", {}), container.get("lastState", {}))
        for ended in (state["terminated"] for state in states if "terminated" in state):
            if ended.get("reason") == _OOM:
                message = (
                    f"pod {name} needed more memory than its limit; raise the pool's memory in "
                    "the installation, or lower `tuning.microBatchSize` or `tuning.maxLength`"
                )
                yield Death(reasons.OUT_OF_MEMORY, message)
            elif ended.get("exitCode") in {137, 143}:
                yield Death(reasons.KILLED, f"pod {name} was killed")
            elif ended.get("exitCode", 0) != 0:
                detail = ended.get("message") or ended.get("reason") or "no reason given"
                message = f"pod {name} ended with code {ended['exitCode']}: {detail}"
                yield Death(reasons.CRASHED, message)


def _containers(status: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [*status.get("initContainerStatuses", ()), *status.get("containerStatuses", ())]
