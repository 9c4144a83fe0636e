"""Trainings at TensorBoard, MLflow and W&B: each step once, and never at the training's price."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from make_train_stage import (
    TrainStage,
    find_processes,
    make_store,
    make_train_row,
    stop_all,
    wait_until,
)
from tracker_files import load_history, load_kinds, load_run, load_scalars

from tunebench_api.contract import Report, ResultState, StageResult, TrainTracking
from tunebench_api.v1alpha1 import Precision, TrackingSpec
from tunebench_jobs.records import load_jsonl
from tunebench_jobs.tracking.training.feed import Address, Feed
from tunebench_jobs.tracking.training.points import LOSS, Kind, Point, Start, choose_past
from tunebench_jobs.tracking.training.trackers import (
    Trackers,
    Training,
    build_metrics,
    open_trackers,
)
from tunebench_jobs.train.curve import CURVE_FILE, CurvePoint, extend_curve
from tunebench_jobs.train.gauges import Gauges
from tunebench_jobs.train.layout import Position

pytestmark = [
    pytest.mark.jobs,
    pytest.mark.timeout(900),
    # Clients and readers with which the tests look at what is there.
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning"),
]

KEY = "0123456789abcdef0123456789abcdef01234567"
# One attempt, because nobody is there.
HASTY = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"}
FOLDERS = {
    **os.environ,
    "MLFLOW_ALLOW_FILE_STORE": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "WANDB_ERROR_REPORTING": "false",
}


def make_point(step: int) -> Point:
    """Return what is logged of a step."""
    return Point(step=step, time=1e9 + step, metrics={LOSS: 1 / step, "train/tokens": 10.0 * step})


def make_start(folder: Path, kind: Kind, **other: Any) -> Start:
    """Return where to log."""
    known: dict[str, Any] = {
        "kind": kind,
        "run": "ours",
        "model": "small-lora",
        "digest": "0123456789abcdef",
        "settings": {"method": "LoRA", "seed": "7"},
        "folder": str(folder / kind),
        "journal": str(folder / "work" / kind / "points.jsonl"),
        "done": 0,
        "project": "trainings",
    }
    return Start(**known | other)


def feed_steps(start: Start, first: int, last: int, *, ends: bool = True) -> Feed:
    """Log steps; one that does not end is killed as a worker is."""
    feed = Feed(Address(start, FOLDERS))
    for step in range(first, last + 1):
        feed.put(make_point(step))
    if ends:
        feed.finish(succeeded=True)
        feed.wait(200)
    else:
        wait_until(lambda: feed.heard.last_step == last, seconds=200, what=f"step {last}")
        stop_all([*find_processes(_find(feed)), _find(feed)])
        feed.wait(30)
    return feed


def _find(feed: Feed) -> Any:
    import psutil  # noqa: PLC0415 - for this alone

    return psutil.Process(feed._process.pid)


def read_mlflow(uri: str) -> tuple[Any, list[tuple[int, float]]]:
    """Return the only run, and the history of its loss."""
    from mlflow import MlflowClient  # noqa: PLC0415 - seconds

    client = MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name("trainings")
    assert experiment is not None
    (run,) = client.search_runs([experiment.experiment_id])
    return run, [
        (each.step, each.value) for each in client.get_metric_history(run.info.run_id, LOSS)
    ]


def test_tensorboard_has_each_step_once(tmp_path: Path) -> None:
    """Killed after step 9 and resumed from step 6, the curve is whole and has nothing double."""
    start = make_start(tmp_path, Kind.TENSORBOARD)
    feed_steps(start, 1, 9, ends=False)
    again = feed_steps(start.model_copy(update={"done": 6}), 7, 12)
    scalars = load_scalars(tmp_path / Kind.TENSORBOARD / "small-lora")

    assert again.heard.to_summary() == {"where": "tensorBoard/small-lora"}
    assert [step for step, _ in scalars[LOSS]] == list(range(1, 13))
    assert [value for _, value in scalars[LOSS]] == pytest.approx([1 / n for n in range(1, 13)])
    assert scalars["train/tokens"][-1] == (12, 120.0)


def test_mlflow_has_each_step_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The run of the first attempt is found again, and goes on."""
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    uri = (tmp_path / "mlruns").as_uri()
    start = make_start(tmp_path, Kind.MLFLOW, uri=uri)
    feed_steps(start, 1, 9, ends=False)
    before = read_mlflow(uri)[0].info
    again = feed_steps(start.model_copy(update={"done": 6}), 7, 12)
    run, history = read_mlflow(uri)

    assert "warning" not in again.heard.to_summary()
    assert (before.run_id, before.status) == (run.info.run_id, "RUNNING")
    assert history == [(step, pytest.approx(1 / step)) for step in range(1, 13)]
    assert (run.info.run_name, run.info.status) == ("ours/small-lora", "FINISHED")
    assert run.data.params == {"method": "LoRA", "seed": "7"}
    assert run.data.tags["tunebench.training"] == start.digest


