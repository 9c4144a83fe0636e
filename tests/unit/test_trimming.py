"""What is kept of an object in memory is all that steps read."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from memory_cluster import MemoryCluster, make_cluster_run

from tunebench_operator.actions import Action, End, build_actions
from tunebench_operator.observe import build_objects, build_observed
from tunebench_operator.plan import plan
from tunebench_operator.trimming import pack, trim_child, unpack

STORAGE = "pvc://bench/runs"


def describe(action: Action) -> tuple[object, ...]:
    """Return what an action does; an End only names the config that it is written on."""
    if isinstance(action, End):
        return "end", action.config["metadata"]["name"], action.result
    return (action,)


@settings(max_examples=20)
@given(st.lists(st.sampled_from(["succeed", "fail", "crash", "remove"]), max_size=12))
def test_steps_decide_the_same_from_trimmed_objects(history: list[str]) -> None:
    """At any moment, plan and actions follow from what is kept as from the whole objects."""
    cluster = MemoryCluster(make_cluster_run(queue={"name": "team-a"}))
    for what in history:
        cluster.step()
        for work in cluster.list_work_in_progress()[:1]:
            if what == "fail":
                cluster.fail(work, retryable=True)
            else:
                getattr(cluster, what)(work)
    decided = []
    for found in (
        cluster.objects.values(),
        [unpack(pack(trim_child(each))) for each in cluster.objects.values()],
    ):
        objects = build_objects(found, cluster.run.metadata.uid)
        result = plan(cluster.run, build_observed(cluster.run, objects), now=cluster.now)
        actions = build_actions(
            cluster.run, result, objects, cluster.installation, STORAGE, now=cluster.now
        )
        decided.append((result, [describe(each) for each in actions]))

    assert decided[0] == decided[1]


@pytest.mark.parametrize(
    "owners",
    [
        pytest.param([{"controller": True, "uid": "of the earlier run"}], id="not collected yet"),
        pytest.param([], id="orphaned"),
    ],
)
def test_a_run_of_an_earlier_ones_name_begins_anew(owners: list[dict[str, object]]) -> None:
    """Attempts of a deleted run are none of the next, though its objects are still there."""
    cluster = MemoryCluster(make_cluster_run())
    cluster.step()
    cluster.fail(cluster.list_work()[0], retryable=False)
    found = [unpack(pack(trim_child(each))) for each in cluster.objects.values()]
    uid = cluster.run.metadata.uid
    mine = build_observed(cluster.run, build_objects(found, uid))
    for each in found:
        each["metadata"]["ownerReferences"] = owners
    theirs = build_observed(cluster.run, build_objects(found, uid))

    assert mine.attempts
    assert not theirs.attempts
