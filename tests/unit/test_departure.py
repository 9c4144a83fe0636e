"""How a deleted run goes: with or without its artefacts, and never later than in five minutes."""

from __future__ import annotations

import copy
import json
from datetime import timedelta
from typing import Any

from make_run import make_body
from memory_cluster import START, MemoryCluster, make_cluster_run

from tunebench_api.contract import ResultState, StageResult
from tunebench_operator import names, reasons
from tunebench_operator.actions import Apply, Delete
from tunebench_operator.builders.metadata import Manifest
from tunebench_operator.departure import Departure, find_departing, list_outputs, plan_departure
from tunebench_operator.observe import build_objects

STORAGE = "pvc://bench/runs"


def make_cluster(*, cleanup: str = "Delete") -> MemoryCluster:
    """Return a cluster in which a run has done its data stage."""
    cluster = MemoryCluster(make_cluster_run(cleanup=cleanup))
    cluster.step()
    for work in cluster.list_work():
        cluster.succeed(work)
    cluster.step()
    return cluster


def make_deleted(cluster: MemoryCluster, *finalizers: str) -> Manifest:
    """Return the run as the API server shows it once somebody has deleted it."""
    body = cluster.run.to_wire()
    body["metadata"] |= {
        "creationTimestamp": "2025-12-31T00:00:00Z",
        "deletionTimestamp": cluster.now.isoformat(),
        "finalizers": [names.FINALIZER, *finalizers],
    }
    return body


def depart(
    cluster: MemoryCluster, body: Manifest, others: tuple[Manifest, ...] = (), **late: int
) -> Departure:
    """Plan and carry out one step of the run's going."""
    departure = plan_departure(
        body,
        build_objects(cluster.objects.values(), cluster.run.metadata.uid),
        others,
        cluster.installation,
        STORAGE,
        now=cluster.now + timedelta(**late),
    )
    for action in departure.actions:
        cluster._carry_out(action)
    return departure


def find_cleanup(cluster: MemoryCluster) -> dict[str, Any]:
    """Return the document of the job that deletes."""
    (config,) = (
        each
        for each in cluster.objects.values()
        if each["kind"] == "ConfigMap"
        and each["metadata"]["labels"].get(names.PART_LABEL) == names.CONFIG_PART
        and each["metadata"]["labels"].get(names.STAGE_LABEL) == "cleanup"
    )
    document: dict[str, Any] = json.loads(config["data"][names.CONFIG_KEY])
    return document


def make_other(cluster: MemoryCluster, **spec: Any) -> Manifest:
    """Return a second run that would compute the same."""
    body = make_deleted(cluster)
    body["metadata"] |= {"name": "other", "uid": "other", "deletionTimestamp": None}
    return {**body, "spec": {**body["spec"], **spec}}


def test_artefacts_stay_by_default() -> None:
    """A run goes as soon as its work has stopped; nobody deletes anything."""
    cluster = make_cluster(cleanup="Keep")
    body = make_deleted(cluster)
    stopping = depart(cluster, body)
    gone = depart(cluster, body)

    assert {type(action) for action in stopping.actions} == {Delete}
    assert not stopping.finished
    assert gone == Departure(finished=True)


def test_the_winner_s_server_goes_with_its_run() -> None:
    """It stops before its checkpoint is deleted."""
    cluster = MemoryCluster(make_cluster_run(cleanup="Delete", serving={"keep": "Winner"}))
    for _ in range(60):
        if cluster.step().finished:
            break
        for work in cluster.list_work():
            cluster.succeed(work)
    servers = [each for each in cluster.list_work() if each["kind"] == "RayService"]
    body = make_deleted(cluster)
    stopping = depart(cluster, body)
    depart(cluster, body)

    assert len(servers) == 1
    assert servers[0]["metadata"]["name"] in {
        action.name for action in stopping.actions if isinstance(action, Delete)
    }
    assert any(each.startswith("train/") for each in find_cleanup(cluster)["config"]["outputs"])


def test_artefacts_go_when_the_run_says_so() -> None:
    """A Job is told what the run worked on; when it has ended, the run goes and says so."""
    cluster = make_cluster()
    body = make_deleted(cluster)
    depart(cluster, body)
    beginning = depart(cluster, body)
    waiting = depart(cluster, body)
    document = find_cleanup(cluster)
    (job,) = cluster.list_work_in_progress()
    result = StageResult(state=ResultState.SUCCEEDED, reason="Succeeded", message="7 deleted")
    cluster.report(job, result)
    gone = depart(cluster, body)

    assert beginning.told is not None
    assert beginning.told.reason == reasons.DELETING
    assert waiting.actions == ()
    assert not waiting.finished
    assert set(document["config"]["outputs"]) >= {
        output for output in list_outputs(body) if output.startswith(("data/", "preflight/"))
    }
    assert document["config"]["since"] == body["metadata"]["creationTimestamp"]
    assert gone.finished
    assert gone.told is not None
    assert (gone.told.reason, gone.told.note) == (reasons.ARTEFACTS_DELETED, "7 deleted")