def test_wandb_offline_has_each_step_once(tmp_path: Path) -> None:
    """One file has the whole curve, the run's names, and nothing of this machine."""
    start = make_start(tmp_path, Kind.WANDB, offline=True)
    feed_steps(start, 1, 9, ends=False)
    again = feed_steps(start.model_copy(update={"done": 6}), 7, 12)
    (path,) = (tmp_path / Kind.WANDB).glob("offline-run-*/*.wandb")
    history = load_history(path)
    run = load_run(path)

    assert again.heard.to_summary() == {"where": "wandb"}
    assert [row["_step"] for row in history] == list(range(1, 13))
    assert [row[LOSS] for row in history] == pytest.approx([1 / n for n in range(1, 13)])
    assert (run.run_id, run.display_name) == ("ours-small-lora-0123456789abcdef", "ours/small-lora")
    assert (run.project, run.run_group, run.host) == ("trainings", "ours", "")
    assert not {"stats", "output", "output_raw"} & load_kinds(path)


@pytest.fixture
def deaf() -> Iterator[str]:
    """Return the address of a server that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


@contextmanager
def measured() -> Iterator[list[float]]:
    """Note how long a block takes."""
    spent: list[float] = []
    started = time.monotonic()
    yield spent
    spent.append(time.monotonic() - started)


@pytest.mark.parametrize("kind", [Kind.MLFLOW, Kind.WANDB])
def test_a_server_that_is_silent_holds_up_nothing(tmp_path: Path, kind: Kind, deaf: str) -> None:
    """A thousand steps go by at once, the end waits its time, and one warning is left."""
    address = Address(
        make_start(tmp_path, kind, uri=deaf),
        {**FOLDERS, "WANDB_BASE_URL": deaf, "WANDB_API_KEY": KEY},
        [KEY],
    )
    with measured() as logging:
        feed = Feed(address)
        for step in range(1, 1001):
            feed.put(make_point(step))
    feed.finish(succeeded=True)
    with measured() as waiting:
        feed.wait(4)

    assert logging[0] < 2
    assert waiting[0] < 15
    assert feed.heard.to_summary()["warning"] == "not all was logged within 4 s"


def test_a_server_that_is_away_is_one_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Asked at the start and at the end, it is named once, without the key in its address."""
    with socket.create_server(("127.0.0.1", 0)) as closed:
        uri = f"http://user:{KEY}@127.0.0.1:{closed.getsockname()[1]}"
    start = make_start(tmp_path, Kind.MLFLOW, uri=uri)
    feed = Feed(Address(start, {**FOLDERS, **HASTY}, [KEY]))
    feed.put(make_point(1))
    wait_until(lambda: feed.heard.problem, seconds=60, what="the complaint")
    feed.put(make_point(2))
    feed.finish(succeeded=True)
    feed.wait(60)

    assert "refused" in feed.heard.to_summary()["warning"]
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert KEY not in f"{caplog.text}{feed.heard}"


def test_a_process_that_dies_is_a_warning(tmp_path: Path) -> None:
    """The training's side goes on, and says so at the end."""
    start = make_start(tmp_path, Kind.TENSORBOARD)
    feed = Feed(Address(start, FOLDERS))
    feed.put(make_point(1))
    feed._process.kill()
    for step in range(2, 400):
        feed.put(make_point(step))
    feed.finish(succeeded=True)
    feed.wait(30)

    assert feed.heard.to_summary()["warning"]


def test_points_of_another_machine_come_from_the_resume_point(tmp_path: Path) -> None:
    """The journal goes first, as far as it goes; steps that will be made again are forgotten."""
    start = make_start(tmp_path, Kind.TENSORBOARD, done=6, past=tuple(map(make_point, (2, 4, 6))))
    journal = [make_point(step) for step in (1, 2, 3, 3, 7, 8)]

    assert [point.step for point in choose_past(journal, start)] == [1, 2, 3, 4, 6]
    assert [point.step for point in choose_past([], start)] == [2, 4, 6]


def make_training(folder: Path, tracking: dict[str, Any]) -> Training:
    """Return a training that has trackers."""
    spec = TrackingSpec.from_wire(tracking)
    gauges = Gauges(torch.device("cpu"), 1, Precision.FLOAT32)
    return Training(TrainTracking(run="ours", model="m", tracking=spec), folder, {}, gauges)


