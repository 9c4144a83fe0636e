"""The winner stays served, where a run asks for it."""

from __future__ import annotations

from typing import Any

import pytest
from make_run import make_run
from memory_cluster import MemoryCluster, make_cluster_run
from plan_world import World, models, reason_of

from tunebench_api.contract import ResultState, ServeConfig, ServedVariant, StageKind
from tunebench_api.v1alpha1 import BenchmarkRun, Condition
from tunebench_operator import names, reasons
from tunebench_operator.plan import Plan

KEEP: dict[str, Any] = {"serving": {"keep": "Winner"}}
ENDPOINT = "http://127.0.0.1:1/v1"


def win(world: World, best: str) -> Plan:
    """Let everything succeed until nothing is left but to serve, with a winner."""
    for _ in range(200):
        result = world.step()
        if result.finished:
            return result
        world.answer()
        for name in world.workers():
            scored = world.children[name].kind is StageKind.SCORE
            world.end(name, summary={"best": best} if scored else None)
    msg = "the run must end"
    raise AssertionError(msg)


def change(run: BenchmarkRun, **spec: Any) -> BenchmarkRun:
    """Return a run with some of its spec replaced."""
    wire = run.to_wire()
    return BenchmarkRun.from_wire({**wire, "spec": {**wire["spec"], **spec}})


def find_served(result: Plan) -> Condition:
    """Return the condition about the server that stays."""
    return next(each for each in result.status.conditions if each.type == names.WINNER_SERVED)


def test_the_winner_is_served_once_the_run_is_over() -> None:
    """One server stays, with the best checkpoint alone, and the status has its address."""
    world = World(make_run(models=models("one", "two"), **KEEP))
    before = find_served(world.step())

    result = win(world, "two")
    starting = find_served(result)
    (kept,) = result.desired
    world.answer()
    served = world.step()

    assert (before.status, before.reason) == ("Unknown", reasons.WAITING)
    assert kept.key == names.KEPT_KEY
    assert isinstance(kept.config, ServeConfig)
    assert kept.config.base.base == "acme/two"
    train = next(each.output for each in world.started if each.key == "train/two")
    assert kept.config.variants == (ServedVariant(name="two", checkpoint=train),)
    assert starting.status == "Unknown"
    assert result.status.serving
    assert result.status.serving.endpoint is None
    assert served.status.serving
    assert served.status.serving.to_wire() == {"variant": "two", "endpoint": ENDPOINT}
    assert find_served(served).status == "True"
    assert served.finished
    assert reason_of(served) == reasons.SUCCEEDED
    assert [child.key for child in world.started].count(names.KEPT_KEY) == 1


def test_an_untuned_winner_is_a_base_without_adapters() -> None:
    """If fine-tuning bought nothing, the base model is what stays."""
    world = World(make_run(**KEEP))

    (kept,) = win(world, "one-untuned").desired

    assert isinstance(kept.config, ServeConfig)
    assert kept.config.variants == (ServedVariant(name="one-untuned", checkpoint=None),)


@pytest.mark.parametrize(
    ("spec", "shown"),
    [
        pytest.param({"serving": {"keep": "None"}}, False, id="no longer asked for"),
        pytest.param({"suspend": True}, True, id="suspended"),
    ],
)
def test_the_server_goes_when_it_is_not_wanted(spec: dict[str, Any], *, shown: bool) -> None:
    """Its GPUs are free without the run being deleted; nothing is computed anew."""
    world = World(make_run(**KEEP))
    win(world, "one")
    started = len(world.started)
    world.run = change(world.run, **spec)

    world.step()
    result = world.step()

    assert result.desired == ()
    assert len(world.started) == started
    assert (result.status.serving is not None) == shown
    assert reason_of(result) == reasons.SUCCEEDED


def test_a_finished_run_can_ask_for_its_winner() -> None:
    """The field may change when the result is seen, and that alone is started."""
    world = World(make_run())
    win(world, "one")
    started = len(world.started)
    world.run = change(world.run, **KEEP)

    world.step()

    assert [child.key for child in world.started[started:]] == [names.KEPT_KEY]


def test_a_server_that_cannot_start_is_no_failure_of_the_run() -> None:
    """The leaderboard stands; the condition says why nothing is served."""
    world = World(make_run(**KEEP))
    (kept,) = win(world, "one").desired
    world.end(kept.name, state=ResultState.FAILED, reason="ServedModelDiffers", message="differs")

    result = world.step()
    condition = find_served(result)

    assert (condition.status, condition.reason) == ("False", "ServedModelDiffers")
    assert condition.message == "differs"
    assert result.status.serving is None
    assert reason_of(result) == reasons.SUCCEEDED


def test_without_a_leaderboard_there_is_no_winner() -> None:
    """A run of which every model failed serves nothing, and says so."""
    world = World(make_run(judging={"controls": []}, **KEEP))
    for _ in range(20):
        result = world.step()
        for name in world.workers():
            failed = world.children[name].kind is StageKind.DATA
            state = ResultState.FAILED if failed else ResultState.SUCCEEDED
            world.end(name, state=state)

    assert find_served(result).status == "False"
    assert result.desired == ()


def test_others_of_the_namespace_may_ask_the_winner_alone() -> None:
    """One port is open to pods of the namespace; without a winner to keep, none is."""
    openings = []
    for spec in (KEEP, {}):
        cluster = MemoryCluster(make_cluster_run(tools=["Describe"], **spec))
        cluster.step()
        (policy,) = (each for each in cluster.applied if each["kind"] == "NetworkPolicy")
        openings.append(policy["spec"]["ingress"][1:])

    port = {"protocol": "TCP", "port": names.SERVE_PORT}
    assert openings == [[{"from": [{"podSelector": {}}], "ports": [port]}], []]