def test_what_another_run_uses_stays() -> None:
    """A run that is there, whether it has begun or not, keeps what both refer to."""
    cluster = make_cluster()
    body = make_deleted(cluster)
    depart(cluster, body)
    new = {**make_other(cluster, parallelism=9), "status": None}
    kept = depart(cluster, body, (new,))

    # The score is no part of it: what it is made from is not known before.
    assert all(
        output.startswith(("score/", "serve/"))
        for output in find_cleanup(cluster)["config"]["outputs"]
    )
    assert not kept.finished


def test_two_runs_that_go_together_leave_nothing() -> None:
    """A run that is deleted with its artefacts keeps nobody else's."""
    cluster = make_cluster()
    body = make_deleted(cluster)
    depart(cluster, body)
    other = make_other(cluster)
    other["metadata"]["deletionTimestamp"] = START.isoformat()
    depart(cluster, body, (other,))

    assert {each.partition("/")[0] for each in find_cleanup(cluster)["config"]["outputs"]} >= {
        "data",
        "preflight",
    }


def test_a_new_run_waits_for_artefacts_that_go() -> None:
    """It must not find a result a moment before that is deleted; another run does not wait."""
    cluster = make_cluster()
    departing = make_deleted(cluster)
    same = {**make_other(cluster), "status": None}
    different = {**make_other(cluster, seed=7), "status": None}
    keeping = copy.deepcopy(departing)
    keeping["spec"]["cleanup"] = "Keep"

    assert find_departing(same, [departing]) == "test"
    assert find_departing(different, [departing]) is None
    assert find_departing(same, [keeping]) is None


def test_nothing_holds_a_run_for_ever() -> None:
    """Work that does not stop, or a claim that is gone: after five minutes the run goes."""
    cluster = make_cluster()
    body = make_deleted(cluster)
    stuck = depart(cluster, body, minutes=5)
    cluster.objects = {
        key: each for key, each in cluster.objects.items() if key[0] not in {"Job", "RayJob"}
    }
    depart(cluster, body)
    (job,) = cluster.list_work()
    pod = {
        "kind": "Pod",
        "metadata": {
            "name": "cleanup-pod",
            "labels": job["metadata"]["labels"],
        },
        "status": {
            "conditions": [
                {
                    "type": "PodScheduled",
                    "status": "False",
                    "message": 'persistentvolumeclaim "bench" not found',
                }
            ]
        },
    }
    cluster.objects["Pod", "cleanup-pod"] = pod
    late = depart(cluster, body, minutes=5)

    assert stuck.finished
    assert stuck.told is not None
    assert stuck.told.reason == reasons.WORK_LEFT
    assert late.finished
    assert late.told is not None
    assert late.told.reason == reasons.ARTEFACTS_LEFT
    assert STORAGE in late.told.note
    assert 'persistentvolumeclaim "bench" not found' in late.told.note
    assert [type(action) for action in late.actions] == [Delete]


def test_foreground_deletion_leaves_artefacts() -> None:
    """Kubernetes would delete the Job that deletes them; an Event says that they are left."""
    cluster = make_cluster()
    body = make_deleted(cluster, "foregroundDeletion")
    depart(cluster, body)
    gone = depart(cluster, body)

    assert gone.finished
    assert gone.told is not None
    assert gone.told.reason == reasons.ARTEFACTS_LEFT
    assert not [action for action in gone.actions if isinstance(action, Apply)]


def test_an_invalid_run_goes_at_once() -> None:
    """What an older version wrote and nobody understands has no artefacts."""
    body = make_body()
    body["metadata"] |= {"deletionTimestamp": START.isoformat(), "finalizers": [names.FINALIZER]}
    body["spec"] = {"cleanup": "Delete", "unknown": True}
    cluster = make_cluster()
    cluster.objects = {}

    assert depart(cluster, body).finished


def test_a_run_of_a_newer_version_goes_and_says_what_it_leaves() -> None:
    """An operator that cannot read a run lets it go, and does not keep silent on its artefacts."""
    cluster = make_cluster()
    body = make_deleted(cluster)
    body["spec"]["newField"] = "Delete"
    while (departure := depart(cluster, body)).actions:
        pass

    assert departure.finished
    assert departure.told
    assert departure.told.reason == reasons.ARTEFACTS_LEFT
