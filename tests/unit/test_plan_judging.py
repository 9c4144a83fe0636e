"""Judges are asked by one variant at a time, and what they cost is known to the next one."""

from __future__ import annotations

from datetime import timedelta

import pytest
from make_run import make_run
from plan_world import World, finish, models, reason_of

from tunebench_api.contract import Progress, ResultState, StageKind
from tunebench_operator import reasons
from tunebench_operator.observed import Attempt

GPT = {"name": "gpt", "model": "openai/gpt-4o"}


def finish_others(world: World, kind: StageKind) -> list[str]:
    """Let everything end but stages of one kind, until those are all that runs; return them."""
    for _ in range(30):
        world.step()
        world.answer()
        others = [name for name in world.workers() if world.children[name].kind is not kind]
        for name in others:
            world.end(name)
    return [name for name, child in world.children.items() if child.kind is kind]


def test_one_variant_at_a_time_asks_the_judges() -> None:
    """Limits and budget hold across machines; who is ready first goes first, then as in the run."""
    world = World(make_run(models=models("a", "b"), judges=[GPT]))
    order = []
    while running := finish_others(world, StageKind.JUDGE):
        order += [world.children[name].key for name in running]
        held = {each.name: each for each in world.step().status.stages}
        world.end(running[0])

    assert order == [
        "judge/null control", "judge/a-untuned", "judge/a", "judge/b-untuned", "judge/b"
    ]  # fmt: skip
    assert held["judge/b"].state == "Running"
    assert finish(world).finished


def test_a_variant_that_waits_for_the_judges_says_so() -> None:
    """The status names whom it waits for; one that failed holds up nobody while it waits."""
    world = World(make_run(judges=[GPT], judging={"controls": []}, retries=1))
    (first,) = finish_others(world, StageKind.JUDGE)
    stages = {each.name: each for each in world.step().status.stages}
    world.end(first, state=ResultState.FAILED, reason="Unavailable", retryable=True)
    (second,) = finish_others(world, StageKind.JUDGE)

    assert stages["judge/one"].reason == reasons.WAITING_FOR_JUDGES
    assert "waits for judge/one-untuned" in stages["judge/one"].message
    assert world.children[second].key == "judge/one"
    assert finish(world).finished


def test_the_reference_judge_makes_nobody_wait() -> None:
    """It has neither limits nor a price."""
    world = World(make_run(models=models("a", "b")))

    assert len(finish_others(world, StageKind.JUDGE)) == 5


def test_batches_are_waited_for_together() -> None:
    """A day for each variant would be a week; only a budget needs one after the other."""
    batched = GPT | {"batch": "Enabled"}
    both = [batched, GPT | {"name": "other"}]
    worlds = [
        World(make_run(models=models("a", "b"), **spec))
        for spec in (
            {"judges": [batched]},
            {"judges": both},
            {"judges": [batched], "judging": {"budgetUSD": "5"}},
        )
    ]

    assert [len(finish_others(world, StageKind.JUDGE)) for world in worlds] == [5, 1, 1]


def test_what_was_spent_before_reaches_the_next_variant() -> None:
    """Also by attempts that failed, and before the budget was raised; never by the own one."""
    judging = {"budgetUSD": "5", "controls": []}
    world = World(make_run(judges=[GPT], judging=judging, retries=1))
    (name,) = finish_others(world, StageKind.JUDGE)
    spent = Progress(cost_usd="1.2500")
    world.end(name, state=ResultState.FAILED, reason="Crashed", retryable=True, progress=spent)
    (name,) = finish_others(world, StageKind.JUDGE)
    child = world.children[name]
    world.attempts[child.key, child.digest][-1] = Attempt(child.attempt, spent)
    live = world.step().status.summary.cost_usd
    world.end(name, progress=spent)
    finish(world)
    world.run = make_run(judges=[GPT], judging={**judging, "budgetUSD": "9"}, retries=1)
    finish(world)
    told = [(each.key, each.spent_usd) for each in world.started if each.kind is StageKind.JUDGE]

    assert live == "2.50"
    assert told == [
        ("judge/one-untuned", "0"),
        ("judge/one", "1.2500"),
        ("judge/one-untuned", "2.5000"),
        ("judge/one-untuned", "2.5000"),
        ("judge/one", "2.5000"),
    ]
    assert {each.spent_usd for each in world.started if each.kind is not StageKind.JUDGE} == {None}


def test_who_was_away_is_known_to_the_next_variant() -> None:
    """Until a later variant has had its answer; never across runs, and only where it matters."""
    judges = [GPT, GPT | {"name": "other"}]
    world = World(make_run(models=models("a", "b"), judges=judges, judging={"controls": []}))
    away, back = {"absence": "judge `gpt`: status 500", "asked": 3}, {"absence": None, "asked": 9}
    for mine in (away, {"absence": None, "asked": 0}, back, back):
        (name,) = finish_others(world, StageKind.JUDGE)
        world.now += timedelta(minutes=1)
        world.end(name, summary={"judges": [{"name": "gpt", **mine}, {"name": "other", **back}]})
    told = [each.absent_judges for each in world.started if each.kind is StageKind.JUDGE]

    # The one in the middle had nothing to ask, and says nothing.
    assert told == [(), ("gpt",), ("gpt",), ()]
    assert {each.absent_judges for each in world.started if each.kind is not StageKind.JUDGE} == {
        ()
    }


def test_whom_the_preflight_missed_is_known_to_the_first_variant() -> None:
    """It has been asked then, and may be back by now."""
    world = World(make_run(judges=[GPT], judging={"controls": []}))
    world.step()
    (preflight,) = (name for name in world.workers() if "preflight" in name)
    world.end(preflight, summary={"absent_judges": ["gpt"]})
    for mine in ({"absence": None, "asked": 3}, {}):
        (name,) = finish_others(world, StageKind.JUDGE)
        world.end(name, summary={"judges": [{"name": "gpt", **mine}]})
    told = [each.absent_judges for each in world.started if each.kind is StageKind.JUDGE]

    assert told == [("gpt",), ()]


@pytest.mark.parametrize("cause", [reasons.BUDGET_SPENT, reasons.JUDGE_UNAVAILABLE])
def test_verdicts_that_were_not_asked_for_show_in_the_status(cause: str) -> None:
    """The run has its leaderboard; its conditions say what is missing and what to do."""
    world = World(make_run(judges=[GPT]))
    for _ in range(60):
        result = world.step()
        world.answer()
        for name in world.workers():
            is_short = world.children[name].key == "judge/one"
            summary = {"unasked": {cause: 7}} if is_short else {"unasked": {}}
            world.end(name, summary=summary, message="raise it" if is_short else "")
        if result.finished:
            break
    judged = next(each for each in result.status.conditions if each.type == "Judged")

    assert result.finished
    assert reason_of(result) == reasons.PARTIALLY_SUCCEEDED
    assert (judged.status, judged.reason) == ("False", cause)
    assert judged.message == "3 of 3 done; 7 verdicts are missing; judge/one: raise it"
