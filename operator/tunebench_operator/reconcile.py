"""One step of one run: parse, observe, plan, apply, report."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

from pydantic import ValidationError

from tunebench_api.errors import InvalidRunError
from tunebench_api.places import PVC_SCHEME, parse_claim
from tunebench_api.unsupported import Backend
from tunebench_api.v1alpha1 import BenchmarkRun, BenchmarkRunStatus, Metadata
from tunebench_api.validation import parse_run
from tunebench_operator import names, reasons
from tunebench_operator.actions import Action, build_actions, build_removals, find_deadline
from tunebench_operator.builders.metadata import Manifest
from tunebench_operator.errors import ClusterError, UserError
from tunebench_operator.installation import Installation
from tunebench_operator.observe import build_objects, build_observed
from tunebench_operator.plan import plan
from tunebench_operator.status import build_refusal
from tunebench_operator.transitions import build_transitions

logger = logging.getLogger(__name__)


class Writer(Protocol):
    """What a step needs of the cluster."""

    async def carry_out(self, action: Action) -> None:
        """Do one action."""
        ...

    async def apply_status(self, run: Metadata, status: Mapping[str, Any]) -> None:
        """Write a run's whole status."""
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
    body: Manifest, children: Sequence[Manifest], installation: Installation, cluster: Writer
) -> Step:
    """Drive one run one step towards its desired state.

    Raises:
        ClusterError: The API server refused, or did not answer; another step will do the rest.
    """
    now = datetime.now(UTC)
    metadata = Metadata.from_wire(body["metadata"])
    told = _Told(metadata, _parse_status(body.get("status")), now, cluster)
    finalizers = body["metadata"].get("finalizers", ())
    if body["metadata"].get("deletionTimestamp"):
        if names.FINALIZER in finalizers:
            await _let_go(metadata, children, cluster)
        return Step()
    try:
        run = parse_run(body, Backend.KUBERNETES).model_copy(update={"status": told.before})
        storage_uri = find_storage(run, installation)
    except (InvalidRunError, UserError) as error:
        await told.refuse(reasons.INVALID_SPEC, str(error))
        return Step()
    if names.FINALIZER not in finalizers:
        await cluster.set_finalizer(metadata, present=True)
    objects = build_objects(children)
    result = plan(run, build_observed(run, objects), now=now)
    try:
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
    wakes = (result.wake_at, find_deadline(objects, installation))
    return Step(min((moment for moment in wakes if moment and moment > now), default=None))


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
        generation = self.metadata.generation
        await self.report(build_refusal(generation, self.before, reason, message, self.now))


def find_storage(run: BenchmarkRun, installation: Installation) -> str:
    """Return the artefact store of a run.

    Raises:
        UserError: Neither the run nor the installation names one that pods can mount.
    """
    uri = run.spec.storage.uri if run.spec.storage else installation.storage_uri
    if not uri:
        msg = (
            f"`spec.storage.uri` must be given, such as {PVC_SCHEME}CLAIM/FOLDER, because the "
            "installation names no store"
        )
        raise UserError(msg)
    try:
        parse_claim(uri)
    except ValueError as error:
        msg = f"`spec.storage.uri` {error}"
        raise UserError(msg) from error
    return uri


async def _let_go(metadata: Metadata, children: Sequence[Manifest], cluster: Writer) -> None:
    """Stop what runs, and let the run go once nothing does; the rest goes with its owner."""
    removals = build_removals(build_objects(children))
    for removal in removals:
        await cluster.carry_out(removal)
    if not removals:
        await cluster.set_finalizer(metadata, present=False)


def _parse_status(raw: Any) -> BenchmarkRunStatus | None:
    try:
        return BenchmarkRunStatus.from_wire(raw) if raw else None
    except ValidationError:
        # It is derived: this step writes it anew.
        return None
