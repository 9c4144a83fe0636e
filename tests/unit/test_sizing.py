"""Trainings are sized from what is known, say why, and are refused where nothing fits."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from make_run import make_body, make_run
from make_shapes import LLAMA_3_8B, make_shape
from plan_world import World, finish

from tunebench_api.contract import ResultState, StageKind
from tunebench_api.errors import InvalidRunError
from tunebench_api.sizing.memory import GIB, build_load, estimate_memory
from tunebench_api.sizing.settled import Sizing, settle
from tunebench_api.sizing.shape import estimate_shape
from tunebench_api.v1alpha1 import DeepSpeed, ModelSpec
from tunebench_api.validation import parse_run
from tunebench_operator import reasons
from tunebench_operator.machines import Machines
from tunebench_operator.sizing import size_training
from tunebench_operator.sizing_text import Misfit
from tunebench_operator.trainings import find_contradictions

H100 = Machines(
    name="pool `h100`",
    gpu=True,
    gpu_bytes=80 * GIB,
    host_bytes=256 * GIB,
    gpu_field="`gpuMemory` of the pool in the Helm values",
    host_field="more `worker.memory` of the pool in the Helm values",
)
LAPTOP = Machines(name="this machine", host_bytes=24 * GIB, shared=True)


def make_model(base: str = "acme/coder-8b", **changes: Any) -> ModelSpec:
    """Return a model that leaves its training open."""
    raw = {"name": "one", "base": base, "resources": {"gpus": "Auto"}, **changes}
    raw["tuning"] = {"deepspeed": "Auto", "batchSize": 32, **raw.get("tuning", {})}
    return ModelSpec.from_wire(raw)


def size(
    model: ModelSpec, machines: Machines | None = H100, examples: int | None = None
) -> Sizing | Misfit | None:
    """Size a training of a model whose size is in its name."""
    return size_training(model, estimate_shape(model.base), machines, examples)


def size_well(model: ModelSpec, machines: Machines = H100, examples: int | None = None) -> Sizing:
    """Size a training that fits."""
    sizing = size(model, machines, examples)
    assert isinstance(sizing, Sizing), sizing
    return sizing


def test_a_run_that_leaves_nothing_open_is_not_sized() -> None:
    """What is written is done, and unknown machines decide nothing."""
    closed = ModelSpec.from_wire({"name": "one", "base": "acme/one-7b"})

    assert size(closed) is None
    assert size(make_model(), None) is None


def test_small_models_take_one_gpu_and_large_micro_batches() -> None:
    """GPU hours are what a run costs: no GPU more than needed, and each one busy."""
    sizing = size_well(make_model("acme/tiny-0.5b", tuning={"maxLength": 2048}))

    assert (sizing.workers, sizing.deepspeed, sizing.recompute) == (1, DeepSpeed.NONE, False)
    assert sizing.micro_batch_size >= 4
    assert "1 GPU of pool `h100`, no ZeRO, micro-batch" in sizing.why
    assert "the size in its name" in sizing.why


def test_large_models_are_spread_over_as_few_gpus_as_hold_them() -> None:
    """The reason says what one GPU fewer would need."""
    sizing = size_well(make_model("acme/coder-13b", tuning={"method": "Full", "maxLength": 2048}))
    few = size_well(make_model("acme/coder-13b", tuning={"maxLength": 2048}))

    assert sizing.deepspeed is DeepSpeed.ZERO3
    assert sizing.workers > few.workers
    assert f"; {sizing.workers // 2} would need " in sizing.why
    assert sizing.needed_bytes is not None
    assert sizing.needed_bytes < 80 * GIB


def test_qlora_is_never_spread() -> None:
    """Its 4 bits fit one GPU, and ZeRO has nothing to share out."""
    sizing = size_well(make_model("acme/coder-34b", tuning={"method": "QLoRA"}))

    assert (sizing.workers, sizing.deepspeed) == (1, DeepSpeed.NONE)


@pytest.mark.parametrize(
    ("gpus", "batch", "expected"),
    [("8", 32, 8), ("1", 32, 1), ("3", 32, 3)],
)
def test_explicit_gpus_are_workers(gpus: str, batch: int, expected: int) -> None:
    """A number is taken as it is, and the micro-batch as it is written."""
    model = make_model(resources={"gpus": gpus}, tuning={"batchSize": batch, "maxLength": 4096})
    sizing = size_well(model)

    assert (sizing.workers, sizing.micro_batch_size) == (expected, 1)


def test_a_written_micro_batch_is_not_exceeded() -> None:
    """With Auto it is halved where it does not fit, and never raised."""
    small = make_model("acme/tiny-0.5b", tuning={"microBatchSize": 2, "maxLength": 512})
    large = make_model("acme/coder-8b", tuning={"microBatchSize": 32, "maxLength": 4096})

    assert size_well(small).micro_batch_size == 2
    assert size_well(large).micro_batch_size < 32


def test_activations_are_computed_again_where_they_do_not_fit() -> None:
    """That comes before another GPU, and is said; what is written stands."""
    tuning = {"maxLength": 16_384}
    sizing = size_well(make_model(tuning=tuning))
    kept = size(make_model(tuning={**tuning, "activationCheckpointing": "Disabled"}))

    assert (sizing.workers, sizing.recompute) == (1, True)
    assert "activations computed again" in sizing.why
    assert isinstance(kept, Misfit)


def test_long_trainings_get_more_gpus() -> None:
    """Where one GPU would take longer than a night, more of them share the work."""
    fast = replace(H100, teraflops=989.0)
    few = size_well(make_model(), fast, 1000)
    many = size_well(make_model(), fast, 1_000_000)

    assert (few.workers, many.workers) == (1, 8)
    assert "h for 1,000 examples" in few.why


def test_a_pool_says_how_many_gpus_one_training_may_have() -> None:
    """Neither Auto nor a number goes beyond it."""
    small = replace(H100, most_gpus=2)
    too_many = size(make_model(resources={"gpus": "4"}), small)

    assert isinstance(size(make_model("acme/coder-70b", tuning={"method": "Full"}), small), Misfit)
    assert isinstance(too_many, Misfit)
    assert too_many.certain
    assert too_many.message == "must be at most 2 for one training on pool `h100`, got 4"


def test_what_does_not_fit_is_refused_with_its_remedy() -> None:
    """The message names the field, what takes most, and what to change."""
    full = size(make_model("acme/coder-70b", tuning={"method": "Full", "maxLength": 512}))
    long = size(make_model("acme/coder-8b", tuning={"maxLength": 1_000_000}))
    lora = size(make_model("acme/coder-405b", tuning={"maxLength": 512}))

    assert isinstance(full, Misfit)
    assert isinstance(long, Misfit)
    assert isinstance(lora, Misfit)
    assert full.describe("one").startswith(
        "`spec.models[one].resources.gpus` must fit: even 8 GPUs"
    )
    assert "set `tuning.method: LoRA`" in full.message
    assert "lower `tuning.maxLength`" in long.message
    assert "set `tuning.method: QLoRA`" in lora.message
    assert not full.certain


def test_weights_must_fit_the_cpus_that_load_them() -> None:
    """A worker with a large GPU and little other memory would be killed while it loads."""
    found = size(
        make_model("acme/coder-34b", tuning={"maxLength": 1024}), replace(H100, host_bytes=64 * GIB)
    )

    assert isinstance(found, Misfit)
    assert found.field == "resources.pool"
    assert "`worker.memory` of the pool in the Helm values" in found.message


def test_a_state_must_fit_the_cpus_that_copy_it() -> None:
    """Else a training would be killed at its first resume point, time after time."""
    model = make_model("acme/coder-3b", tuning={"method": "Full", "maxLength": 512})
    found = size(model, replace(H100, host_bytes=32 * GIB))

    assert isinstance(size(model), Sizing)
    assert isinstance(found, Misfit)
    assert found.field == "resources.pool"
    assert "to copy the training's state for its resume points" in found.message


def test_copies_count_where_cpus_train() -> None:
    """A whole model's optimizer is there twice while a resume point is written."""
    model = make_model("acme/tiny-1b", tuning={"method": "Full", "maxLength": 512})

    assert isinstance(size(model, LAPTOP), Misfit)
    assert "copied for resume points" in size_well(model, replace(LAPTOP, host_bytes=64 * GIB)).why