def make_position(step: int) -> Position:
    """Return how far a training is; each step takes half a second."""
    curve: tuple[CurvePoint, ...] = ()
    for number in range(1, step + 1):
        point = CurvePoint(step=number, loss=1 / number, learning_rate=0.1, tokens=10 * number)
        curve = extend_curve(curve, point)
    return Position(
        step=step,
        tokens=10 * step,
        computed_tokens=20 * step,
        seconds=step / 2,
        waited_seconds=step / 20,
        last_losses=(1 / step,),
        gradient_norm=3.0,
        curve=curve,
    )


def test_metrics_are_those_of_each_step(tmp_path: Path) -> None:
    """Speed with and without padding, memory, gradients; no share of a peak on a CPU."""
    with open_trackers(make_training(tmp_path, {"tensorBoard": "Enabled"}), FOLDERS) as trackers:
        for step in (1, 2, 3):
            trackers.log(make_position(step))
    scalars = load_scalars(tmp_path / "tensorboard" / "m")

    assert set(scalars) == {
        *("train/loss", "train/learning_rate", "train/gradient_norm", "train/tokens"),
        *("train/useful_tokens_per_second", "train/computed_tokens_per_second"),
        *("train/data_wait_pct", "train/peak_memory_gib"),
    }
    assert scalars["train/useful_tokens_per_second"] == [(1, 20), (2, 20), (3, 20)]
    assert scalars["train/computed_tokens_per_second"] == [(1, 40), (2, 40), (3, 40)]
    assert scalars["train/data_wait_pct"] == [(n, pytest.approx(10)) for n in (1, 2, 3)]
    assert scalars["train/gradient_norm"][0] == (1, 3)
    assert trackers.build_summary() == {"tracking": {"tensorBoard": {"where": "tensorboard/m"}}}


def test_a_norm_that_overflows_is_left_out(tmp_path: Path) -> None:
    """A line with it could not be read, and nothing after it would be logged."""
    gauges = make_training(tmp_path, {}).gauges
    position = make_position(1).model_copy(update={"gradient_norm": float("inf")})

    metrics = build_metrics(Position(), position, gauges)

    assert "train/gradient_norm" not in metrics
    assert metrics["train/loss"] == 1


def test_a_key_that_is_not_set_is_a_warning(tmp_path: Path) -> None:
    """It names the field, and the other trackers go on."""
    tracking = {"tensorBoard": "Enabled", "wandb": {"secretRef": {"name": "w", "key": "NO_KEY"}}}
    trackers = Trackers(make_training(tmp_path, tracking), FOLDERS)
    trackers.log(make_position(1))
    trackers.close(succeeded=True)
    told = trackers.build_summary()["tracking"]

    assert "`spec.tracking.wandb.secretRef` must name a key" in told["wandb"]["warning"]
    assert told["tensorBoard"] == {"where": "tensorboard/m"}


def test_a_killed_training_goes_on_at_its_trackers(tmp_path: Path) -> None:
    """Killed and started again, each tracker's files have the whole curve; one away is noted."""
    with socket.create_server(("127.0.0.1", 0)) as closed:
        away = f"http://127.0.0.1:{closed.getsockname()[1]}"
    store = make_store(tmp_path, [make_train_row(number) for number in range(16)])
    tracking = {
        "tensorBoard": "Enabled",
        "wandb": {"mode": "Offline", "project": "trainings"},
        "mlflow": {"uri": away, "training": "Enabled"},
    }
    stage = TrainStage(store, "tracked", tracking=tracking, maxLength=512, checkpointSteps=3)
    process = stage.start()
    try:
        wait_until(lambda: len(stage.resume_points()) > 1, seconds=400, what="resume points")
    finally:
        stop_all([process, *find_processes(process)])
        process.wait(30)
    result = _expect_success(stage, stage.run(400))
    curve = list(load_jsonl(stage.output / CURVE_FILE, CurvePoint))
    names = {artefact.path for artefact in result.artefacts}
    (offline,) = (stage.output / name for name in names if name.endswith(".wandb"))
    tensorboard = load_scalars(stage.output / "tensorboard" / "tracked")
    history = load_history(offline)

    assert [step for step, _ in tensorboard[LOSS]] == [point.step for point in curve]
    assert [value for _, value in tensorboard[LOSS]] == pytest.approx(
        [point.loss for point in curve], rel=1e-6
    )
    assert [row["_step"] for row in history] == list(range(1, 17))
    assert [row["train/gradient_norm"] for row in history] == pytest.approx(
        [point.gradient_norm for point in curve]
    )
    told = result.summary["tracking"]
    assert "refused" in told["mlflow"]["warning"]
    assert "warning: not logged to mlflow" in result.message
    assert told["tensorBoard"] == {"where": "tensorboard/tracked"}
    assert told["wandb"] == {"where": "wandb"}


def _expect_success(stage: TrainStage, report: Report) -> StageResult:
    assert report.result is not None
    assert report.result.state is ResultState.SUCCEEDED, stage.log()[-4000:]
    return report.result
