"""Settings of a training that contradict each other are refused in the words of their author."""

from __future__ import annotations

from typing import Any

import pytest
from make_run import make_body

from tunebench_api.errors import InvalidRunError
from tunebench_api.validation import parse_run


def make_tuned(tuning: dict[str, str]) -> dict[str, Any]:
    """Return a valid run whose only model is tuned as given."""
    return make_body(models=[{"name": "one", "base": "acme/one", "tuning": tuning}])


def find_problems(raw: object) -> list[str]:
    """Return the problems of a run as a user sees them."""
    with pytest.raises(InvalidRunError) as caught:
        parse_run(raw)
    return [str(problem) for problem in caught.value.problems]


@pytest.mark.parametrize(
    ("tuning", "needed"),
    [
        pytest.param({"offload": "Optimizer"}, "ZeRO1 or ZeRO2 or ZeRO3", id="plain"),
        pytest.param(
            {"offload": "Optimizer", "deepspeed": "Auto"}, "ZeRO1 or ZeRO2 or ZeRO3", id="auto"
        ),
        pytest.param(
            {"offload": "OptimizerAndParameters", "deepspeed": "ZeRO2"}, "ZeRO3", id="parameters"
        ),
    ],
)
def test_offload_needs_a_stage_that_spreads_it(tuning: dict[str, str], needed: str) -> None:
    """What nothing partitions cannot lie elsewhere."""
    run = make_tuned(tuning)
    wanted = f"must set `deepspeed` to {needed} with `offload: {tuning['offload']}`"

    assert any(wanted in problem for problem in find_problems(run))


@pytest.mark.parametrize("stage", ["ZeRO1", "ZeRO2", "ZeRO3"])
def test_offload_of_the_optimizer_is_for_every_stage(stage: str) -> None:
    """Each stage partitions the optimizer's state."""
    tuning = {"offload": "Optimizer", "deepspeed": stage}

    run = parse_run(make_tuned(tuning))

    assert run.spec.models[0].tuning.deepspeed == stage


def test_adapters_in_four_bits_are_not_shared_out() -> None:
    """QLoRA with a ZeRO stage is refused, with the reason."""
    tuning = {"method": "QLoRA", "deepspeed": "ZeRO3"}

    (problem,) = find_problems(make_tuned(tuning))

    assert problem.startswith(
        "`spec.models[0].tuning.deepspeed` must be None or Auto with `tuning.method: QLoRA`, got "
        "ZeRO3"
    )
    assert parse_run(make_tuned({"method": "QLoRA"}))
