"""What wakes a run: kopf's watches and a sweep. Handlers hold no logic; steps decide everything.

Events only (`on.event`): change handlers would write three times per object and keep a second copy
of its spec. kopf never lists anew, so a sweep does, and looks at what the watches have missed.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Hashable, Iterator, Sequence
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
from tunebench_operator.known import Key, Known, find_key, find_owner
from tunebench_operator.metrics import Metrics
from tunebench_operator.reconcile import reconcile, tell_unforeseen
from tunebench_operator.worklist import Worklist

logger = logging.getLogger(__name__)

_VERSION = "v1alpha1"
_WORKERS = 8
_LIST_AGAIN_SECONDS = 2.0

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
        self.known = Known()
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
        mine: dict[str, Any] = {
            names.MANAGED_BY_LABEL: names.MANAGED_BY,
            names.RUN_LABEL: kopf.PRESENT,
        }
        for plural, (api_version, kind) in CHILD_KINDS.items():
            group, _, version = api_version.rpartition("/")
            handler = self._build_child_handler(api_version, kind)
            resource = (group, version, plural)
            kopf.on.event(*resource, id="child", labels=mine, registry=registry)(handler)
        return registry

    async def run_forever(self) -> None:
        """Drive the runs until cancelled."""
        await self.health.ready.wait()
        # A step that knew only some of a run's children would start the others again.
        await self._fill()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._worklist.work(_WORKERS))
            group.create_task(self._sweep_forever())

    async def _fill(self) -> None:
        """List everything before the first step, however long the API server takes to answer."""
        while True:
            try:
                runs = await self._cluster.list_runs(self._namespace)
                children = await self._cluster.list_children(self._namespace)
                break
            except ClusterError as error:
                logger.warning("the first listing failed: %s", error)
                await asyncio.sleep(_LIST_AGAIN_SECONDS)
        self.known.fill(runs, children)
        for key in self.known.list_keys():
            self._worklist.wake(key)

    async def _on_run(
        self, event: Any, body: kopf.Body, namespace: str | None, name: str, **_: Any
    ) -> None:
        self._metrics.note_event()
        key = (namespace or "", name)
        if event["type"] == "DELETED":
            self.known.drop_run(key)
            self._worklist.forget(key)
        else:
            self.known.put_run(dict(body))
            self._worklist.wake(key, first=not body.get("status"))

    def _build_child_handler(self, api_version: str, kind: str) -> Any:
        async def on_child(event: Any, body: kopf.Body, **_: Any) -> None:
            self._metrics.note_event()
            # Entries of a list do not say what they are.
            child = {**body, "apiVersion": api_version, "kind": kind}
            (self.known.drop_child if event["type"] == "DELETED" else self.known.put_child)(child)
            self._worklist.wake_soon(find_owner(child))

        return on_child

    async def _step(self, key: Hashable) -> datetime | None:
        assert isinstance(key, tuple)  # noqa: S101 - nobody else wakes
        listed = self._listed.pop(key, None)
        body = next(self.known.find_runs(key), None)
        body, children = listed or (body, list(self.known.find_children(key)))
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
        for key in self.known.list_keys():
            yield from self.known.find_runs(key)

    def _others_of(self, key: Key) -> Iterator[Manifest]:
        """Yield the other runs of a run that is being deleted; of any other, those that are."""
        departing = self.known.departing
        for other in self.known.list_keys() if key in departing else list(departing):
            if other != key:
                yield from self.known.find_runs(other)

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
            children.setdefault(find_owner(each), []).append(each)
        listed = {find_key(body): body for body in runs}
        everything = (*runs, *(each for mine in children.values() for each in mine))
        self.known.drop_unconfirmed({each["metadata"]["uid"] for each in everything})
        gap: Gap = {}
        unseen = 0
        for key in {*self.known.list_keys(), *listed}:
            body, mine = listed.get(key), children.get(key, [])
            known = [*self.known.find_runs(key), *self.known.find_children(key)]
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
    # Ten thousand objects come at once when the operator starts; each keeps a task for so long.
    settings.queueing.idle_timeout = 0.2
    settings.watching.chunk_size = 100
    settings.networking.request_timeout = 30
    settings.process.ultimate_exiting_timeout = 30
    settings.persistence.diffbase_storage = _NothingKept()
    selector = f"{names.MANAGED_BY_LABEL}={names.MANAGED_BY}"
    for plural, (api_version, _) in CHILD_KINDS.items():
        group = api_version.rpartition("/")[0]
        settings.watching.label_selectors[group, plural] = selector
    settings.scanning.disabled = namespace is not None
    return settings


class _NothingKept(kopf.DiffBaseStorage):
    """Spares copies of each object at each event, for differences that nobody asks for."""

    def build(self, **_: Any) -> kopf.BodyEssence:
        """Return that nothing matters."""
        return kopf.BodyEssence({})

    def fetch(self, **_: Any) -> None:
        """Return that nothing was kept."""

    def store(self, **_: Any) -> None:
        """Keep nothing."""


def find_gap(known: Sequence[Manifest], listed: Sequence[Manifest]) -> Gap:
    """Return what the watches told of objects that are listed otherwise, or not at all.

    What changes while it is listed differs once. That the watches told nothing new of an object
    which still differs is deafness.
    """
    told, true = _versions(known), _versions(listed)
    return {uid: told.get(uid) for uid in {*told, *true} if told.get(uid) != true.get(uid)}


def _versions(objects: Sequence[Manifest]) -> dict[str, str]:
    return {each["metadata"]["uid"]: each["metadata"]["resourceVersion"] for each in objects}
