"""The train stage with real Ray: it learns, resumes after any death, and leaves nothing behind."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from make_train_stage import (
    TrainStage,
    find_processes,
    make_store,
    make_train_row,
    stop_all,
    wait_until,
    wait_until_gone,
)
from peft import PeftModel
from safetensors.torch import load_file

from tunebench_api.contract import Report, ResultState, StageResult
from tunebench_jobs.canaries import CANARY_FILE
from tunebench_jobs.checkpoints import ADAPTER_CONFIG, ADAPTER_WEIGHTS, load_manifest
from tunebench_jobs.models import load_model, load_tokenizer
from tunebench_jobs.records import load_jsonl
from tunebench_jobs.train.curve import CURVE_FILE, CurvePoint

pytestmark = [pytest.mark.jobs, pytest.mark.timeout(600)]

# Steps take milliseconds; there must be some left when a test has found the process to kill.
EPOCHS = 30
STEPS = 4 * EPOCHS


@pytest.fixture(name="store", scope="module")
def fixture_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a store with a training set; one example of it is very long."""
    rows = [make_train_row(number) for number in range(16)]
    return make_store(tmp_path_factory.mktemp("train"), [*rows, make_train_row(16, words=400)])


@pytest.fixture(name="whole", scope="module")
def fixture_whole(store: Path) -> tuple[TrainStage, StageResult]:
    """Return a run of LoRA without interruption."""
    stage = TrainStage(store, "whole", maxLength=512, epochs=EPOCHS)
    return stage, _expect_success(stage, stage.run())


def load_curve(stage: TrainStage) -> list[CurvePoint]:
    """Return the curve that a stage has left."""
    return list(load_jsonl(stage.output / CURVE_FILE, CurvePoint))


def _expect_success(stage: TrainStage, report: Report) -> StageResult:
    assert report.result is not None
    assert report.result.state is ResultState.SUCCEEDED, stage.log()[-4000:]
    return report.result


def _expect_failure(stage: TrainStage, report: Report) -> StageResult:
    assert report.result is not None
    assert report.result.state is ResultState.FAILED, stage.log()[-4000:]
    return report.result


def test_lora_learns_and_leaves_a_checkpoint(whole: tuple[TrainStage, StageResult]) -> None:
    """The loss falls, and the checkpoint is whole, named and free of paths of this machine."""
    stage, result = whole
    manifest = load_manifest(stage.output / "checkpoint")
    summary = result.summary

    assert summary["train_loss"]["last"] < summary["train_loss"]["first"] - 0.5
    assert (summary["steps"], summary["examples"], summary["dropped"]) == (STEPS, 16, 1)
    assert 0 < summary["answer_tokens"] < summary["tokens"]
    assert 0 < summary["parameters"]["trained"] < summary["parameters"]["total"]
    assert manifest.facts.steps == STEPS
    curve = load_curve(stage)

    assert {artefact.path for artefact in result.artefacts} == {
        CANARY_FILE,
        CURVE_FILE,
        *(f"checkpoint/{name}" for name in (*manifest.files, "manifest.json")),
    }
    assert [point.step for point in curve] == list(range(1, STEPS + 1))
    assert curve[0].loss == pytest.approx(summary["train_loss"]["first"], abs=1e-4)
    assert curve[-1].tokens == summary["tokens"]
    assert all((point.gradient_norm or 0) > 0 for point in curve)
    assert 0 < (curve[-1].seconds or 0) <= summary["seconds"] + 0.1
    assert (summary["device"], summary["gpus"], summary["workers"]) == ("cpu", 0, 1)
    # A share of a peak that nobody knows is not made up.
    assert not {"mfu_pct", "gpu_utilization_pct"} & set(summary)
    assert summary["peak_memory_bytes"] > 50 << 20
    assert 0 <= summary["data_wait_pct"] < 100
    assert 0 <= summary["padding_pct"] < 50
    assert '"q_proj"' in (stage.output / "checkpoint" / ADAPTER_CONFIG).read_text()
    assert not (stage.output / "work").exists()


# PEFT still asks transformers by the old name.
@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
def test_adapter_loads_and_changes_the_base(
    store: Path, whole: tuple[TrainStage, StageResult]
) -> None:
    """Transformers and PEFT take the checkpoint, and it answers other than its base."""
    folder = whole[0].output / "checkpoint"
    tokenizer = load_tokenizer(folder)
    ids = torch.tensor([tokenizer("Describe the pull request")["input_ids"]])
    base = load_model(store.parent / "base", torch.float32).eval()
    with torch.no_grad():
        before = base(ids).logits
        after = PeftModel.from_pretrained(base, folder).eval()(ids).logits

    assert not torch.allclose(before, after, atol=1e-2)


