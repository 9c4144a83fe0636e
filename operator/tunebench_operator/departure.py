"""How a deleted run goes: its work stops, its artefacts stay or go, and nothing holds it for ever.

Artefacts are named by what they were made from, so other runs may use the same ones. They go only
if `spec.cleanup` says so, if no other run that the operator knows refers to them, and if they are
not older than the run. A run that would use some of them waits until they have gone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Any

from pydantic import ValidationError

from tunebench_api.contract import (
    CleanupConfig,
    ResultState,
    StageKind,
    build_config_digest,
    parse_stage_document,
)
from tunebench_api.v1alpha1 import BenchmarkRun, Cleanup
from tunebench_operator import names, reasons
from tunebench_operator.actions import (
    Action,
    build_access_actions,
    build_child_actions,
    build_removal,
)
from tunebench_operator.builders.metadata import Manifest, child_object_name
from tunebench_operator.diagnosis import find_trouble
from tunebench_operator.graph import build_graph
from tunebench_operator.installation import Installation
from tunebench_operator.observe import Objects, build_attempt
from tunebench_operator.plan import Child
from tunebench_operator.transitions import NORMAL, WARNING, Transition

# After so long a run goes, whatever is left; what it owns is collected by Kubernetes.
PATIENCE = timedelta(minutes=5)
# `kubectl delete --cascade=foreground`: Kubernetes deletes every child that is made meanwhile.
_FOREGROUND = "foregroundDeletion"
_NO_SOURCES: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True)
class Departure:
    """What has to be written now; a run that is finished may go after that."""

    actions: tuple[Action, ...] = ()
    finished: bool = False
    told: Transition | None = None
    # When to look again if nothing happens.
    wake_at: datetime | None = None


def plan_departure(  # noqa: PLR0913 - all that decides whether a run may go
    body: Manifest,
    objects: Objects,
    others: Iterable[Manifest],
    installation: Installation,
    storage_uri: str | None,
    *,
    now: datetime,
) -> Departure:
    """Decide what a deleted run still has to do; pure. Without a store, artefacts stay."""
    until = datetime.fromisoformat(body["metadata"]["deletionTimestamp"]) + PATIENCE
    work = [each for each in objects.work.values() if not _is_cleanup(each)]
    removals = tuple(build_removal(each) for each in work)
    run = _parse(body) if _wants_cleanup(body) else None
    if now >= until:
        return _give_up(objects, removals, storage_uri, wanted=run is not None)
    if removals:
        return Departure(removals, wake_at=until)
    if run is None:
        return Departure(finished=True, told=_explain_unreadable(body))
    if storage_uri is None or _FOREGROUND in body["metadata"].get("finalizers", ()):
        why = "the run names no store" if storage_uri is None else "the deletion was in foreground"
        return Departure(finished=True, told=build_leaving(storage_uri, why))
    return _clean_up(run, body, objects, others, installation, storage_uri, until=until)


def find_departing(
    body: Manifest, departing: Iterable[Manifest], sources: Mapping[str, str] = _NO_SOURCES
) -> str | None:
    """Return the name of a run whose artefacts are being deleted, if `body` would use them.

    `sources` are digests of what its spec points to, by URI.
    """
    mine: set[str] | None = None
    for other in departing:
        if not (
            _wants_cleanup(other) and names.FINALIZER in other["metadata"].get("finalizers", ())
        ):
            continue
        mine = list_outputs(body, sources) if mine is None else mine
        # Nobody uses the findings of an earlier preflight again.
        if any(
            not each.startswith(f"{StageKind.PREFLIGHT}/") for each in mine & list_outputs(other)
        ):
            return str(other["metadata"]["name"])
    return None


def list_outputs(body: Manifest, sources: Mapping[str, str] = _NO_SOURCES) -> set[str]:
    """Return the outputs that a run refers to: as its status says, or as they follow from it."""
    reported = _list_reported(body)
    if reported:
        return reported
    run = _parse(body)
    return {node.output for node in build_graph(run, sources).nodes} if run else set()


def _clean_up(  # noqa: PLR0913, PLR0917 - the child and all that it is built from
    run: BenchmarkRun,
    body: Manifest,
    objects: Objects,
    others: Iterable[Manifest],
    installation: Installation,
    storage_uri: str,
    *,
    until: datetime,
) -> Departure:
    """Have a Job delete the artefacts, and go when it has ended."""
    begun = _find_begun(objects)
    if begun is not None:
        child, result = begun, build_attempt(run, objects, child_object_name(run, begun), 1).result
        if result is not None and result.state is ResultState.SUCCEEDED:
            told = Transition(NORMAL, reasons.ARTEFACTS_DELETED, result.message)
            return Departure(finished=True, told=told)
        if result is not None:
            return Departure(finished=True, told=build_leaving(storage_uri, result.message))
    else:
        # Decided once: a run that comes later waits for what is in the list.
        outputs = _list_own(body, objects) - _list_used(others)
        if not outputs:
            told = Transition(NORMAL, reasons.ARTEFACTS_DELETED, "no artefacts of the run's own")
            return Departure(finished=True, told=told)
        since = str(body["metadata"]["creationTimestamp"])
        child = _build_child(CleanupConfig(outputs=tuple(sorted(outputs)), since=since))
    name = child_object_name(run, child)
    actions = (
        *build_access_actions(run, [name], objects),
        *build_child_actions(run, name, child, objects, installation, storage_uri),
    )
    note = f"deleting artefacts in {storage_uri}"
    beginning = None if begun else Transition(NORMAL, reasons.DELETING, note)
    return Departure(actions, told=beginning, wake_at=until)


def _find_begun(objects: Objects) -> Child | None:
    """Return the child that deletes artefacts, if it was applied before."""
    for config in objects.configs.values():
        if _is_cleanup(config):
            document = parse_stage_document(config["data"][names.CONFIG_KEY])
            assert isinstance(document.config, CleanupConfig)  # noqa: S101 - its stage says so
            return _build_child(document.config)
    return None


def _give_up(
    objects: Objects, removals: tuple[Action, ...], storage_uri: str | None, *, wanted: bool
) -> Departure:
    """Let a run go that has waited long enough, and say what it leaves."""
    cleanups = [each for each in objects.work.values() if _is_cleanup(each)]
    if removals:
        left = ", ".join(
            f"{each['kind']} {each['metadata']['name']}" for each in _list_work(objects)
        )
        note = f"{left} did not go in time; check that they and their pods have gone"
        return Departure(removals, finished=True, told=Transition(WARNING, reasons.WORK_LEFT, note))
    if not wanted:
        return Departure(finished=True)
    pods = [pod for each in cleanups for pod in objects.pods.get(each["metadata"]["name"], ())]
    trouble = find_trouble(pods)
    why = trouble.message if trouble else "deleting took too long"
    actions = tuple(build_removal(each) for each in cleanups)
    return Departure(actions, finished=True, told=build_leaving(storage_uri, why))


def _build_child(config: CleanupConfig) -> Child:
    digest = build_config_digest(config)
    return Child(
        name=names.child_name(names.CLEANUP_KEY, digest, 1),
        key=names.CLEANUP_KEY,
        kind=StageKind.CLEANUP,
        digest=digest,
        output=f"{StageKind.CLEANUP}/{digest}",
        attempt=1,
        config=config,
    )


def _list_own(body: Manifest, objects: Objects) -> set[str]:
    """Return the outputs that the run worked on; the job looks which of them it made."""
    attempted = {
        _output(annotations[names.KEY_ANNOTATION], annotations[names.DIGEST_ANNOTATION])
        for config in objects.configs.values()
        for annotations in [config["metadata"]["annotations"]]
        if not _is_cleanup(config)
    }
    return attempted | _list_reported(body)


def _list_reported(body: Manifest) -> set[str]:
    """Return the outputs that a run's status names."""
    stages: Sequence[Mapping[str, Any]] = (body.get("status") or {}).get("stages", ())
    return {_output(each["name"], each["digest"]) for each in stages if each.get("digest")}


