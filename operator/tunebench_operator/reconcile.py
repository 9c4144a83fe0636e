"""One step of one run: parse, observe, plan, apply, report."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

from pydantic import ValidationError

from tunebench_api.errors import InvalidRunError
from tunebench_api.places import PVC_SCHEME, check_bucket, is_remote, parse_claim
from tunebench_api.unsupported import Backend
from tunebench_api.v1alpha1 import BenchmarkRun, BenchmarkRunStatus, ConditionStatus, Metadata
from tunebench_api.validation import parse_run
from tunebench_operator import names, reasons
from tunebench_operator.actions import Action, Apply, Delete, build_actions, find_deadline
from tunebench_operator.builders.metadata import Manifest
from tunebench_operator.builders.prompts import build_prompts, find_prompts_name
from tunebench_operator.departure import (
    Departure,
    build_leaving,
    find_departing,
    plan_departure,
)
from tunebench_operator.errors import ClusterError, UserError
from tunebench_operator.installation import Installation
from tunebench_operator.observe import (
    Objects,
    build_objects,
    build_observed,
    find_sources,
    list_podless,
)
from tunebench_operator.plan import plan
from tunebench_operator.status import build_halt
from tunebench_operator.transitions import WARNING, build_transitions

logger = logging.getLogger(__name__)

# When nothing is heard meanwhile: of the own status, or of artefacts that have to go first.
_LOOK_AGAIN = timedelta(seconds=5)
_ACCEPTED = "accepted; its first stages are next"
# Nobody watches ConfigMaps of users.
_PROMPTS_AGAIN = timedelta(seconds=15)
# A Job has its pod in a moment, unless that is refused.
_POD_PATIENCE = timedelta(seconds=20)


class Writer(Protocol):
    """What a step needs of the cluster."""

    async def carry_out(self, action: Action) -> None:
        """Do one action."""
        ...

    async def apply_status(self, run: Metadata, status: Mapping[str, Any]) -> None:
        """Write a run's whole status."""
        ...

    async def find_warning(self, manifest: Manifest) -> str:
        """Return what the newest Warning says of an object; nothing if there is none."""
        ...

    async def find_config_map(self, namespace: str | None, name: str) -> Manifest | None:
        """Return a ConfigMap of the user's, or none if there is none of this name."""
        ...

    async def set_finalizer(self, run: Metadata, *, present: bool) -> None:
        """Keep a run from going, or let it go."""
        ...

    async def post_event(self, run: Metadata, kind: str, reason: str, note: str) -> None:
        """Tell `kubectl describe` what happened."""
        ...


@dataclass(frozen=True)
class Step:
    """What a step leaves to its caller: when to look again if nothing happens."""

    wake_at: datetime | None = None


async def reconcile(
    body: Manifest,
    children: Sequence[Manifest],
    installation: Installation,
    cluster: Writer,
    others: Iterable[Manifest] = (),
) -> Step:
    """Drive one run one step towards its desired state.

    Args:
        body: The run.
        children: All that belongs to it.
        installation: What its children are built with.
        cluster: Where they are written.
        others: The other runs if this one is deleted; else at least those that are.

    Raises:
        ClusterError: The API server refused, or did not answer; another step will do the rest.
    """
    now = datetime.now(UTC)
    metadata = Metadata.from_wire(body["metadata"])
    told = _Told(metadata, _parse_status(body.get("status")), now, cluster)
    finalizers = body["metadata"].get("finalizers", ())
    if body["metadata"].get("deletionTimestamp"):
        return await _let_go(body, children, others, installation, cluster)
    try:
        run = parse_run(body, Backend.KUBERNETES).model_copy(update={"status": told.before})
        storage_uri = find_storage(run, installation)
    except (InvalidRunError, UserError) as error:
        await told.refuse(reasons.INVALID_SPEC, str(error))
        return Step()
    if told.before is None:
        # One short request before any work: many runs at once all have their first status soon.
        await told.accept()
        return Step(now + _LOOK_AGAIN)
    try:
        objects = await _copy_prompts(run, build_objects(children, metadata.uid), cluster)
    except UserError as error:
        await told.refuse(reasons.PROMPTS_MISSING, str(error))
        return Step(now + _PROMPTS_AGAIN)
    sources = find_sources(run, objects)
    departing = None if objects.configs else find_departing(body, others, sources)
    if departing:
        await told.wait(f"run {departing} is being deleted, and artefacts that both use with it")
        return Step(now + _LOOK_AGAIN)
    if names.FINALIZER not in finalizers:
        await cluster.set_finalizer(metadata, present=True)
    return await _drive(run, told, objects, installation, storage_uri)


async def tell_unforeseen(body: Manifest, error: Exception, cluster: Writer) -> None:
    """Say in an Event that a step failed as nobody foresaw; the operator's log has the rest."""
    note = f"the operator tries again: {type(error).__name__}: {error}"
    with suppress(ClusterError):
        metadata = Metadata.from_wire(body["metadata"])
        await cluster.post_event(metadata, WARNING, reasons.STEP_FAILED, note)


async def _copy_prompts(run: BenchmarkRun, objects: Objects, cluster: Writer) -> Objects:
    """Make the run's own copy of prompts in a ConfigMap, where it has none yet.

    Raises:
        UserError: The ConfigMap is not there, or holds no prompts.
        ClusterError: The API server refused, or did not answer.
    """
    ref, name = run.spec.prompts.config_map_ref, find_prompts_name(run)
    if ref is None or name in objects.prompts:
        return objects
    source = await cluster.find_config_map(run.metadata.namespace, ref.name)
    copy = build_prompts(run, source)
    await cluster.carry_out(Apply(copy))
    return replace(objects, prompts={name: copy})