def test_run_killed_twice_ends_with_the_same_weights(
    store: Path, whole: tuple[TrainStage, StageResult]
) -> None:
    """A dead worker, then `kill -9` of the stage: the third attempt gives the very same adapter."""
    stage = TrainStage(store, "killed", maxLength=512, epochs=EPOCHS)

    _die_at(stage, 2, lambda _, children: _find_worker(children).kill())
    result = _expect_failure(stage, stage.load_report())
    points = stage.resume_points()

    assert (result.reason, result.retryable) == ("WorkerDied", True)
    assert points

    _die_at(stage, int(points[-1].split("-")[1]) + 2, lambda process, _: process.kill())
    reached = stage.resume_points()

    assert reached > points
    assert not (stage.output / "checkpoint").exists()

    result = _expect_success(stage, stage.run())
    weights = load_file(stage.output / "checkpoint" / ADAPTER_WEIGHTS)
    expected = load_file(whole[0].output / "checkpoint" / ADAPTER_WEIGHTS)

    assert result.summary["steps"] == whole[1].summary["steps"]
    assert result.summary["train_loss"] == whole[1].summary["train_loss"]
    assert set(weights) == set(expected)
    assert all(torch.equal(weights[name], expected[name]) for name in expected)
    # How long a step took is not the same.
    curves = [
        [point.model_copy(update={"seconds": None}) for point in load_curve(each)]
        for each in (stage, whole[0])
    ]
    assert curves[0] == curves[1]


def test_terminated_stage_leaves_no_process(store: Path) -> None:
    """SIGTERM, as a planner sends it, ends Ray and the workers; code 1: it may be retried."""
    stage = TrainStage(store, "terminated", maxLength=512, epochs=EPOCHS)

    code = _die_at(stage, 1, lambda process, _: process.send_signal(signal.SIGTERM))

    assert code == 1
    assert not (stage.output / "checkpoint").exists()


def test_two_workers_tune_a_whole_model_with_zero(store: Path) -> None:
    """ZeRO-2 under Ray Train: the loss falls, and the checkpoint is a model of its own."""
    stage = TrainStage(
        store, "zero", method="Full", workers=2, deepspeed="ZeRO2", maxLength=512, epochs=2
    )

    summary = _expect_success(stage, stage.run()).summary
    folder = stage.output / "checkpoint"
    before = load_model(store.parent / "base", torch.float32).state_dict()
    after = load_model(folder, torch.float32).state_dict()

    assert summary["train_loss"]["last"] < summary["train_loss"]["first"] - 0.3
    assert set(load_manifest(folder).files) >= {"config.json", "model.safetensors"}
    assert set(after) == set(before)
    assert any(not torch.equal(after[name], before[name]) for name in before)


@pytest.mark.parametrize(
    ("tuning", "reason", "words"),
    [
        ({"maxLength": 512, "overflow": "Fail"}, "ExampleTooLong", ["acme/train#16", "maxLength"]),
        ({"learningRate": "1e30", "maxLength": 512}, "LossNotFinite", ["learningRate", "step"]),
    ],
)
def test_what_the_user_must_change_is_named(
    store: Path, tuning: dict[str, Any], reason: str, words: list[str]
) -> None:
    """An error of a worker reaches the report as it is, and is not retried."""
    stage = TrainStage(store, reason, **tuning)

    result = _expect_failure(stage, stage.run())

    assert (result.reason, result.retryable) == (reason, False)
    assert all(word in result.message for word in words)


def _die_at(stage: TrainStage, points: int, kill: Any) -> int | None:
    """Start the stage, kill it once it has `points` steps, and see every process end."""
    process = stage.start()
    children: list[psutil.Process] = []
    goal = f"step-{points:08d}"
    try:
        wait_until(
            lambda: max(stage.resume_points(), default="") >= goal or process.poll() is not None,
            seconds=150,
            what=f"{goal}; the stage said {stage.log()[-2000:]}",
        )
        children = find_processes(process)
        assert children, stage.log()[-4000:]
        kill(process, children)
        code: int | None = process.wait(60)
        # Ray's own agents look for their parent about once a minute.
        wait_until_gone(children, seconds=90)
    finally:
        stop_all([process, *children])
    return code


def _find_worker(processes: list[psutil.Process]) -> psutil.Process:
    for process in processes:
        if "RayTrainWorker" in " ".join(process.cmdline()):
            return process
    msg = "no training worker among the processes"
    raise LookupError(msg)
