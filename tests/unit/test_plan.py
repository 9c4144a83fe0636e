"""The planner, carried out by a simulated cluster."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from make_run import make_run
from plan_world import World, finish, models, reason_of

from tunebench_api.contract import NODE_LOST, Progress, ResultState, ScoreConfig, StageKind
from tunebench_operator import reasons
from tunebench_operator.graph import build_graph
from tunebench_operator.observed import Attempt
from tunebench_operator.plan import Plan


def test_a_run_starts_every_stage_once_in_the_order_of_the_flow() -> None:
    """Nothing is started before what it needs has succeeded."""
    world = World(make_run())

    result = finish(world)

    assert reason_of(result) == reasons.SUCCEEDED
    assert [child.key for child in world.started if "control" not in child.key] == [
        "preflight", "data", "baseline", "train/one", "serve/one",
        "generate/one-untuned", "generate/one", "judge/one-untuned", "judge/one", "score",
    ]  # fmt: skip


TEACHER = {"model": "openai/gpt-4o", "family": "acme", "budgetUSD": "5"}


def test_nobody_is_paid_before_the_preflight() -> None:
    """Where a teacher writes answers, the data waits until no fault was found."""
    dataset = {"answers": "Teacher", "teacher": TEACHER}
    sources = {"train": {"uri": "/data/train.jsonl"}, "eval": {"uri": "/data/eval.jsonl"}}
    world = World(make_run(dataset={**sources, **dataset}))
    world.step()
    first = [child.key for child in world.started]
    for name in world.workers():
        world.end(name)
    world.step()

    assert first == ["preflight"]
    assert "data" in [child.key for child in world.started]


def test_families_of_all_who_wrote_answers_reach_the_score() -> None:
    """Judges of the teacher's family are flagged, and of the rows' own."""
    dataset = {"answers": "Teacher", "teacher": TEACHER, "teacherFamily": "other"}
    sources = {"train": {"uri": "/data/train.jsonl"}, "eval": {"uri": "/data/eval.jsonl"}}
    world = World(make_run(dataset={**sources, **dataset}))
    finish(world)
    (score,) = (child.config for child in world.started if child.key == "score")

    assert isinstance(score, ScoreConfig)
    assert score.teacher_families == ("other", "acme")


def test_models_of_one_base_share_a_server() -> None:
    """Adapters stand beside their base; a full checkpoint has a server of its own."""
    run = make_run(models=[
        {"name": "a", "base": "acme/x"},
        {"name": "b", "base": "acme/x"},
        {"name": "c", "base": "acme/x", "tuning": {"method": "Full"}},
    ])  # fmt: skip
    world = World(run)

    finish(world)

    served = {
        child.key: [each.name for each in child.config.variants]
        for child in world.started
        if child.config.stage == "serve"
    }
    assert served == {"serve/x": ["x-untuned", "a", "b"], "serve/c": ["c"]}


def test_parallelism_bounds_trainings() -> None:
    """At most `spec.parallelism` models train at once, in the order of the spec."""
    world = World(make_run(models=models("a", "b", "c"), parallelism=2))
    while not any(child.kind is StageKind.TRAIN for child in world.children.values()):
        world.step()
        for name in world.workers():
            if world.children[name].kind is not StageKind.TRAIN:
                world.end(name)

    first = [child.key for child in world.children.values() if child.kind is StageKind.TRAIN]

    assert first == ["train/a", "train/b"]


def test_a_failed_model_does_not_fail_the_run() -> None:
    """The other models finish, and the status says PartiallySucceeded with the cause."""
    world = World(make_run(models=models("good", "bad")))
    for _ in range(60):
        result = world.step()
        world.answer()
        for name in world.workers():
            if world.children[name].key == "train/bad":
                world.end(name, state=ResultState.FAILED, reason="LossNotFinite")
            else:
                world.end(name)
        if result.finished:
            break

    assert result.finished
    assert reason_of(result) == reasons.PARTIALLY_SUCCEEDED
    score = next(child.config for child in world.started if child.kind is StageKind.SCORE)
    assert isinstance(score, ScoreConfig)
    assert [failed.name for failed in score.failed] == ["bad"]
    assert [variant.name for variant in score.variants] == [
        "good-untuned", "good", "bad-untuned", "null control"
    ]  # fmt: skip


def test_every_failure_is_named_in_the_summary() -> None:
    """With many models failed, the condition names each stage, however long its message."""
    count = 12
    world = World(
        make_run(models=models(*(f"m{number}" for number in range(count)), base="acme/one"))
    )
    message = "out of luck " * 50
    for _ in range(200):
        result = world.step()
        if result.finished:
            break
        world.answer()
        for name in world.workers():
            if world.children[name].kind is StageKind.TRAIN:
                world.end(name, state=ResultState.FAILED, reason="Boom", message=message)
            else:
                world.end(name)
    said = next(each for each in result.status.conditions if each.type == "Succeeded").message

    assert reason_of(result) == reasons.PARTIALLY_SUCCEEDED
    assert all(f"train/m{number}: out of luck" in said for number in range(count))
    assert len(said) <= 1024


def test_a_retryable_failure_is_tried_again_after_a_delay() -> None:
    """The delay is named by `wake_at`, and nothing starts before it."""
    world = World(make_run(retries=1))
    world.step()
    (preflight,) = [name for name in world.children if name.startswith("preflight")]
    world.end(preflight, state=ResultState.FAILED, reason="Unavailable", retryable=True)

    waiting = world.step()
    early = [child.key for child in world.children.values()]
    assert waiting.wake_at is not None
    world.now = waiting.wake_at
    world.step()

    assert "preflight" not in early
    assert [child.attempt for child in world.started if child.key == "preflight"] == [1, 2]


def test_what_a_training_reached_stays_shown_while_it_is_tried_again() -> None:
    """Between two attempts the step in the status goes neither to nothing nor to 0."""
    world = World(make_run(models=models("one"), retries=1))
    while not any(name.startswith("train") for name in world.children):
        world.step()
        for name in [name for name in world.children if not name.startswith("train")]:
            world.end(name)
    (name,) = [name for name in world.children if name.startswith("train")]
    child = world.children[name]
    reached = Progress(percent=40, step=12, loss="0.5", checkpoint="step-10")
    world.attempts[child.key, child.digest][-1] = Attempt(1, reached)
    world.step()
    world.end(name, state=ResultState.FAILED, reason="WorkerDied", retryable=True)

    waiting = world.step().status.models[0]
    world.now += timedelta(minutes=10)
    again = world.step().status.models[0]

    assert (waiting.step, waiting.percent, waiting.checkpoint) == (12, 40, "step-10")
    assert (again.step, again.percent, again.attempt) == (12, 40, 2)


def test_retries_end() -> None:
    """After `spec.retries` retries the failure is final and names the stage."""
    world = World(make_run(retries=1))
    for _ in range(20):
        result = world.step()
        for name in world.workers():
            world.end(name, state=ResultState.FAILED, reason="Unavailable", retryable=True)
        world.now += timedelta(minutes=10)
        if result.finished:
            break

    assert result.finished
    assert reason_of(result) == "Unavailable"
    assert max(child.attempt for child in world.started) == 2


def _train_until_final(world: World, reasons_in_turn: Iterable[str]) -> Plan:
    """Let every training end with the next reason, and all else succeed."""
    turns = itertools.cycle(reasons_in_turn)
    for _ in range(200):
        result = world.step()
        world.now += timedelta(minutes=10)
        if result.finished:
            return result
        world.answer()
        for name in world.workers():
            if name.startswith("train"):
                world.end(name, state=ResultState.FAILED, reason=next(turns), retryable=True)
            else:
                world.end(name)
    msg = "the run must end"
    raise AssertionError(msg)


@pytest.mark.parametrize("lost", [reasons.PREEMPTED, NODE_LOST])
def test_a_lost_node_is_no_failure(lost: str) -> None:
    """Preemptions have a budget of their own, and say which field to raise once it is spent."""
    world = World(make_run(models=models("one"), retries=0, preemptions=4))
    result = _train_until_final(world, [lost])
    (model,) = result.status.models

    assert [child.attempt for child in world.started if child.key == "train/one"] == [1, 2, 3, 4, 5]
    assert model.reason == lost
    assert "`spec.preemptions`" in model.message


def test_failures_and_preemptions_are_counted_apart() -> None:
    """Whichever budget is spent first ends the stage."""
    world = World(make_run(models=models("one"), retries=1, preemptions=4))
    result = _train_until_final(world, [reasons.PREEMPTED, "WorkerDied"])
    (model,) = result.status.models

    assert len([child for child in world.started if child.key == "train/one"]) == 4
    assert model.reason == "WorkerDied"
    assert "preemptions" not in model.message


def test_suspend_stops_everything_and_keeps_what_is_done() -> None:
    """A suspended run desires nothing; resumed, it repeats nothing that finished."""
    world = World(make_run())
    world.step()
    for name in world.workers():
        world.end(name)
    world.step()
    running = world.run
    world.run = make_run(suspend=True)

    suspended = world.step()
    reason = reason_of(suspended)
    world.run = running
    finish(world)

    assert suspended.desired == ()
    assert reason == reasons.SUSPENDED
    assert [child.key for child in world.started].count("data") == 1


def test_a_finished_run_starts_nothing_again() -> None:
    """A second start of a finished run does no work, the preflight included."""
    world = World(make_run())
    finish(world)
    again = World(make_run(), stored=dict(world.stored))

    result = finish(again)

    assert again.started == []
    assert reason_of(result) == reasons.SUCCEEDED


def test_a_model_added_to_a_finished_run_costs_only_its_own_work() -> None:
    """What the other models left in the store is used."""
    world = World(make_run(models=models("a")))
    finish(world)
    more = World(make_run(models=models("a", "b")), stored=dict(world.stored))

    finish(more)

    assert {child.key for child in more.started} == {
        "preflight", "train/b", "serve/b", "generate/b", "generate/b-untuned",
        "judge/b", "judge/b-untuned", "score",
    }  # fmt: skip


def test_planning_twice_changes_nothing() -> None:
    """The same observation gives the same status, times included, at a later moment."""
    world = World(make_run())
    first = world.step()
    second = world.step()
    world.now += timedelta(hours=1)
    third = world.step()

    assert second.status.start_time == third.status.start_time == first.status.start_time
    assert second.status == third.status


EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["succeed", "fail", "give up", "interrupt", "wait", "answer"]),
        st.integers(0, 5),
    ),
    max_size=60,
)


@settings(max_examples=150, deadline=None)
@given(
    events=EVENTS,
    count=st.integers(1, 3),
    parallelism=st.integers(1, 3),
    full=st.booleans(),
    shared=st.booleans(),
)
def test_any_order_of_events_ends(
    *,
    events: list[tuple[str, int]],
    count: int,
    parallelism: int,
    full: bool,
    shared: bool,
) -> None:
    """Whatever happens, the run ends, no stage runs twice at once and none is repeated."""
    tuned = {"tuning": {"method": "Full"}} if full else {}
    specs = [
        {"name": f"m{i}", "base": "acme/x" if shared else f"acme/x{i}", **tuned}
        for i in range(count)
    ]
    world = World(make_run(models=specs, parallelism=parallelism))
    for event, number in events:
        world.step()
        training = [c for c in world.children.values() if c.kind is StageKind.TRAIN]
        assert len(training) <= parallelism
        names = sorted(world.children)
        if event == "answer":
            world.answer()
        elif event == "interrupt":
            world.interrupt()
        elif event == "wait":
            world.now += timedelta(seconds=3)
        elif names:
            _end_one(world, names[number % len(names)], event)

    result = finish(world)

    assert result.finished
    assert not world.children


def _end_one(world: World, name: str, event: str) -> None:
    if event == "succeed":
        if world.children[name].kind is not StageKind.SERVE:
            world.end(name)
    else:
        retryable = event == "fail"
        world.end(name, state=ResultState.FAILED, reason="Broken", retryable=retryable)


def test_how_work_is_done_leaves_results_valid() -> None:
    """Another pace, another place of a key: no stage is done again; another seed: all of it is."""
    judge = {"name": "claude", "model": "anthropic/claude-x"}
    paced = {"concurrency": 2, "requestsPerMinute": 5, "secretRef": {"name": "a", "key": "B"}}
    before = build_graph(make_run(judges=[judge]), {})
    after = build_graph(
        make_run(
            judges=[judge | paced],
            generation={"concurrency": 1, "batchSize": 1},
            models=[{"name": "one", "base": "acme/one", "tuning": {"checkpointSteps": 7}}],
        ),
        {},
    )
    reseeded = build_graph(make_run(judges=[judge], seed=1), {})

    assert [node.digest for node in after.nodes] == [node.digest for node in before.nodes]
    assert before.data.digest != reseeded.data.digest
