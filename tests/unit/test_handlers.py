"""What a listing tells that the watches did not, and what a step that fails says."""

from __future__ import annotations

from typing import cast

import pytest
from make_installation import make_installation
from memory_cluster import MemoryCluster, make_cluster_run
from operating import SPEC
from pydantic import ValidationError

from tunebench_api.v1alpha1 import KIND, Metadata
from tunebench_operator import names, reasons
from tunebench_operator.builders.metadata import Manifest
from tunebench_operator.cluster import Cluster
from tunebench_operator.handlers import Operator
from tunebench_operator.metrics import Metrics

RUN = make_cluster_run().to_wire()
RUN["metadata"]["resourceVersion"] = "1"
KEY = (RUN["metadata"]["namespace"], RUN["metadata"]["name"])


class ListedCluster:
    """A cluster of which only listings are asked."""

    def __init__(self, runs: list[Manifest]) -> None:
        """List these runs, without children."""
        self._runs = runs
        self.events: list[tuple[str, str, str]] = []

    async def post_event(self, run: Metadata, kind: str, reason: str, note: str) -> None:
        """Keep an Event."""
        assert note
        self.events.append((run.name, kind, reason))

    async def list_runs(self, _namespace: str | None) -> list[Manifest]:
        """List the runs."""
        return self._runs

    async def list_children(self, _namespace: str | None) -> list[Manifest]:
        """List nothing."""
        return []


def make_operator(cluster: ListedCluster, *told: Manifest) -> Operator:
    """Return an operator whose watches have told of a run, or of what belongs to it."""
    door = cast("Cluster", cluster)
    operator = Operator(door, make_installation(), None, Metrics(), sweep_seconds=1)
    for each in told:
        known = operator.known
        (known.put_run if each["kind"] == KIND else known.put_child)(each)
    return operator


@pytest.mark.parametrize(
    ("listed", "known", "deaf"),
    [
        pytest.param([RUN], [RUN], False, id="all told"),
        pytest.param([RUN], [], True, id="a run that no watch told of"),
        pytest.param([], [RUN], True, id="a run whose end no watch told of"),
    ],
)
async def test_a_gap_that_stays_is_deafness(
    listed: list[Manifest], known: list[Manifest], *, deaf: bool
) -> None:
    """What changes while it is listed may be unseen once; twice, liveness asks for a restart."""
    operator = make_operator(ListedCluster(listed), *known)
    await operator.sweep()
    once = operator.health.deaf
    await operator.sweep()

    assert not once
    assert operator.health.deaf is deaf


async def test_what_changes_all_the_time_is_not_deafness() -> None:
    """A busy run may change during each listing; the watches tell of it in between."""
    operator = make_operator(ListedCluster([make_version(2)]), make_version(1))
    await operator.sweep()
    operator.known.put_run(make_version(3))
    await operator.sweep()

    assert not operator.health.deaf


def make_version(number: int) -> Manifest:
    """Return the run in one of its versions."""
    return {**RUN, "metadata": RUN["metadata"] | {"resourceVersion": str(number)}}


async def test_a_step_that_nobody_foresaw_to_fail_is_told() -> None:
    """What is damaged by hand is in an Event of its run, and the error goes on to the log."""
    memory = MemoryCluster(make_cluster_run(**SPEC))
    memory.step()
    body = memory.run.to_wire()
    body["metadata"]["finalizers"] = [names.FINALIZER]
    configs = [each for (kind, _), each in memory.objects.items() if kind == "ConfigMap"]
    for each in configs:
        each["metadata"]["annotations"] |= {names.ENDED_ANNOTATION: "damaged"}
    cluster = ListedCluster([body])
    operator = make_operator(cluster, body, *configs)

    with pytest.raises(ValidationError):
        await operator._step(KEY)
    assert cluster.events == [(KEY[1], "Warning", reasons.STEP_FAILED)]


async def test_what_went_before_the_watches_is_no_deafness() -> None:
    """What the listing at the start had, and the watches never, is forgotten once it is gone."""
    operator = make_operator(ListedCluster([]))
    operator.known.fill([RUN], [])
    await operator.sweep()
    await operator.sweep()

    assert not operator.known.list_keys()
    assert not operator.health.deaf


def test_a_watch_knows_better_than_the_first_listing() -> None:
    """The listing at the start fills gaps only; it may be older than what a watch told."""
    operator = make_operator(ListedCluster([]), make_version(3))
    operator.known.fill([make_version(2)], [])
    (known,) = operator.known.find_runs(KEY)

    assert known["metadata"]["resourceVersion"] == "3"


def test_a_run_made_anew_is_not_departing() -> None:
    """A name that is taken again belongs to a run that stays."""
    going = {**RUN, "metadata": RUN["metadata"] | {"deletionTimestamp": "2026-01-01T00:00:00Z"}}
    operator = make_operator(ListedCluster([]), going)
    departing = set(operator.known.departing)
    operator.known.put_run(RUN)

    assert departing == {KEY}
    assert operator.known.departing == set()
