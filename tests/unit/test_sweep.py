"""What a listing tells that the watches did not."""

from __future__ import annotations

from typing import Any, cast

import pytest
from make_installation import make_installation
from memory_cluster import make_cluster_run

from tunebench_operator.builders.metadata import Manifest
from tunebench_operator.cluster import CHILD_KINDS, Cluster
from tunebench_operator.handlers import Operator
from tunebench_operator.metrics import Metrics
from tunebench_operator.trimming import pack

RUN = make_cluster_run().to_wire()
RUN["metadata"]["resourceVersion"] = "1"
KEY = (RUN["metadata"]["namespace"], RUN["metadata"]["name"])


class ListedCluster:
    """A cluster of which only listings are asked."""

    def __init__(self, runs: list[Manifest]) -> None:
        """List these runs, without children."""
        self._runs = runs

    async def list_runs(self, _namespace: str | None) -> list[Manifest]:
        """List the runs."""
        return self._runs

    async def list_children(self, _namespace: str | None) -> list[Manifest]:
        """List nothing."""
        return []


async def make_operator(listed: list[Manifest], known: dict[Any, tuple[bytes, ...]]) -> Operator:
    """Return an operator whose watches have told of some runs."""
    cluster = cast("Cluster", ListedCluster(listed))
    operator = Operator(cluster, make_installation(), None, Metrics(), sweep_seconds=1)
    await operator._remember_indexes(runs=known, **{each: {} for each in CHILD_KINDS})
    return operator


@pytest.mark.parametrize(
    ("listed", "known", "deaf"),
    [
        pytest.param([RUN], {KEY: (pack(RUN),)}, False, id="all told"),
        pytest.param([RUN], {}, True, id="a run that no watch told of"),
        pytest.param([], {KEY: (pack(RUN),)}, True, id="a run whose end no watch told of"),
    ],
)
async def test_a_gap_that_stays_is_deafness(
    listed: list[Manifest], known: dict[Any, tuple[bytes, ...]], *, deaf: bool
) -> None:
    """What changes while it is listed may be unseen once; twice, liveness asks for a restart."""
    operator = await make_operator(listed, known)
    await operator.sweep()
    once = operator.health.deaf
    await operator.sweep()

    assert not once
    assert operator.health.deaf is deaf


async def test_what_changes_all_the_time_is_not_deafness() -> None:
    """A busy run may change during each listing; the watches tell of it in between."""
    known = {KEY: (pack(make_version(1)),)}
    operator = await make_operator([make_version(2)], known)
    await operator.sweep()
    known[KEY] = (pack(make_version(3)),)
    await operator.sweep()

    assert not operator.health.deaf


def make_version(number: int) -> Manifest:
    """Return the run in one of its versions."""
    return {**RUN, "metadata": RUN["metadata"] | {"resourceVersion": str(number)}}
