"""What wakes a run: kopf's watches and a sweep. Handlers hold no logic; steps decide everything.

Events only (`on.event`) and indexes: change handlers would write three times per object and keep a
second copy of its spec. kopf never lists anew, so a sweep does, and looks at what the indexes miss.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Hashable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

import kopf

from tunebench_api.crd import PLURAL
from tunebench_api.v1alpha1 import API_GROUP
from tunebench_operator import names
from tunebench_operator.builders.metadata import Manifest
from tunebench_operator.cluster import CHILD_KINDS, Cluster
from tunebench_operator.errors import ClusterError
from tunebench_operator.health import Health
from tunebench_operator.installation import Installation
from tunebench_operator.metrics import Metrics
from tunebench_operator.reconcile import reconcile, tell_unforeseen
from tunebench_operator.trimming import pack, trim_child, trim_run, unpack
from tunebench_operator.worklist import Worklist

logger = logging.getLogger(__name__)

_VERSION = "v1alpha1"
_WORKERS = 8

Key = tuple[str, str]
# By UID of an object that was listed in another version: the version that the watches told, if any.
Gap = dict[str, str | None]


class Operator:
    """All runs of the watched namespaces, and the worklist that drives them."""

    def __init__(
        self,
        cluster: Cluster,
        installation: Installation,
        namespace: str | None,
        metrics: Metrics,
        *,
        sweep_seconds: float,
    ) -> None:
        """Begin with nothing known."""
        self._sweep_seconds = sweep_seconds
        self._metrics = metrics
        metrics.show_runs(self._list_runs)
        self._cluster = cluster
        self._installation = installation
        self._namespace = namespace
        # Runs that are being deleted.
        self._departing: set[Key] = set()
        self._indexes: Mapping[str, Any] = {}
        self.health = Health(longest_silence=4 * sweep_seconds)
        # Of the last sweep: what the watches had not told, and what was listed instead.
        self._gap: Gap = {}
        self._listed: dict[Key, tuple[Manifest, list[Manifest]]] = {}
        self._worklist = Worklist(self._step, foreseen=(ClusterError,))

    def build_registry(self) -> kopf.OperatorRegistry:
        """Build the registry of everything that wakes a run."""
        registry = kopf.OperatorRegistry()
        run = (API_GROUP, _VERSION, PLURAL)
        kopf.on.event(*run, id="run", registry=registry)(self._on_run)
        kopf.index(*run, id="runs", registry=registry)(self._index_run)
        mine: dict[str, Any] = {
            names.MANAGED_BY_LABEL: names.MANAGED_BY,
            names.RUN_LABEL: kopf.PRESENT,
        }
        for plural, (api_version, kind) in CHILD_KINDS.items():
            group, _, version = api_version.rpartition("/")
            resource = (group, version, plural)
            index = _build_child_index(api_version, kind)
            kopf.index(*resource, id=plural, labels=mine, registry=registry)(index)
            kopf.on.event(*resource, id="child", labels=mine, registry=registry)(self._on_child)
        kopf.on.startup(id="indexes", registry=registry)(self._remember_indexes)
        return registry

    async def run_forever(self) -> None:
        """Drive the runs until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._worklist.work(_WORKERS))
            group.create_task(self._sweep_forever())

    async def _remember_indexes(self, **kwargs: Any) -> None:
        """Keep kopf's live views."""
        self._indexes = {each: kwargs[each] for each in ("runs", *CHILD_KINDS)}

    async def _on_run(
        self, event: Any, body: kopf.Body, namespace: str | None, name: str, **_: Any
    ) -> None:
        self._metrics.note_event()
        key = (namespace or "", name)
        if event["type"] == "DELETED":
            self._departing.discard(key)
            self._worklist.forget(key)
        else:
            self._worklist.wake(key, first=not body.get("status"))

    async def _on_child(self, namespace: str | None, labels: Mapping[str, str], **_: Any) -> None:
        self._metrics.note_event()
        self._worklist.wake((namespace or "", labels[names.RUN_LABEL]))

    async def _index_run(self, body: kopf.Body, namespace: str | None, name: str, **_: Any) -> Any:
        if body["metadata"].get("deletionTimestamp"):
            self._departing.add((namespace or "", name))
        return {(namespace or "", name): pack(trim_run(body))}

    async def _step(self, key: Hashable) -> datetime | None:
        assert isinstance(key, tuple)  # noqa: S101 - nobody else wakes
        listed = self._listed.pop(key, None)
        body = next(self._bodies_of(key), None)
        body, children = listed or (body, list(self._children_of(key)))
        if body is None:
            return None
        others = self._others_of(key)
        try:
            with self._metrics.measure_step():
                step = await reconcile(body, children, self._installation, self._cluster, others)
        except ClusterError:
            raise
        except Exception as error:
            await tell_unforeseen(body, error, self._cluster)
            raise
        return step.wake_at

    def _list_runs(self) -> Iterator[Manifest]:
        for key in list(self._indexes.get("runs", ())):
            yield from self._bodies_of(key)

    def _bodies_of(self, key: Key) -> Iterator[Manifest]:
        yield from map(unpack, self._indexes["runs"].get(key, ()))

    def _others_of(self, key: Key) -> Iterator[Manifest]:
        """Yield the other runs of a run that is being deleted; of any other, those that are."""
        runs = self._indexes["runs"]
        for other in runs if key in self._departing else self._departing:
            if other != key:
                yield from self._bodies_of(other)

    def _children_of(self, key: Key) -> Iterator[Manifest]:
        for plural in CHILD_KINDS:
            yield from map(unpack, self._indexes[plural].get(key, ()))

    async def _sweep_forever(self) -> None:
        while True:
            await asyncio.sleep(self._sweep_seconds * random.uniform(0.8, 1.2))  # noqa: S311 - no secret
            try:
                await self.sweep()
            except ClusterError as error:
                logger.warning("the sweep failed: %s", error)

    async def sweep(self) -> None:
        """List everything anew, and wake the runs of which the watches had not told all.

        Where they tell nothing from one sweep to the next, the step works on what was listed.

        Raises:
            ClusterError: The API server does not answer.
        """
        runs = await self._cluster.list_runs(self._namespace)
        children: dict[Key, list[Manifest]] = {}
        for each in await self._cluster.list_children(self._namespace):
            run = each["metadata"].get("labels", {}).get(names.RUN_LABEL, "")
            children.setdefault((each["metadata"]["namespace"], run), []).append(each)
        listed = {(body["metadata"]["namespace"], body["metadata"]["name"]): body for body in runs}
        gap: Gap = {}
        unseen = 0
        for key in {*self._indexes["runs"], *listed}:
            body, mine = listed.get(key), children.get(key, [])
            known = [*self._bodies_of(key), *self._children_of(key)]
            found = find_gap(known, [body, *mine] if body else [])
            if found:
                unseen += 1
                if body and found.items() & self._gap.items():
                    self._listed[key] = (body, mine)
                self._worklist.wake(key)
            gap |= found
        self.health.deaf = bool(gap.items() & self._gap.items())
        self.health.swept_at = time.monotonic()
        self._metrics.note_sweep(unseen=unseen, deaf=self.health.deaf)
        self._gap = gap


