"""One of several training workers without Ray: `train_worker.py CONFIG RANK`.

The config is JSON: `workers`, `port`, and `cases`, each with the `tuning` to run, the `folder` of
its resume points and the `steps` after which it stops. Rank 0 writes a case's losses, norms of
gradients, final canaries and parameters to its `result` file, and each step as a line to its
`trace`, if it has one.
"""

from __future__ import annotations

import json
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from safetensors.torch import save_file
from tiny_models import build_tiny_model, build_tiny_tokenizer

from tunebench_api.v1alpha1 import Tool, TuningMethod, TuningSpec
from tunebench_jobs.chat import build_example
from tunebench_jobs.records import TrainExample
from tunebench_jobs.train.engine import build_engine
from tunebench_jobs.train.examples import TrainSet
from tunebench_jobs.train.layout import Position
from tunebench_jobs.train.loop import Hooks, Work, compute_canaries, run_loop
from tunebench_jobs.train.loss import AnswerLoss
from tunebench_jobs.train.place import Place
from tunebench_jobs.train.prepare import build_lora_config
from tunebench_jobs.train.shortcuts import take_shortcuts

WATCHED = TrainExample(
    pr="acme/shop#1",
    repository="acme/shop",
    tool=Tool.DESCRIBE,
    system="",
    user="Describe.",
    answer="title: fix",
)


class Stopped(Exception):  # noqa: N818 - nothing went wrong
    """The case was to end here."""


def main() -> None:
    """Run all cases in one process group."""
    config = json.loads(Path(sys.argv[1]).read_bytes())
    torch.set_num_threads(1)
    place = Place(int(sys.argv[2]), config["workers"], torch.device("cpu"))
    os.environ |= {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(config["port"]),
        "LOCAL_RANK": str(place.rank),
    }
    dist.init_process_group("gloo", rank=place.rank, world_size=place.workers)
    for case in config["cases"]:
        _run_case(case, place)
    dist.destroy_process_group()


def build_train_set(count: int = 14) -> TrainSet:
    """Return examples whose lengths and answers differ."""
    tokenizer = build_tiny_tokenizer()
    return TrainSet(
        tuple(
            build_example(
                tokenizer,
                system="Describe the pull request.",
                user="old line\n" * (1 + number % 5) + "```yaml",
                answer="title: |\n" + "  Add retries\n" * (1 + number % 3),
            )
            for number in range(count)
        ),
        dropped=0,
        # Only their places count here.
        canaries={0: WATCHED, 4: WATCHED, 9: WATCHED},
    )


def _build_model(tuning: TuningSpec) -> Any:
    from peft import get_peft_model  # noqa: PLC0415 - takes seconds to import

    model = build_tiny_model(len(build_tiny_tokenizer()))
    if tuning.method is TuningMethod.FULL:
        return model
    torch.manual_seed(0)
    return get_peft_model(model, build_lora_config(model, tuning))


def _run_case(case: dict[str, Any], place: Place) -> None:
    tuning = TuningSpec.from_wire(case["tuning"])
    model = _build_model(tuning)
    shortcuts = take_shortcuts(model, tuning, place.device, half=False)
    loss = AnswerLoss(model, autocast=None, answer_rows=shortcuts.answer_rows)
    engine = build_engine(loss, tuning, place.device)
    work = Work(
        train_set=build_train_set(),
        tuning=tuning,
        seed=5,
        padding=3,
        folder=Path(case["folder"]),
        identity="same",
        unpadded=shortcuts.unpadded,
    )
    losses: list[float] = []
    norms: list[float | None] = []
    gathered: dict[str, torch.Tensor] = {}
    canaries: list[tuple[float, ...]] = []

    def note(position: Position, _total: int) -> None:
        if position.step > case["steps"]:
            # Once the resume point of the step before is being written.
            raise Stopped
        losses.append(position.last_losses[-1])
        norms.append(position.gradient_norm)
        if "trace" in case and place.rank == 0:
            with Path(case["trace"]).open("a") as trace:
                trace.write(f"{position.step}\n")
        if position.step == case["steps"]:
            canaries.extend(compute_canaries(engine, work, place))
            gathered.update(engine.trained())

    with suppress(Stopped):
        run_loop(engine, work, place, Hooks(on_step=note, on_resume_point=lambda _: None))
    if place.rank == 0:
        notes = {"losses": losses, "norms": norms, "canaries": canaries}
        texts = {name: json.dumps(values) for name, values in notes.items()}
        save_file(gathered, case["result"], metadata=texts)


if __name__ == "__main__":
    main()
