"""A training over two nodes, as a RayJob has it: each node has room for one worker."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from make_train_stage import TrainStage, make_store, make_train_row
from ray_nodes import ENVIRONMENT, ray_nodes

from tunebench_api.contract import Runtime, TrainConfig
from tunebench_api.v1alpha1 import DeepSpeed, Offload
from tunebench_jobs.context import StageContext
from tunebench_jobs.records import load_jsonl
from tunebench_jobs.train.curve import CURVE_FILE, CurvePoint
from tunebench_jobs.train.loop import Hooks
from tunebench_jobs.train.place import Place
from tunebench_jobs.train.session import run_session

pytestmark = [
    pytest.mark.jobs,
    pytest.mark.timeout(600),
    # PEFT asks transformers in the old way.
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning"),
]

TUNING = {
    "precision": "Float32",
    "epochs": 2,
    "checkpointSteps": 4,
    "lora": {"rank": 4, "alpha": 8},
}


def load_losses(folder: Path) -> list[float]:
    """Return the loss of each step."""
    return [point.loss for point in load_jsonl(folder / CURVE_FILE, CurvePoint)]


def train_alone(store: Path, stage: TrainStage) -> list[float]:
    """Train the same in this process, and return the loss of each step."""
    document = stage.load_config()
    tuning = document.tuning.model_copy(
        update={"workers": 1, "deepspeed": DeepSpeed.NONE, "offload": Offload.NONE}
    )
    config = TrainConfig(**{**dict(document), "tuning": tuning})
    output = "train/alone"
    (store / output).mkdir(parents=True)
    runtime = Runtime(store=str(store), output=output, report=str(store / "alone.json"), cpus=1)
    hooks = Hooks(on_step=lambda *_: None, on_resume_point=lambda *_: None)
    run_session(config, StageContext(runtime), Place(0, 1, torch.device("cpu")), hooks)
    return load_losses(store / output)


def test_two_nodes_train_what_one_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The workers find each other, each has its part, and the losses are those of one process."""
    store = make_store(tmp_path, [make_train_row(number) for number in range(16)])
    spread = {"deepspeed": "ZeRO3", "offload": "OptimizerAndParameters"}
    stage = TrainStage(store, "nodes", workers=2, **spread, **TUNING)
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    with ray_nodes(2) as address:
        monkeypatch.setenv("RAY_ADDRESS", address)
        result = stage.run(300).result

    assert result is not None
    assert result.state == "Succeeded", stage.log()[-4000:]
    assert "node_rank=1" in stage.log()
    losses = load_losses(stage.output)
    assert len(losses) == 8
    assert losses == pytest.approx(train_alone(store, stage), rel=1e-4)