def test_auto_without_a_gpu_is_one_worker_on_cpus() -> None:
    """It says so; a number of GPUs cannot be had there."""
    sizing = size_well(make_model("acme/tiny-0.5b", tuning={"maxLength": 1024}), LAPTOP)
    number = size(make_model(resources={"gpus": "8"}), LAPTOP)

    assert (sizing.workers, sizing.deepspeed, sizing.micro_batch_size) == (1, DeepSpeed.NONE, 1)
    assert sizing.why.startswith("1 worker on CPUs of this machine, no ZeRO")
    assert isinstance(number, Misfit)
    assert number.certain
    assert number.message.startswith("must be Auto or absent for this machine, which has no GPU")


def test_each_gpu_needs_an_example_of_a_step() -> None:
    """More GPUs than examples in a batch would idle; Auto never takes so many."""
    number = size(make_model(resources={"gpus": "8"}, tuning={"batchSize": 4}))
    auto = size(make_model("acme/coder-34b", tuning={"method": "Full", "batchSize": 4}))

    assert isinstance(number, Misfit)
    assert number.field == "tuning.batchSize"
    assert isinstance(auto, Misfit)
    assert "even 4 GPUs" in auto.message


def test_nothing_is_sized_by_guesses_alone() -> None:
    """Without the GPUs' memory, or the model's size, Auto is refused; a number is taken."""
    blind = replace(H100, gpu_bytes=None)
    auto, nameless = size(make_model(), blind), size(make_model("acme/some"))
    number = size_well(make_model("acme/some", resources={"gpus": "4"}, tuning={"method": "Full"}))

    assert isinstance(auto, Misfit)
    assert auto.certain
    assert "give `gpuMemory` of the pool in the Helm values" in auto.message
    assert isinstance(nameless, Misfit)
    assert not nameless.certain
    assert "give `sizeBillions`" in nameless.message
    assert (number.workers, number.deepspeed) == (4, DeepSpeed.ZERO2)
    assert "not checked" in number.why


