"""Observing and acting in a cluster, without one: any history ends, and nothing is done twice."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from memory_cluster import MemoryCluster, make_cluster_run, stage_of

from tunebench_api.contract import StageKind
from tunebench_api.v1alpha1 import BenchmarkRun, StageStatus
from tunebench_operator import names, reasons
from tunebench_operator.builders.metadata import Manifest
from tunebench_operator.errors import UserError
from tunebench_operator.observe import find_written_end

MODELS: list[dict[str, object]] = [{"name": name, "base": "acme/one"} for name in ("one", "two")]
DISTURBANCES = ("wait", "succeed", "fail", "refuse", "crash", "remove")


def make_run(**spec: object) -> BenchmarkRun:
    """Return a run of two models with the paths of a cluster."""
    return make_cluster_run(models=MODELS, tools=["Describe"], **spec)


def finish(cluster: MemoryCluster) -> None:
    """Let everything succeed until the run has ended."""
    for _ in range(60):
        if cluster.step().finished and not cluster.list_work_in_progress():
            return
        for work in cluster.list_work():
            cluster.succeed(work)
    raise AssertionError(cluster.run.status)


def reach(cluster: MemoryCluster, stage: StageKind) -> None:
    """Let everything before a stage succeed; its work has just been applied."""
    for _ in range(20):
        cluster.step()
        if any(stage_of(work) is stage for work in cluster.list_work()):
            return
        for work in cluster.list_work():
            cluster.succeed(work)
    raise AssertionError(stage)


def find_stage(cluster: MemoryCluster, name: str) -> StageStatus:
    """Return what users see of a stage."""
    assert cluster.run.status
    return next(each for each in cluster.run.status.stages if each.name == name)


def find_work(cluster: MemoryCluster, stage: StageKind) -> Manifest:
    """Return what does the work of a stage."""
    return next(work for work in cluster.list_work_in_progress() if stage_of(work) is stage)


def test_an_undisturbed_run_does_each_stage_once() -> None:
    """Each stage is one object, and when all is done no server is left."""
    cluster = MemoryCluster(make_run())
    finish(cluster)
    counts = Counter(
        stage_of(each)
        for each in cluster.applied
        if each["kind"] in {"Job", "RayJob", "RayService"}
    )

    assert counts[StageKind.TRAIN] == 2
    assert counts[StageKind.SERVE] == counts[StageKind.SCORE] == counts[StageKind.DATA] == 1
    assert not [each for each in cluster.list_work() if each["kind"] == "RayService"]
    assert cluster.build_pending_actions() == []


# A history is a run of up to 85 steps, each of which builds every object.
@settings(max_examples=40)
@given(st.lists(st.tuples(st.sampled_from(DISTURBANCES), st.integers(0, 5)), max_size=25))
def test_any_history_ends(history: list[tuple[str, int]]) -> None:
    """Whatever becomes of the work, a stage is never done twice at once, and the run ends."""
    cluster = MemoryCluster(make_run())
    for what, index in history:
        cluster.step()
        running = cluster.list_work_in_progress()
        keys = [cluster.key_of(work) for work in running]
        assert len(keys) == len(set(keys))
        assert cluster.build_pending_actions() == []
        if running:
            disturb(cluster, running[index % len(running)], what)
    finish(cluster)


def disturb(cluster: MemoryCluster, work: Manifest, what: str) -> None:
    """Let something become of a piece of work."""
    if what == "succeed":
        cluster.succeed(work)
    elif what in {"fail", "refuse"}:
        cluster.fail(work, retryable=what == "fail")
    elif what == "crash":
        cluster.crash(work)
    elif what == "remove":
        cluster.remove(work)


def test_removed_work_comes_back_as_the_same_attempt() -> None:
    """Deleting a RayJob by hand costs no retry: it is applied again under its name."""
    cluster = MemoryCluster(make_run(retries=0))
    reach(cluster, StageKind.TRAIN)
    removed = find_work(cluster, StageKind.TRAIN)
    cluster.remove(removed)
    cluster.step()

    assert find_work(cluster, StageKind.TRAIN)["metadata"] == removed["metadata"] | {
        "uid": find_work(cluster, StageKind.TRAIN)["metadata"]["uid"],
        "creationTimestamp": cluster.now.isoformat(),
    }


def test_a_crash_is_tried_again_and_said() -> None:
    """Work that ends without a word uses up a retry; the status says how it went."""
    cluster = MemoryCluster(make_run(retries=1))
    reach(cluster, StageKind.DATA)
    for _ in range(2):
        cluster.crash(find_work(cluster, StageKind.DATA))
        cluster.step()
        cluster.step()
    stage = find_stage(cluster, "data")

    assert stage.state == "Failed"
    assert stage.attempt == 2
    assert stage.reason == reasons.CRASHED


def test_a_server_that_cannot_start_fails_its_models() -> None:
    """What Ray Serve gives up is deleted, and its message is the stage's."""
    cluster = MemoryCluster(make_run(retries=0))
    reach(cluster, StageKind.SERVE)
    cluster.crash(find_work(cluster, StageKind.SERVE))
    cluster.step()
    cluster.step()

    assert "the replica does not start" in find_stage(cluster, "serve/one").message
    assert not [work for work in cluster.list_work() if stage_of(work) is StageKind.SERVE]


