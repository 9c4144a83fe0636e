"""What a training says while it runs, up to the status of its model."""

from __future__ import annotations

from pathlib import Path

import pytest
from make_run import make_run
from plan_world import World

from tunebench_api.contract import Progress, Report, Runtime
from tunebench_jobs.context import StageContext
from tunebench_jobs.errors import InputError
from tunebench_jobs.train.layout import Position
from tunebench_jobs.train.worker import Reporter
from tunebench_operator.observed import Attempt


class ScriptedGauges:
    """Hardware of which everything is known."""

    def read_peak_memory(self) -> int:
        """Return 12 and a half GiB."""
        return 25 << 29

    def read_utilization(self) -> int | None:
        """Return nearly all."""
        return 97

    def compute_mfu(self, before: Position, after: Position) -> float | None:
        """Return a share that tells the two positions."""
        return (after.step - before.step) / 10


def tell(folder: Path, *, gauges: ScriptedGauges | None) -> Progress:
    """Return what is said at the fifth and last step of an attempt that began at the second."""
    report = folder / "report.json"
    context = StageContext(Runtime(store=str(folder), output="train/x", report=str(report)))
    reporter = Reporter(context)
    if gauges is not None:
        reporter.watch(gauges)
    with reporter.speaking():
        for step in (2, 5):
            position = Position(
                step=step, tokens=10 * step, last_losses=(0.5,), gradient_norm=1.23456
            )
            reporter.tell(position, 5)
    return Report.model_validate_json(report.read_bytes()).progress


def test_progress_says_what_the_hardware_does(tmp_path: Path) -> None:
    """Memory as Kubernetes writes it, shares in percent, since the attempt's first step."""
    progress = tell(tmp_path, gauges=ScriptedGauges())

    assert (progress.step, progress.loss, progress.gradient_norm) == (5, "0.5000", "1.2346")
    assert (progress.mfu_pct, progress.gpu_utilization_pct) == ("30.0", "97")
    assert progress.peak_memory == "12.5Gi"


def test_what_stops_a_training_is_not_hidden_by_its_report(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A report that cannot be written at the end is logged, and the reason stays the reason."""
    (tmp_path / "blocked").touch()
    report = str(tmp_path / "blocked" / "report.json")
    reporter = Reporter(StageContext(Runtime(store=str(tmp_path), output="x", report=report)))
    reporter.say("loading the model")

    with pytest.raises(InputError, match="wild"), reporter.speaking():
        raise InputError("wild", reason="LossExploded")
    assert "was not heard" in caplog.text


def test_what_is_not_known_is_not_said(tmp_path: Path) -> None:
    """Before anything has been read, the rest is told all the same."""
    progress = tell(tmp_path, gauges=None)

    assert progress.gradient_norm == "1.2346"
    assert (progress.mfu_pct, progress.peak_memory, progress.gpu_utilization_pct) == (None,) * 3


def test_the_status_shows_it(tmp_path: Path) -> None:
    """As it was said, while the model is in training."""
    world = World(make_run())
    while not any(name.startswith("train") for name in world.children):
        world.step()
        for name in [name for name in world.children if not name.startswith("train")]:
            world.end(name)
    (child,) = [child for name, child in world.children.items() if name.startswith("train")]
    progress = tell(tmp_path, gauges=ScriptedGauges())
    world.attempts[child.key, child.digest][-1] = Attempt(1, progress)
    model = world.step().status.models[0].to_wire()

    assert model["stage"] == "Train"
    assert {name: model[name] for name in ("gradientNorm", "mfuPct", "peakMemory")} == {
        "gradientNorm": "1.2346",
        "mfuPct": "30.0",
        "peakMemory": "12.5Gi",
    }
    assert model["gpuUtilizationPct"] == "97"