def _list_used(others: Iterable[Manifest]) -> set[str]:
    """Return the outputs of runs that stay, or go and leave theirs."""
    used: set[str] = set()
    for other in others:
        if not (other["metadata"].get("deletionTimestamp") and _wants_cleanup(other)):
            used |= list_outputs(other)
    return used


def _list_work(objects: Objects) -> Iterator[Manifest]:
    return (each for each in objects.work.values() if not _is_cleanup(each))


def build_leaving(storage_uri: str | None, why: str) -> Transition:
    """Build the Event that says which artefacts stay, and why."""
    note = f"artefacts stay in {storage_uri or 'the store'}: {why}"
    return Transition(WARNING, reasons.ARTEFACTS_LEFT, note)


def _explain_unreadable(body: Manifest) -> Transition | None:
    """Build the Event about a run whose artefacts should go, and of which nothing else is known."""
    if not _wants_cleanup(body):
        return None
    return build_leaving(None, "this version of the operator cannot read the run's spec")


def _wants_cleanup(body: Manifest) -> bool:
    return bool(body["spec"].get("cleanup") == Cleanup.DELETE)


def _is_cleanup(each: Manifest) -> bool:
    return bool(each["metadata"]["labels"].get(names.STAGE_LABEL) == StageKind.CLEANUP)


def _output(key: str, digest: str) -> str:
    return f"{key.partition('/')[0]}/{digest}"


def _parse(body: Manifest) -> BenchmarkRun | None:
    """Return a run, or none of one that an older version wrote: it has nothing here."""
    try:
        return BenchmarkRun.from_wire({**body, "status": None})
    except ValidationError:
        return None
