"""Turns the objects of a run into what the planner looks at. Pure.

An attempt exists if its config does. How it ended stands, in this order, on the config (written
by the operator), in the report (written by the job), or in the status of what does the work.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from pydantic import ValidationError

from tunebench_api.contract import REPORT_KEY, Report, ResultState, StageResult
from tunebench_api.v1alpha1 import BenchmarkRun
from tunebench_operator import names, reasons
from tunebench_operator.builders.metadata import Manifest
from tunebench_operator.builders.prompts import find_prompts_name
from tunebench_operator.builders.work import build_endpoint
from tunebench_operator.diagnosis import (
    build_refusal,
    find_death,
    find_trouble,
    find_work_trouble,
)
from tunebench_operator.graph import prompts_source_key
from tunebench_operator.observed import Attempt, Observed, Trouble

WORK_KINDS = ("Job", "RayJob", "RayService")
# What Ray Serve says of an application that it has given up.
_DEPLOY_FAILED = "DEPLOY_FAILED"
ACCESS_KINDS = ("ServiceAccount", "Role", "RoleBinding", "NetworkPolicy")


@dataclass(frozen=True)
class Objects:
    """The objects of one run, by name; what does the work of a child has the child's name."""

    configs: Mapping[str, Manifest] = field(default_factory=dict)
    reports: Mapping[str, Manifest] = field(default_factory=dict)
    work: Mapping[str, Manifest] = field(default_factory=dict)
    # Copies of prompts; a run has at most one.
    prompts: Mapping[str, Manifest] = field(default_factory=dict)
    # By kind; they share a name.
    access: Mapping[str, Manifest] = field(default_factory=dict)
    # By child.
    pods: Mapping[str, tuple[Manifest, ...]] = field(default_factory=dict)
    # Why the API server takes no pod of a child, as the Job controller said.
    refusals: Mapping[str, str] = field(default_factory=dict)


def build_objects(found: Iterable[Manifest], uid: str | None) -> Objects:
    """Sort the objects of the run with this UID by what they are for.

    A config of an earlier run of the same name, such as one that is still to be collected, or was
    orphaned, is no attempt of this run.
    """
    parts: dict[str, dict[str, Manifest]] = defaultdict(dict)
    pods: dict[str, list[Manifest]] = defaultdict(list)
    for each in found:
        labels = each["metadata"].get("labels", {})
        kind, name = each["kind"], each["metadata"]["name"]
        if kind == "Pod":
            pods[labels.get(names.CHILD_LABEL, "")].append(each)
        elif kind in WORK_KINDS:
            parts[names.WORK_PART][name] = each
        elif kind in ACCESS_KINDS:
            parts[names.ACCESS_PART][kind] = each
        elif kind == "ConfigMap":
            part = labels.get(names.PART_LABEL, "")
            if part != names.CONFIG_PART or _find_owner(each) == uid:
                parts[part][name] = each
    return Objects(
        configs=parts[names.CONFIG_PART],
        reports=parts[names.REPORT_PART],
        work=parts[names.WORK_PART],
        prompts=parts[names.PROMPTS_PART],
        access=parts[names.ACCESS_PART],
        pods={child: tuple(each) for child, each in pods.items()},
    )


def _find_owner(child: Manifest) -> str | None:
    owners = child["metadata"].get("ownerReferences", ())
    return next((each["uid"] for each in owners if each.get("controller")), None)


def build_observed(run: BenchmarkRun, objects: Objects) -> Observed:
    """Build what the planner looks at."""
    attempts: dict[tuple[str, str], list[Attempt]] = defaultdict(list)
    for name, config in objects.configs.items():
        annotations = config["metadata"].get("annotations", {})
        key = (annotations[names.KEY_ANNOTATION], annotations[names.DIGEST_ANNOTATION])
        number = int(annotations[names.ATTEMPT_ANNOTATION])
        attempts[key].append(build_attempt(run, objects, name, number))
    ordered = {
        key: tuple(sorted(found, key=lambda attempt: attempt.number))
        for key, found in attempts.items()
    }
    return Observed(ordered, sources=find_sources(run, objects), previous=run.status)


def find_sources(run: BenchmarkRun, objects: Objects) -> dict[str, str]:
    """Return the digests of what the spec points to, as far as a cluster knows them."""
    copy = objects.prompts.get(find_prompts_name(run))
    if copy is None:
        return {}
    digest = str(copy["metadata"]["annotations"][names.DIGEST_ANNOTATION])
    return {prompts_source_key(run.spec.prompts): digest}


def build_attempt(run: BenchmarkRun, objects: Objects, name: str, number: int) -> Attempt:
    """Build one attempt from its objects."""
    report = parse_report(objects.reports.get(names.report_name(name)))
    written = find_written_end(objects.configs[name])
    work = objects.work.get(name)
    pods = objects.pods.get(name, ())
    result = written or _explain(report.result, pods) or find_end(work, pods)
    progress = report.progress
    if work is not None and work["kind"] == "RayService":
        endpoint = None if find_unready_since(work) else build_endpoint(run, name)
        progress = progress.model_copy(update={"endpoint": endpoint})
    metadata = objects.configs[name]["metadata"]
    created = metadata.get("creationTimestamp")
    return Attempt(
        number,
        progress,
        result,
        None if result else _find_trouble(work, pods, objects.refusals.get(name)),
        gpus=int(metadata["annotations"].get(names.GPUS_ANNOTATION, 0)),
        created_at=datetime.fromisoformat(created) if created else None,
    )