OPEN_MODELS = st.builds(
    lambda name, gpus, tuning: make_model(
        f"acme/coder-{name}", tuning=tuning, resources={"gpus": gpus}
    ),
    st.sampled_from(["0.5b", "1b", "7b", "13b", "34b", "70b"]),
    st.sampled_from(["Auto", "1", "2", "8"]),
    st.fixed_dictionaries(
        {
            "method": st.sampled_from(["LoRA", "QLoRA", "Full"]),
            "maxLength": st.integers(16, 32_768),
            "batchSize": st.integers(1, 64),
        }
    ),
)


@given(OPEN_MODELS, st.integers(8, 200))
def test_what_is_chosen_fits(model: ModelSpec, gibs: int) -> None:
    """Whatever is asked: what is chosen needs no more than there is, and keeps the batch."""
    machines = replace(H100, gpu_bytes=gibs * GIB)
    sizing = size(model, machines)
    if not isinstance(sizing, Sizing):
        assert isinstance(sizing, Misfit)
        return
    tuning = settle(model.tuning, sizing)
    shape = estimate_shape(model.base)
    assert shape is not None

    need = estimate_memory(shape, tuning, build_load(tuning, half=True))
    assert need.total < gibs * GIB
    assert tuning.workers <= tuning.batch_size == model.tuning.batch_size
    assert tuning.deepspeed is not DeepSpeed.AUTO


def make_open_run(**model: Any) -> Any:
    """Return a run with one model that leaves its training open."""
    raw = {"name": "one", "base": "acme/coder-34b", "resources": {"pool": "h100", "gpus": "Auto"}}
    tuning = {"deepspeed": "Auto", "batchSize": 32}
    return make_run(models=[{**raw, "tuning": tuning, **model}])


def find_train(world: World) -> Any:
    """Return the newest child that trains."""
    return [child for child in world.started if child.kind is StageKind.TRAIN][-1]