async def _drive(
    run: BenchmarkRun, told: _Told, objects: Objects, installation: Installation, storage_uri: str
) -> Step:
    """Start and stop what is to run, and say how it stands.

    Raises:
        ClusterError: The API server refused, or did not answer; another step will do the rest.
    """
    now, cluster = told.now, told.cluster
    objects, asked_again = await _ask_for_refusals(objects, cluster, now)
    try:
        machines = installation.build_machines()
        result = plan(run, replace(build_observed(run, objects), machines=machines), now=now)
        actions = build_actions(run, result, objects, installation, storage_uri, now=now)
        for action in actions:
            await cluster.carry_out(action)
    except UserError as error:
        await told.refuse(reasons.INVALID_SPEC, str(error))
        return Step()
    except ClusterError as error:
        if error.lasting:
            await told.refuse(reasons.INSTALLATION_INCOMPLETE, str(error))
        raise
    await told.report(result.status)
    wakes = (result.wake_at, find_deadline(objects, installation), asked_again)
    return Step(min((moment for moment in wakes if moment and moment > now), default=None))


async def _ask_for_refusals(
    objects: Objects, cluster: Writer, now: datetime
) -> tuple[Objects, datetime | None]:
    """Ask why Jobs have no pod: only an Event says so, and nobody watches these.

    Raises:
        ClusterError: The API server refused, or did not answer.
    """
    refusals = {
        job["metadata"]["name"]: warning
        for job in list_podless(objects, now - _POD_PATIENCE)
        for warning in [await cluster.find_warning(job)]
        if warning
    }
    young = list_podless(objects, now)
    return replace(objects, refusals=refusals), now + _POD_PATIENCE if young else None


@dataclass(frozen=True)
class _Told:
    """What users were told of a run, and how to tell them more."""

    metadata: Metadata
    before: BenchmarkRunStatus | None
    now: datetime
    cluster: Writer

    async def report(self, status: BenchmarkRunStatus) -> None:
        """Write the status if it differs, and then say what changed."""
        if self.before == status:
            return
        await self.cluster.apply_status(self.metadata, status.to_wire())
        for each in build_transitions(self.before, status):
            await self.cluster.post_event(self.metadata, each.kind, each.reason, each.note)

    async def refuse(self, reason: str, message: str) -> None:
        """Say what somebody has to mend before the run can go on."""
        await self._halt(ConditionStatus.FALSE, reason, message)

    async def accept(self) -> None:
        """Say that the run has been seen and is valid."""
        await self._halt(ConditionStatus.UNKNOWN, reasons.PENDING, _ACCEPTED)

    async def wait(self, message: str) -> None:
        """Say what has to end before the run can begin."""
        await self._halt(ConditionStatus.UNKNOWN, reasons.WAITING_FOR_CLEANUP, message)

    async def _halt(self, status: ConditionStatus, reason: str, message: str) -> None:
        generation = self.metadata.generation
        await self.report(
            build_halt(generation, self.before, status, reason, message, now=self.now)
        )


def find_storage(run: BenchmarkRun, installation: Installation) -> str:
    """Return the artefact store of a run.

    Raises:
        UserError: Neither the run nor the installation names one that pods can reach.
    """
    uri = run.spec.storage.uri if run.spec.storage else installation.storage_uri
    if not uri:
        msg = (
            f"`spec.storage.uri` must be given, such as {PVC_SCHEME}CLAIM/FOLDER or "
            "s3://BUCKET/FOLDER, because the installation names no store"
        )
        raise UserError(msg)
    try:
        (check_bucket if is_remote(uri) else parse_claim)(uri)
    except ValueError as error:
        msg = f"`spec.storage.uri` {error}"
        raise UserError(msg) from error
    return uri


async def _let_go(
    body: Manifest,
    children: Sequence[Manifest],
    others: Iterable[Manifest],
    installation: Installation,
    cluster: Writer,
) -> Step:
    """Stop what runs, keep or delete artefacts, and let the run go; the rest goes with its owner.

    Raises:
        ClusterError: The API server refused, or did not answer; it is asked again until it is time.
    """
    if names.FINALIZER not in body["metadata"].get("finalizers", ()):
        return Step()
    metadata, now = Metadata.from_wire(body["metadata"]), datetime.now(UTC)
    storage_uri = _find_storage_of_any(body, installation)
    objects = build_objects(children, metadata.uid)
    departure = plan_departure(body, objects, others, installation, storage_uri, now=now)
    try:
        for action in departure.actions:
            await cluster.carry_out(action)
    except ClusterError as error:
        stopping = any(isinstance(action, Delete) for action in departure.actions)
        if not departure.finished and (stopping or not error.lasting):
            raise
        # Such as a namespace that goes, too: nothing can be made in it any more.
        departure = Departure(finished=True, told=build_leaving(storage_uri, str(error)))
    if departure.told is not None:
        told = departure.told
        with suppress(ClusterError):
            await cluster.post_event(metadata, told.kind, told.reason, told.note)
    if departure.finished:
        await cluster.set_finalizer(metadata, present=False)
    return Step(departure.wake_at)


def _find_storage_of_any(body: Manifest, installation: Installation) -> str | None:
    """Return the artefact store of a run that may be invalid, and then has none."""
    try:
        return find_storage(parse_run(body, Backend.KUBERNETES), installation)
    except (InvalidRunError, UserError):
        return None


def _parse_status(raw: Any) -> BenchmarkRunStatus | None:
    try:
        return BenchmarkRunStatus.from_wire(raw) if raw else None
    except ValidationError:
        # It is derived: this step writes it anew.
        return None