def build_settings(namespace: str | None) -> kopf.OperatorSettings:
    """Build kopf's settings: nothing of ours is written by kopf."""
    settings = kopf.OperatorSettings()
    settings.posting.enabled = False
    settings.watching.chunk_size = 500
    settings.networking.request_timeout = 30
    settings.process.ultimate_exiting_timeout = 30
    selector = f"{names.MANAGED_BY_LABEL}={names.MANAGED_BY}"
    for plural, (api_version, _) in CHILD_KINDS.items():
        group = api_version.rpartition("/")[0]
        settings.watching.label_selectors[group, plural] = selector
    settings.scanning.disabled = namespace is not None
    return settings


def _build_child_index(api_version: str, kind: str) -> Any:
    async def index(
        body: kopf.Body, namespace: str | None, labels: Mapping[str, str], **_: Any
    ) -> Any:
        found = trim_child({**body, "apiVersion": api_version, "kind": kind})
        return {(namespace or "", labels[names.RUN_LABEL]): pack(found)}

    return index


def find_gap(known: Sequence[Manifest], listed: Sequence[Manifest]) -> Gap:
    """Return what the watches told of objects that are listed otherwise, or not at all.

    What changes while it is listed differs once. That the watches told nothing new of an object
    which still differs is deafness.
    """
    told, true = _versions(known), _versions(listed)
    return {uid: told.get(uid) for uid in {*told, *true} if told.get(uid) != true.get(uid)}


def _versions(objects: Sequence[Manifest]) -> dict[str, str]:
    return {each["metadata"]["uid"]: each["metadata"]["resourceVersion"] for each in objects}