def test_a_server_that_never_answers_is_given_up() -> None:
    """Nodes that never come do not hold a run, or its other GPUs, for ever."""
    cluster = MemoryCluster(make_run(retries=0))
    reach(cluster, StageKind.SERVE)
    name = str(find_work(cluster, StageKind.SERVE)["metadata"]["name"])
    cluster.step()
    held = cluster.list_work()
    cluster.now += timedelta(seconds=cluster.installation.gang_timeout_seconds)
    cluster.step()
    ended = find_written_end(cluster.objects["ConfigMap", name])

    assert [stage_of(work) for work in held if work["kind"] == "RayService"] == [StageKind.SERVE]
    assert ended is not None
    assert ended.reason == reasons.DEADLINE_EXCEEDED
    assert ("RayService", name) not in cluster.objects


@pytest.mark.parametrize("stage", [StageKind.DATA, StageKind.TRAIN, StageKind.SERVE])
def test_suspension_ends_work_without_costing_a_retry(stage: StageKind) -> None:
    """A suspended run holds no node; it goes on where it was."""
    cluster = MemoryCluster(make_run(retries=0))
    reach(cluster, stage)
    running = cluster.run
    cluster.run = running.model_copy(
        update={"spec": running.spec.model_copy(update={"suspend": True})}
    )
    cluster.step()
    suspended = cluster.list_work_in_progress()
    cluster.run = cluster.run.model_copy(update={"spec": running.spec})
    finish(cluster)

    assert suspended == []
    assert cluster.run.status
    summary = next(each for each in cluster.run.status.conditions if each.type == names.SUCCEEDED)
    assert summary.reason == reasons.SUCCEEDED


def test_an_unknown_pool_is_named_before_anything_is_computed() -> None:
    """Nothing is started for a run whose second model could not be trained in the end."""
    models = [MODELS[0], MODELS[1] | {"resources": {"pool": "no-such-pool"}}]
    cluster = MemoryCluster(make_cluster_run(models=models))

    with pytest.raises(UserError, match=r"models\[two\].*must be one of default, h100"):
        cluster.step()

    assert cluster.list_work() == []


def test_a_finished_run_needs_no_pool_any_more() -> None:
    """What was ranked stays ranked when the cluster's owner gives up the pool."""
    models = [{"name": "one", "base": "acme/one", "resources": {"pool": "h100"}}]
    cluster = MemoryCluster(make_cluster_run(models=models, tools=["Describe"]))
    finish(cluster)
    cluster.installation = cluster.installation.model_copy(
        update={"pools": cluster.installation.pools[:1]}
    )

    assert cluster.step().finished