def run_until_trained(world: World, shape: Any = None) -> None:
    """Let stages succeed until a training has started."""
    for _ in range(20):
        world.step()
        if any(child.kind is StageKind.TRAIN for child in world.children.values()):
            return
        for name in world.workers():
            shapes = {"acme/coder-34b": shape} if shape else {}
            world.end(name, summary={"shapes": shapes})
    msg = "a training must start"
    raise AssertionError(msg)


def test_the_planner_sizes_by_what_the_preflight_has_read() -> None:
    """An estimate is shown first; the config of the model decides."""
    world = World(make_open_run(), machines={"h100": H100})
    world.step()
    assert world.status is not None
    shown = world.status.models[0].sizing
    run_until_trained(world, make_shape(LLAMA_3_8B).to_wire())

    assert "the size in its name" in shown
    assert find_train(world).sizing.workers == 1
    assert "its config" in find_train(world).sizing.why


def test_how_a_training_is_sized_names_no_other_result() -> None:
    """The digest is that of what was asked: other GPUs make no other result."""
    digests = set()
    for machines in (H100, replace(H100, gpu_bytes=160 * GIB)):
        world = World(make_open_run(), machines={"h100": machines})
        run_until_trained(world)
        digests.add((find_train(world).digest, find_train(world).sizing.workers))

    assert len({digest for digest, _ in digests}) == 1
    assert len(digests) == 2


def test_a_training_that_does_not_fit_fails_its_model_alone() -> None:
    """It never starts, it is said what to change, and the other models end well."""
    large = {
        "name": "huge",
        "base": "acme/coder-405b",
        "resources": {"pool": "h100", "gpus": "Auto"},
    }
    world = World(
        make_run(models=[large, {"name": "small", "base": "acme/small"}]),
        machines={"h100": H100},
    )
    result = finish(world)
    stages = {stage.name: stage for stage in result.status.stages}

    assert stages["train/huge"].state == "Failed"
    assert stages["train/huge"].reason == reasons.DOES_NOT_FIT
    assert stages["train/huge"].message.startswith("`spec.models[huge].resources.gpus` must fit")
    assert stages["train/small"].state == "Succeeded"
    assert not stages["train/huge"].retryable


def test_memory_that_ran_out_halves_the_micro_batch_once() -> None:
    """The next attempt takes half as many rows; the one after it no fewer."""
    model = {"name": "one", "base": "acme/one", "tuning": {"microBatchSize": 4}}
    world = World(make_run(models=[model], retries=3))
    sizes = []
    for _ in range(3):
        run_until_trained(world)
        (name,) = (each for each in world.children if each.startswith("train"))
        sizes.append(world.children[name].sizing)
        world.end(name, state=ResultState.FAILED, reason=reasons.OUT_OF_MEMORY, retryable=True)
        result = world.step()
        world.now = result.wake_at or world.now

    assert sizes[0] is None
    assert [(each.micro_batch_size, each.shrunk_from) for each in sizes[1:]] == [(2, 4), (2, 4)]
    assert {each.digest for each in world.started if each.kind is StageKind.TRAIN} == {
        find_train(world).digest
    }


def test_contradictions_are_found_before_anything_runs() -> None:
    """What no preflight can change is told with its place in the run."""
    run = make_open_run(resources={"pool": "h100", "gpus": "16"}, tuning={"batchSize": 8})
    problems = find_contradictions(run, {"h100": H100})

    assert [str(problem) for problem in problems] == [
        (
            "`spec.models[0].tuning.batchSize` must be at least `resources.gpus` (16), got 8: each "
            "GPU takes an example of every step"
        )
    ]


def test_gpus_are_workers() -> None:
    """Both numbers at once would contradict each other."""
    model = {"name": "one", "base": "acme/one", "resources": {"gpus": "Auto"}}
    body = make_body(models=[{**model, "tuning": {"workers": 2}}])

    assert parse_run(make_body(models=[model])).spec.models[0].resources.gpus == "Auto"
    with pytest.raises(InvalidRunError) as caught:
        parse_run(body)
    assert str(caught.value) == (
        "`spec.models[0].tuning.workers` must be absent with `resources.gpus`, got 2: each GPU is "
        "a worker"
    )
