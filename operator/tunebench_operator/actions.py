"""What has to be written so that a cluster becomes what a plan says. Pure.

Nothing is applied that is there already, so a plan that changes nothing writes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from tunebench_api.contract import ResultState, StageResult
from tunebench_api.v1alpha1 import BenchmarkRun
from tunebench_operator import names, reasons
from tunebench_operator.builders.access import build_access
from tunebench_operator.builders.documents import build_config, build_report
from tunebench_operator.builders.metadata import Manifest, child_object_name
from tunebench_operator.builders.work import build_work, check_pools
from tunebench_operator.diagnosis import find_trouble, find_work_trouble
from tunebench_operator.installation import Installation
from tunebench_operator.observe import (
    Objects,
    build_attempt,
    find_unready_since,
    find_written_end,
    has_ended,
    parse_report,
)
from tunebench_operator.plan import Child, Plan

# Work that has reported its result gets this long to leave by itself.
_LEAVE_SECONDS = 120


@dataclass(frozen=True)
class Apply:
    """Bring an object about; server-side."""

    manifest: Manifest


@dataclass(frozen=True)
class Delete:
    """Remove an object, if it is still this one."""

    api_version: str
    kind: str
    namespace: str
    name: str
    uid: str


@dataclass(frozen=True)
class End:
    """Write on a child's config how its attempt ended."""

    config: Manifest
    result: StageResult


Action = Apply | Delete | End


def build_actions(  # noqa: PLR0913 - all that a cluster is made from
    run: BenchmarkRun,
    plan: Plan,
    objects: Objects,
    installation: Installation,
    storage_uri: str,
    *,
    now: datetime,
) -> list[Action]:
    """Build what has to be written, in order; any prefix of it is safe to stop after.

    Raises:
        UserError: The run names a pool that the installation lacks.
    """
    if not plan.finished:
        # Before anything is computed for a model that could not be trained in the end.
        check_pools(run, installation)
    desired = {child_object_name(run, child): child for child in plan.desired}
    actions: list[Action] = [
        *_build_endings(run, objects, desired, now),
        *_build_deadline_endings(objects, installation, now),
    ]
    if desired:
        actions += build_access_actions(run, desired, objects)
    for name, child in desired.items():
        actions += build_child_actions(run, name, child, objects, installation, storage_uri)
    return actions


def build_removal(work: Manifest) -> Delete:
    """Build the removal of the very object that was observed."""
    metadata = work["metadata"]
    return Delete(
        work["apiVersion"], work["kind"], metadata["namespace"], metadata["name"], metadata["uid"]
    )


def build_access_actions(
    run: BenchmarkRun, children: Iterable[str], objects: Objects
) -> Iterator[Apply]:
    """Yield what is not there of the identity of children's pods."""
    for manifest in build_access(run, [names.report_name(name) for name in children]):
        if not _is_applied(manifest, objects.access.get(manifest["kind"])):
            yield Apply(manifest)


def build_child_actions(  # noqa: PLR0913, PLR0917 - the child and all that it is built from
    run: BenchmarkRun,
    name: str,
    child: Child,
    objects: Objects,
    installation: Installation,
    storage_uri: str,
) -> Iterator[Apply]:
    """Yield what of a child is not there; the config first, because it is the attempt."""
    if name not in objects.configs:
        yield Apply(build_config(run, child, installation, storage_uri))
    if names.report_name(name) not in objects.reports:
        yield Apply(build_report(run, child))
    if name not in objects.work:
        yield Apply(build_work(run, child, installation, storage_uri))


def _build_endings(
    run: BenchmarkRun, objects: Objects, desired: dict[str, Child], now: datetime
) -> Iterator[Action]:
    """Yield what ends attempts: work that is not wanted goes, and what ended is written down."""
    for name, config in objects.configs.items():
        work = objects.work.get(name)
        number = int(config["metadata"]["annotations"][names.ATTEMPT_ANNOTATION])
        attempt = build_attempt(run, objects, name, number)
        if attempt.result is None and name not in desired:
            if work is not None:
                yield build_removal(work)
            yield End(config, _interrupted(now))
            continue
        if attempt.result is None or work is None:
            continue
        reported = parse_report(objects.reports.get(names.report_name(name))).result
        if find_written_end(config) is None and reported != attempt.result:
            # The object that says it may be gone when it is asked again.
            yield End(config, attempt.result)
        overdue = attempt.finished_at is None or now - attempt.finished_at > timedelta(
            seconds=_LEAVE_SECONDS
        )
        if work["kind"] == "RayService" or (overdue and not has_ended(work)):
            yield build_removal(work)


def find_deadline(objects: Objects, installation: Installation) -> datetime | None:
    """Return when the first server must answer that does not yet."""
    moments = [moment for _, moment in _list_deadlines(objects, installation)]
    return min(moments, default=None)


def _build_deadline_endings(
    objects: Objects, installation: Installation, now: datetime
) -> Iterator[Action]:
    """Yield the end of servers that have not answered for too long."""
    for name, moment in _list_deadlines(objects, installation):
        if moment > now:
            continue
        seconds = installation.gang_timeout_seconds
        trouble = find_work_trouble(objects.work[name]) or find_trouble(objects.pods.get(name, ()))
        detail = trouble.message if trouble else "see the log of its Ray pods"
        yield End(
            objects.configs[name],
            StageResult(
                state=ResultState.FAILED,
                reason=reasons.DEADLINE_EXCEEDED,
                message=f"the server did not answer for {seconds} s; {detail}",
                retryable=True,
                finished_at=now.isoformat(timespec="seconds"),
            ),
        )
        yield build_removal(objects.work[name])


def _list_deadlines(objects: Objects, installation: Installation) -> Iterator[tuple[str, datetime]]:
    patience = timedelta(seconds=installation.gang_timeout_seconds)
    for name, work in objects.work.items():
        config = objects.configs.get(name)
        if work["kind"] != "RayService" or config is None or find_written_end(config):
            continue
        since = find_unready_since(work)
        if since:
            yield name, since + patience


def _is_applied(manifest: Manifest, found: Manifest | None) -> bool:
    """Whether an object was applied from this very manifest."""
    if found is None:
        return False
    wanted = manifest["metadata"]["annotations"][names.APPLIED_ANNOTATION]
    annotations = found["metadata"].get("annotations", {})
    return bool(annotations.get(names.APPLIED_ANNOTATION) == wanted)


def _interrupted(now: datetime) -> StageResult:
    return StageResult(
        state=ResultState.FAILED,
        reason=reasons.INTERRUPTED,
        message="stopped, because it is not needed now",
        retryable=True,
        finished_at=now.isoformat(timespec="seconds"),
    )