def list_podless(objects: Objects, before: datetime) -> list[Manifest]:
    """Return the Jobs that have stood without a pod since some time, and do not say why."""
    return [
        work
        for name, work in objects.work.items()
        if work["kind"] == "Job"
        and not work["spec"].get("suspend")
        and not has_ended(work)
        and name not in objects.pods
        and datetime.fromisoformat(work["metadata"]["creationTimestamp"]) <= before
        and parse_report(objects.reports.get(names.report_name(name))) == Report()
    ]


def _find_trouble(
    work: Manifest | None, pods: Iterable[Manifest], refusal: str | None
) -> Trouble | None:
    """Return what keeps an attempt from going on, if anything does."""
    if work is None:
        return None
    if refusal:
        return build_refusal(refusal)
    return find_work_trouble(work) or find_trouble(pods)


def _explain(result: StageResult | None, pods: Iterable[Manifest]) -> StageResult | None:
    """Return a job's own word on its failure, with what it cannot know: what became of its pods."""
    if result is None or result.state is not ResultState.FAILED or not result.retryable:
        return result
    death = find_death(pods)
    if death is None or death.reason not in {reasons.OUT_OF_MEMORY, reasons.PREEMPTED}:
        return result
    message = f"{death.message}; {result.message}"
    return result.model_copy(update={"reason": death.reason, "message": message})


def find_written_end(config: Manifest) -> StageResult | None:
    """Return how the operator said that an attempt ended."""
    text = config["metadata"].get("annotations", {}).get(names.ENDED_ANNOTATION)
    return StageResult.model_validate_json(text) if text else None


def find_end(work: Manifest | None, pods: Iterable[Manifest]) -> StageResult | None:
    """Return how work ended that left no result; none while it goes on or is not there."""
    ending = _ending(work) if work else None
    if ending is None:
        return None
    reason, message, finished_at = ending
    death = find_death(pods)
    if death is not None:
        reason, message = death.reason, f"{death.message}; {message}" if message else death.message
    return StageResult(
        state=ResultState.FAILED,
        reason=reason,
        message=message or "ended and left no result; see its log",
        retryable=True,
        finished_at=finished_at,
    )


def has_ended(work: Manifest) -> bool:
    """Whether an object's work is over, as its own status says."""
    return _ending(work) is not None


def _ending(work: Manifest) -> tuple[str, str, str] | None:
    """Return reason, message and time of the end, or none while it goes on."""
    status: Mapping[str, Any] = work.get("status", {})
    if work["kind"] == "Job":
        ended = [
            condition
            for condition in status.get("conditions", ())
            if condition["type"] in {"Failed", "Complete"} and condition["status"] == "True"
        ]
        if not ended:
            return None
        failed = ended[0]["type"] == "Failed"
        message = ended[0].get("message", "") if failed else ""
        return reasons.CRASHED, message, _normalise(ended[0].get("lastTransitionTime", ""))
    if work["kind"] == "RayJob":
        if status.get("jobDeploymentStatus") not in {"Complete", "Failed"}:
            return None
        late = status.get("reason") in {"DeadlineExceeded", "PreRunningDeadlineExceeded"}
        reason = reasons.DEADLINE_EXCEEDED if late else reasons.CRASHED
        return reason, status.get("message", ""), _normalise(status.get("endTime", ""))
    failed = [each for each in _applications(status) if each.get("status") == _DEPLOY_FAILED]
    if not failed:
        return None
    return reasons.CRASHED, failed[0].get("message", ""), _normalise(status["lastUpdateTime"])


def _applications(status: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return what Ray Serve says of a RayService's applications, of the cluster that comes too."""
    halves = (status.get("activeServiceStatus"), status.get("pendingServiceStatus"))
    found = [(half or {}).get("applicationStatuses") or {} for half in halves]
    return [application for each in found for application in each.values()]


def find_unready_since(service: Manifest) -> datetime | None:
    """Return since when a RayService does not answer; none while it does."""
    ready = next(
        (
            each
            for each in service.get("status", {}).get("conditions", ())
            if each["type"] == "Ready"
        ),
        None,
    )
    if ready is None:
        return datetime.fromisoformat(service["metadata"]["creationTimestamp"])
    if ready["status"] == "True":
        return None
    return datetime.fromisoformat(ready["lastTransitionTime"])


def parse_report(report: Manifest | None) -> Report:
    """Return what a child reported last."""
    text = (report or {}).get("data", {}).get(REPORT_KEY)
    try:
        return Report.model_validate_json(text) if text else Report()
    except ValidationError:
        # A damaged report says no more than none.
        return Report()


def _normalise(moment: str) -> str:
    """Return an RFC 3339 time as the contract has it, or nothing."""
    return datetime.fromisoformat(moment).isoformat() if moment else ""
