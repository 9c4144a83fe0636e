"""However training is spread over workers, it computes the same."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from worker_group import finish_workers, start_workers

pytestmark = pytest.mark.jobs

DEADLINE_SECONDS = 400
BATCHES: dict[str, Any] = {
    # 14 examples: the last batch of an epoch is smaller and does not divide.
    "batchSize": 5,
    "microBatchSize": 2,
    "epochs": 2,
    "learningRate": "1e-2",
    "checkpointSteps": 3,
    "precision": "Float32",
}
STEPS = 6
# A row has room for two to four of the examples.
PACKED = {"packing": "BestFit", "maxLength": 100}
# How two workers share the work, by the name of the case.
SPREADS: dict[str, dict[str, Any]] = {
    "None": {"deepspeed": "None"},
    "ZeRO1": {"deepspeed": "ZeRO1"},
    "ZeRO2": {"deepspeed": "ZeRO2"},
    "ZeRO3": {"deepspeed": "ZeRO3"},
    "ZeRO2-offload": {"deepspeed": "ZeRO2", "offload": "Optimizer"},
    "ZeRO3-offload": {"deepspeed": "ZeRO3", "offload": "Optimizer"},
    "ZeRO3-offload-all": {"deepspeed": "ZeRO3", "offload": "OptimizerAndParameters"},
}
KINDS = tuple(SPREADS)
ADAPTED = ("None", "ZeRO2", "ZeRO3", "ZeRO2-offload", "ZeRO3-offload-all")
PACKED_KINDS = ("None", "ZeRO2", "ZeRO3")
INTERRUPTED = ("None", "ZeRO1", "ZeRO2", "ZeRO3", "ZeRO2-offload", "ZeRO3-offload-all")
ALONE = ("ZeRO2", "ZeRO3-offload-all")
# Half of a training here, half there: one worker or two, and ways to spread the state over two.
MOVES = [
    ("None", "alone"),
    ("ZeRO2", "alone"),
    ("ZeRO3", "alone"),
    ("alone", "ZeRO1"),
    ("alone", "ZeRO3-offload-all"),
    ("ZeRO3", "ZeRO2"),
    ("ZeRO2-offload", "None"),
]
# What docs/training.md promises in float32: of the loss of each step, and of the weights.
SAME_LOSS = 1e-5
SAME_WEIGHTS = {"rtol": 0.0, "atol": 1e-4}


def _run_workers(folder: Path, workers: int, cases: list[dict[str, Any]]) -> None:
    finish_workers(start_workers(folder, workers, cases), DEADLINE_SECONDS)


def _build_case(folder: Path, name: str, steps: int, points: str, **tuning: Any) -> dict[str, Any]:
    return {
        "tuning": BATCHES | tuning,
        "folder": str(folder / points),
        "steps": steps,
        "result": str(folder / name),
    }


def _load_result(folder: Path, name: str) -> tuple[list[float], dict[str, torch.Tensor]]:
    with safe_open(folder / name, framework="pt") as file:
        losses: list[float] = json.loads(file.metadata()["losses"])
        return losses, {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - no dict


@pytest.fixture(name="folder", scope="module")
def fixture_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run every kind over two workers, whole and interrupted, and one worker alone."""
    folder = tmp_path_factory.mktemp("engines")
    full = {"method": "Full"}
    _run_workers(
        folder,
        1,
        [
            _build_case(folder, "alone", STEPS, "p-alone", **full),
            _build_case(folder, "alone-LoRA", STEPS, "p-alone-lora", method="LoRA"),
            _build_case(folder, "alone-packed", STEPS, "p-alone-packed", **full, **PACKED),
            _build_case(folder, "alone-half", STEPS // 2, "m-alone", **full),
            *(
                _build_case(folder, f"alone-{kind}", STEPS, f"p-1-{kind}", **full, **SPREADS[kind])
                for kind in ALONE
            ),
        ],
    )
    cases = []
    for old, new in MOVES:
        half = f"m-{old}-{new}"
        if old == "alone":
            shutil.copytree(folder / "m-alone", folder / half)
        else:
            first = {"workers": 2, **SPREADS[old]}
            cases.append(_build_case(folder, f"{half}-half", STEPS // 2, half, **full, **first))
        if new != "alone":
            then = {"workers": 2, **SPREADS[new]}
            cases.append(_build_case(folder, f"{old}-to-{new}", STEPS, half, **full, **then))
    for kind, choice in SPREADS.items():
        spread = {"workers": 2, **choice}
        cases.append(_build_case(folder, kind, STEPS, f"p-{kind}", **full, **spread))
        if kind in INTERRUPTED:
            cases += [
                _build_case(folder, f"{kind}-half", STEPS // 2, f"q-{kind}", **full, **spread),
                _build_case(folder, f"{kind}-resumed", STEPS, f"q-{kind}", **full, **spread),
            ]
        if kind in ADAPTED:
            name = f"{kind}-LoRA"
            cases.append(_build_case(folder, name, STEPS, f"l-{kind}", method="LoRA", **spread))
        if kind in PACKED_KINDS:
            name = f"{kind}-packed"
            cases.append(_build_case(folder, name, STEPS, f"b-{kind}", **full, **spread, **PACKED))
    _run_workers(folder, 2, cases)
    _run_workers(
        folder,
        1,
        [
            _build_case(folder, f"{old}-to-alone", STEPS, f"m-{old}-alone", **full)
            for old, new in MOVES
            if new == "alone"
        ],
    )
    return folder


def _load_canaries(folder: Path, name: str) -> list[float]:
    with safe_open(folder / name, framework="pt") as file:
        canaries: list[list[float]] = json.loads(file.metadata()["canaries"])
        return [loss for each in canaries for loss in each]


def _load_norms(folder: Path, name: str) -> list[float]:
    with safe_open(folder / name, framework="pt") as file:
        norms: list[float] = json.loads(file.metadata()["norms"])
        return norms


@pytest.mark.timeout(600)
@pytest.mark.parametrize("kind", [*KINDS, *(f"alone-{kind}" for kind in ALONE)])
def test_all_take_the_steps_of_a_single_worker(folder: Path, kind: str) -> None:
    """Data parallel and every ZeRO stage, with and without offload, of two workers and of one."""
    losses, parameters = _load_result(folder, kind)
    expected_losses, expected = _load_result(folder, "alone")

    assert len(losses) == STEPS
    assert losses == pytest.approx(expected_losses, rel=SAME_LOSS)
    assert losses[-1] < losses[0] - 0.5
    assert set(parameters) == set(expected)
    for name, value in expected.items():
        torch.testing.assert_close(parameters[name], value, **SAME_WEIGHTS)


@pytest.mark.parametrize("name", ["alone-packed", "None-packed", "ZeRO2-packed", "ZeRO3-packed"])
def test_packing_changes_the_speed_only(folder: Path, name: str) -> None:
    """Examples that share rows are learnt as without, by one worker and by several."""
    losses, parameters = _load_result(folder, name)
    expected_losses, expected = _load_result(folder, "alone")

    assert losses == pytest.approx(expected_losses, rel=SAME_LOSS)
    for key, value in expected.items():
        torch.testing.assert_close(parameters[key], value, **SAME_WEIGHTS)


@pytest.mark.parametrize("name", [*KINDS, "ZeRO3-packed"])
def test_canaries_are_the_same_however_the_model_is_spread(folder: Path, name: str) -> None:
    """Also where each worker holds a part of the parameters, and where rows are shared."""
    found, expected = _load_canaries(folder, name), _load_canaries(folder, "alone")

    assert len(found) > 20
    assert found == pytest.approx(expected, abs=0.02)


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_have_the_norm_of_a_single_worker(folder: Path, kind: str) -> None:
    """Which is shown to users, and by which gradients are clipped."""
    norms = _load_norms(folder, kind)

    assert len(norms) == STEPS
    assert norms == pytest.approx(_load_norms(folder, "alone"), rel=1e-4)


def test_no_compiler_is_needed(folder: Path) -> None:
    """DeepSpeed builds a kernel at its first use, where one is used; images have no compiler."""
    built = folder / "built"

    assert not built.exists() or not list(built.rglob("*.so"))


@pytest.mark.parametrize("kind", INTERRUPTED)
def test_interrupted_training_ends_with_the_same_weights(folder: Path, kind: str) -> None:
    """From a resume point on, losses and weights are those of a run without interruption."""
    losses, parameters = _load_result(folder, kind)
    half, _ = _load_result(folder, f"{kind}-half")
    rest, resumed = _load_result(folder, f"{kind}-resumed")

    assert len(half) == len(rest) == STEPS // 2
    assert half + rest == losses
    for name, value in parameters.items():
        assert torch.equal(resumed[name], value), name


@pytest.mark.parametrize(("old", "new"), MOVES)
def test_another_number_of_workers_goes_on(folder: Path, old: str, new: str) -> None:
    """A resume point does not depend on how the state was spread."""
    rest, parameters = _load_result(folder, f"{old}-to-{new}")
    losses, expected = _load_result(folder, "alone")

    assert rest == pytest.approx(losses[STEPS // 2 :], rel=SAME_LOSS)
    for name, value in expected.items():
        torch.testing.assert_close(parameters[name], value, **SAME_WEIGHTS)


@pytest.mark.parametrize("kind", ADAPTED)
def test_adapters_are_whole_under_zero(folder: Path, kind: str) -> None:
    """LoRA over two workers gives the adapter of one worker, with numbers in every tensor."""
    losses, parameters = _load_result(folder, f"{kind}-LoRA")
    expected_losses, expected = _load_result(folder, "alone-LoRA")

    assert losses == pytest.approx(expected_losses, rel=SAME_LOSS)
    assert set(parameters) == set(expected)
    assert all(value.numel() for value in parameters.values())
    assert any("lora_B" in name and value.count_nonzero() for name, value in parameters.items())
    for name, value in expected.items():
        torch.testing.assert_close(parameters[name], value, **SAME_WEIGHTS)
