"""What resuming and Ray Train cost: `make resuming` prints the figures of docs/performance.md.

* `kills`: a training is killed at random moments, its worker or all of the job, and started again.
  Its weights are compared with those of one that was left alone, and repeated steps are counted.
* `points`: what a resume point costs a step, in a folder and in a bucket (a real S3 server here).
* `ray`: the same training as a stage with Ray Train, and in a process without Ray.

The train stage is run as the planner runs it. Steps of `kills` take about a second each, because a
stage reports once a second, which is how they are counted.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from bucket_server import BUCKET, running_server
from make_train_stage import (
    TrainStage,
    find_processes,
    make_store,
    make_train_row,
    stop_all,
    wait_until,
)
from tiny_models import save_tiny_model

SEED = 20_26
INTERVAL = 3
HIDDEN = 256
LONG_WORDS, EXAMPLES = 150, 64
TEN_MINUTES = 600.0
# In a training of ten minutes: a resume point each minute.
POINTS_IN_TEN_MINUTES = 10
DEADLINE_SECONDS = 900


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--parts", nargs="+", choices=_PARTS, default=list(_PARTS))
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--batch", type=int, default=32, help="examples to a step of `kills`")
    parser.add_argument("--rounds", type=int, default=3, help="of `points` and `ray`")
    parser.add_argument("--plain", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.plain:
        print(json.dumps(run_plain(options.plain)))
        return
    for part in options.parts:
        with tempfile.TemporaryDirectory() as folder:
            _PARTS[part](Path(folder), options)


@dataclass(frozen=True)
class Turn:
    """One attempt that was killed: its first step, and its last that was reported."""

    victim: str
    first: int
    last: int


def measure_kills(folder: Path, options: argparse.Namespace) -> None:
    """Kill a training again and again, and compare it with one that was left alone."""
    store = make_large_store(folder)
    tuning = {
        "batchSize": options.batch,
        "microBatchSize": 8,
        # More steps than all attempts together can take.
        "epochs": (2 * INTERVAL + 1) * (options.kills + 1) * options.batch // EXAMPLES,
        "maxLength": 1024,
        "checkpointSteps": INTERVAL,
        "learningRate": "1e-3",
    }
    whole = TrainStage(store, "whole", **tuning)
    began = time.monotonic()
    whole.run(DEADLINE_SECONDS)
    alone = time.monotonic() - began
    stage = TrainStage(store, "killed", **tuning)
    moments = random.Random(options.seed)  # noqa: S311 - moments, not secrets
    turns = []
    for number in range(options.kills):
        turns.append(kill_once(stage, moments))
        print(f"kill {number + 1}: {turns[-1]}", flush=True)
    first = watch_last_run(stage)
    firsts = [*(turn.first for turn in turns[1:]), first]
    repeated = [turn.last - next_ + 1 for turn, next_ in zip(turns, firsts, strict=True)]
    steps = load_summary(whole)["steps"]
    print(f"left alone: {steps} steps in {alone:.0f} s, start and end included")
    print(f"kills: {len(turns)}, of which {sum(t.victim == 'worker' for t in turns)} of a worker")
    print(
        f"steps repeated after a kill: {repeated}; at most {max(repeated)}, "
        f"in the mean {statistics.mean(repeated):.1f}; interval {INTERVAL}"
    )
    print(f"weights: {compare_weights(whole.output, stage.output)}")
    losses = [load_summary(each)["train_loss"] for each in (whole, stage)]
    print(f"losses: {losses[0]} and {losses[1]}", flush=True)


def kill_once(stage: TrainStage, moments: random.Random) -> Turn:
    """Start an attempt, and kill its worker or all of it after some steps and a part of one."""
    process = start_training(stage)
    children: list[psutil.Process] = []
    try:
        first = find_step(stage)
        goal = first + moments.randint(0, 2 * INTERVAL)
        wait_until(
            lambda: find_step(stage) >= goal or process.poll() is not None,
            seconds=300,
            what="steps",
        )
        children = find_processes(process)
        victim = moments.choice(["worker", "job"])
        time.sleep(moments.uniform(0, 1))
        last = find_step(stage)
        assert process.poll() is None, "too few steps for so many kills"
        if victim == "worker":
            find_worker(children).kill()
            process.wait(120)
        return Turn(victim, first, last)
    finally:
        stop_all([process, *children])
        process.wait(30)


def watch_last_run(stage: TrainStage) -> int:
    """Let the last attempt end by itself, and return its first step."""
    process = start_training(stage)
    try:
        first = find_step(stage)
        process.wait(DEADLINE_SECONDS)
    finally:
        stop_all([process, *find_processes(process)])
    assert process.returncode == 0, stage.log()[-3000:]
    return first


def start_training(stage: TrainStage) -> psutil.Popen:
    """Start a stage, again where Ray does not start in time, and return it once it has stepped."""
    for _ in range(5):
        stage.report_file.unlink(missing_ok=True)
        process = stage.start()
        wait_for_step(stage, process)
        if process.poll() is None:
            return process
        stop_all([process])
    raise RuntimeError(stage.log()[-3000:])


def wait_for_step(stage: TrainStage, process: psutil.Popen) -> None:
    """Wait until a stage has reported a step, or has ended."""
    wait_until(
        lambda: find_step(stage) or process.poll() is not None, seconds=300, what="a first step"
    )


def find_step(stage: TrainStage) -> int:
    """Return the step that a stage has reported last; 0: none."""
    return (stage.load_report().progress.step or 0) if stage.report_file.is_file() else 0


def find_worker(processes: list[psutil.Process]) -> psutil.Process:
    """Return the process that trains."""
    return next(each for each in processes if "RayTrainWorker" in " ".join(each.cmdline()))


def compare_weights(one: Path, other: Path) -> str:
    """Say whether two adapters are the same."""
    import torch  # noqa: PLC0415 - takes seconds
    from safetensors.torch import load_file  # noqa: PLC0415 - likewise

    name = "checkpoint/adapter_model.safetensors"
    mine, theirs = load_file(one / name), load_file(other / name)
    assert set(mine) == set(theirs)
    if all(torch.equal(mine[key], theirs[key]) for key in mine):
        return f"bit for bit the same in {len(mine)} tensors"
    return f"differ by at most {max(float((mine[k] - theirs[k]).abs().max()) for k in mine):.2e}"


def measure_points(folder: Path, options: argparse.Namespace) -> None:
    """Run short trainings with a point after each step, and with one at the end."""
    store = make_large_store(folder / "near")
    with running_server(folder / "server") as server:
        send_inputs(store, server.environment)
        places: dict[str, tuple[str, Mapping[str, str]]] = {
            "folder": (str(store), {}),
            "bucket": (f"s3://{BUCKET}/runs", server.environment),
        }
        for place, (uri, environment) in places.items():
            times: dict[int, list[float]] = {1: [], 1_000_000: []}
            for round_ in range(options.rounds):
                for interval, seconds in times.items():
                    name = f"{place}-{round_}-{interval}"
                    tuning = {"batchSize": 4, "epochs": 3, "maxLength": 1024}
                    stage = TrainStage(store, name, **tuning, checkpointSteps=interval)
                    document = change_document(store / f"{name}.json", uri, folder / name)
                    steps, took = time_steps(stage, document, environment)
                    seconds.append(took / steps)
            often, once = (statistics.median(each) for each in times.values())
            print(
                f"{place}: {1000 * often:.0f} ms to a step with a point after each, "
                f"{1000 * once:.0f} ms without ({steps} steps, median of {options.rounds})",
                flush=True,
            )


def time_steps(
    stage: TrainStage, document: Path, environment: Mapping[str, str]
) -> tuple[int, float]:
    """Run a stage, and return its steps and the seconds from the first report of one to the end."""
    stage.report_file.unlink(missing_ok=True)
    with (document.parent / "log").open("a") as log:
        process = psutil.Popen(
            [sys.executable, "-m", "tunebench_jobs", "stage", "--config", str(document)],
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**os.environ, **environment},
        )
    try:
        wait_for_step(stage, process)
        began, first = time.monotonic(), find_step(stage)
        wait_until(
            lambda: "saving" in stage.load_report().progress.message or process.poll() is not None,
            seconds=DEADLINE_SECONDS,
            what="the last step",
        )
        took = time.monotonic() - began
        last = find_step(stage)
        process.wait(DEADLINE_SECONDS)
    finally:
        stop_all([process, *find_processes(process)])
    assert process.returncode == 0, (document.parent / "log").read_text()[-3000:]
    return max(1, last - first), took


def measure_ray(folder: Path, options: argparse.Namespace) -> None:
    """Do the same training with Ray Train and without, in turns."""
    store = make_large_store(folder)
    with_ray, without, plain = [], [], {}
    for number in range(options.rounds):
        stage = TrainStage(store, f"ray-{number}", epochs=1, maxLength=1024, checkpointSteps=1)
        began = time.monotonic()
        stage.run(DEADLINE_SECONDS)
        with_ray.append(time.monotonic() - began)
        assert load_summary(stage)["steps"] > 0
        TrainStage(store, f"plain-{number}", epochs=1, maxLength=1024, checkpointSteps=1)
        command = [sys.executable, __file__, "--plain", str(store / f"plain-{number}.json")]
        began = time.monotonic()
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        without.append(time.monotonic() - began)
        plain = json.loads(done.stdout.splitlines()[-1])
    ray, alone = statistics.median(with_ray), statistics.median(without)
    stall = plain["stall_seconds"]
    share = (ray - alone + POINTS_IN_TEN_MINUTES * stall) / TEN_MINUTES
    print(f"with Ray Train {ray:.1f} s, without Ray {alone:.1f} s: {ray - alone:.1f} s for Ray")
    print(f"a resume point holds the training up for {1000 * stall:.1f} ms")
    print(
        f"a report to a file takes {1000 * plain['report_seconds']:.1f} ms, once a second at most"
    )
    print(f"of ten minutes, with {POINTS_IN_TEN_MINUTES} points: {100 * share:.1f}%", flush=True)


def run_plain(document: Path) -> dict[str, float]:
    """Train without Ray, and return what a resume point costs a step, and what a report does."""
    import torch  # noqa: PLC0415 - takes seconds

    from tunebench_api.contract import Progress, TrainConfig, parse_stage_document  # noqa: PLC0415
    from tunebench_jobs.context import StageContext  # noqa: PLC0415 - likewise
    from tunebench_jobs.train.layout import Position  # noqa: PLC0415 - likewise
    from tunebench_jobs.train.loop import Hooks  # noqa: PLC0415 - likewise
    from tunebench_jobs.train.place import Place  # noqa: PLC0415 - likewise
    from tunebench_jobs.train.session import run_session  # noqa: PLC0415 - likewise

    torch.set_num_threads(1)
    parsed = parse_stage_document(document.read_bytes())
    assert isinstance(parsed.config, TrainConfig)
    context = StageContext(parsed.runtime)
    context.output.mkdir(parents=True, exist_ok=True)
    seen: list[tuple[float, float]] = []

    def note(position: Position, _total: int) -> None:
        seen.append((time.monotonic(), position.seconds))

    place = Place(0, 1, torch.device("cpu"))
    run_session(parsed.config, context, place, Hooks(note, lambda _: None))
    # Between two steps lies a step, whose time is known, and what a point holds up.
    stalls = [
        (moment - before) - (worked - worked_before)
        for (before, worked_before), (moment, worked) in itertools.pairwise(seen)
    ]
    began = time.monotonic()
    for step in range(20):
        context.report(Progress(step=step))
    return {
        "stall_seconds": statistics.median(stalls),
        "report_seconds": (time.monotonic() - began) / 20,
    }


def make_large_store(folder: Path) -> Path:
    """Return a store with examples of some hundred tokens, and a base of a million parameters."""
    rows = [make_train_row(number, words=LONG_WORDS) for number in range(EXAMPLES)]
    store = make_store(folder, rows)
    save_tiny_model(folder / "base", hidden=HIDDEN)
    return store


def load_summary(stage: TrainStage) -> dict[str, Any]:
    """Return what a stage that has succeeded says of itself."""
    result = stage.load_report().result
    assert result is not None, stage.log()[-3000:]
    assert result.state == "Succeeded", stage.log()[-3000:]
    return dict(result.summary)


def change_document(document: Path, uri: str, scratch: Path) -> Path:
    """Have a stage use another store, with copies in a folder of its own."""
    content = json.loads(document.read_bytes())
    content["runtime"] |= {"store": uri, "scratch": str(scratch)}
    document.write_text(json.dumps(content))
    return document


def send_inputs(store: Path, environment: Mapping[str, str]) -> None:
    """Put the training set into the bucket, as its stage would."""
    from tunebench_api.contract import Artefact, StageResult  # noqa: PLC0415 - heavy with Arrow
    from tunebench_jobs.files import build_file_digest  # noqa: PLC0415 - likewise
    from tunebench_jobs.storage.bucket import Bucket  # noqa: PLC0415 - likewise
    from tunebench_jobs.storage.mirror import Mirror  # noqa: PLC0415 - likewise

    path = store / "data/tiny/train.parquet"
    artefact = Artefact(path=path.name, sha256=build_file_digest(path), bytes=path.stat().st_size)
    result = StageResult(state="Succeeded", reason="Succeeded", artefacts=(artefact,))
    with environ(environment):
        mirror = Mirror(Bucket(f"s3://{BUCKET}/runs"), store)
        mirror.publish("data/tiny", result, result.model_dump_json(by_alias=True).encode(), set())


@contextmanager
def environ(values: Mapping[str, str]) -> Iterator[None]:
    """Have some environment variables in this process for a while."""
    before = dict(os.environ)
    os.environ.update(values)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


_PARTS: dict[str, Callable[[Path, argparse.Namespace], None]] = {
    "kills": measure_kills,
    "points": measure_points,
    "ray": measure_ray,
}

if __name__ == "__main__":
    main()
