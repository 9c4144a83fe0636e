"""How fast training is beside its peers: `make training` prints the figures of docs/performance.md.

The same examples, rendered from pull requests of `make_corpus` for three tools and cut nowhere, are
learnt once by each way, with the same model, adapters, learning rate and examples to a step:

* tunebench's own loop, rows packed and rows padded;
* transformers' Trainer, padded, grouped by length;
* TRL's SFTTrainer, padded and grouped by length, and packed with best fit (`--trl PYTHON`);
* LLaMA-Factory, padded and grouped by length (`--llama-factory PYTHON`).

What counts are useful tokens: those of the examples, without padding. Each way is a process of its
own that times its steps alone, and says what loss its model has on examples that nobody has learnt.
Where a machine has other work to do, tokens to a second of CPU time tell more.

`--ladder` measures our own switches instead: none, each alone, and all.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from training_data import (
    BATCH,
    HELD_OUT,
    MODEL_FOLDER,
    RATE,
    SEED,
    SIZES,
    SMOLLM2,
    describe_lengths,
    finish,
    load_examples,
    prepare,
    take_clocks,
)
from training_peers import run_llama_factory, run_trainer, run_trl

Options = dict[str, Any]
SWITCHES = ("fused-lora", "answer-rows", "packing", "answer-logits")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", choices=[*SIZES, SMOLLM2], default="5M")
    parser.add_argument("--method", choices=["LoRA", "Full"], default="LoRA")
    parser.add_argument("--precision", choices=["Float32", "BFloat16"], default="Float32")
    parser.add_argument("--examples", type=int, default=2000)
    parser.add_argument("--max-length", type=int, default=4096)
    parser.add_argument("--micro-batch", type=int, default=4, help="examples to a forward pass")
    parser.add_argument("--judged", type=int, default=HELD_OUT, help="held-out examples to use")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--trl", help="a Python that has TRL and PEFT")
    parser.add_argument("--llama-factory", help="a Python that has LLaMA-Factory")
    parser.add_argument("--ways", nargs="+", help="these only", choices=_WAYS)
    parser.add_argument("--without", nargs="*", default=[], choices=SWITCHES)
    parser.add_argument("--ladder", action="store_true")
    parser.add_argument("--folder", type=Path, help="keep model and examples here")
    parser.add_argument("--one", nargs=2, metavar=("WAY", "OPTIONS"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        way, given = options.one
        print(json.dumps(_WAYS[way](Path(options.folder), json.loads(given))))
        return
    with tempfile.TemporaryDirectory() as scratch:
        folder = (options.folder or Path(scratch)).absolute()
        prepare(folder, options.size, options.examples, options.max_length)
        print(describe_lengths(folder), flush=True)
        (climb if options.ladder else compare)(options, folder)


def compare(options: argparse.Namespace, folder: Path) -> None:
    """Let each way learn the same, one after the other."""
    figures = {}
    for way in options.ways or _WAYS:
        python = find_python(way, options)
        if python is None:
            print(f"{way}: not measured, give its Python", flush=True)
            continue
        figures[way] = measure(python, way, folder, build_options(options, options.without))
        print(f"{way}: {describe(figures[way])}", flush=True)
    ours = {name: each for name, each in figures.items() if name in _OURS}
    peers = {name: each for name, each in figures.items() if name not in _OURS}
    if ours and peers:
        for unit in ("seconds", "cpu_seconds"):
            best = min(ours.values(), key=lambda each: each[unit])
            name, fastest = min(peers.items(), key=lambda item: item[1][unit])
            print(f"{fastest[unit] / best[unit]:.2f} times as fast as {name} in {unit}")


def climb(options: argparse.Namespace, folder: Path) -> None:
    """Measure no switch, each alone, and all; none before each other one, as machines vary."""
    plain = list(SWITCHES)
    for switch in SWITCHES:
        others = [each for each in plain if each != switch]
        for name, without in (("none", plain), (f"{switch} alone", others)):
            figures = measure(sys.executable, "tunebench", folder, build_options(options, without))
            print(f"{name}: {describe(figures)}", flush=True)
    figures = measure(sys.executable, "tunebench", folder, build_options(options, []))
    print(f"all: {describe(figures)}", flush=True)


def find_python(way: str, options: argparse.Namespace) -> str | None:
    """Return the Python that has what a way needs."""
    if way.startswith("trl"):
        return str(options.trl) if options.trl else None
    if way == "llama-factory":
        return str(options.llama_factory) if options.llama_factory else None
    return sys.executable


def build_options(options: argparse.Namespace, without: list[str]) -> Options:
    """Return what the process of a way is told."""
    return {
        "method": options.method,
        "precision": options.precision,
        "max_length": options.max_length,
        "without": without,
        "threads": options.threads,
        "micro_batch": options.micro_batch,
        "judged": options.judged,
    }


def measure(python: str, way: str, folder: Path, options: Options) -> dict[str, Any]:
    """Run one way in a process of its own."""
    command = [python, __file__, "--folder", str(folder), "--one", way, json.dumps(options)]
    environment = {
        **os.environ,
        "HF_HUB_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "CUDA_VISIBLE_DEVICES": "",
    }
    done = subprocess.run(command, stdout=subprocess.PIPE, env=environment, check=False, cwd=folder)
    if done.returncode:
        sys.exit(f"{way} ended with code {done.returncode}")
    figures: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return figures


def describe(figures: dict[str, Any]) -> str:
    """Return the figures of one way as a line."""
    tokens = figures["tokens"]
    return (
        f"{tokens / figures['seconds']:,.0f} useful tokens/s, "
        f"{tokens / figures['cpu_seconds']:,.0f} a second of CPU; {figures['seconds']:.1f} s for "
        f"{tokens:,}; loss {figures['loss']:.3f}; at most {figures['peak_mb']:,} MB"
    )


def run_ours(folder: Path, options: Options) -> dict[str, Any]:
    """Learn with tunebench's own loop."""
    import torch  # noqa: PLC0415 - takes seconds

    from tunebench_api.v1alpha1 import Precision, TuningMethod, TuningSpec  # noqa: PLC0415
    from tunebench_jobs.chat import IGNORED_LABEL, Example  # noqa: PLC0415 - of ours alone
    from tunebench_jobs.train.engine import build_engine  # noqa: PLC0415 - likewise
    from tunebench_jobs.train.examples import TrainSet  # noqa: PLC0415 - likewise
    from tunebench_jobs.train.loop import Hooks, Work, run_loop  # noqa: PLC0415 - likewise
    from tunebench_jobs.train.loss import AnswerLoss  # noqa: PLC0415 - likewise
    from tunebench_jobs.train.place import Place  # noqa: PLC0415 - likewise
    from tunebench_jobs.train.prepare import prepare_model  # noqa: PLC0415 - likewise

    without = set(options["without"])
    packing = "None" if "packing" in without else "BestFit"
    micro_batch = options["micro_batch"]
    learnt, _ = load_examples(folder)
    torch.set_num_threads(options["threads"])
    tuning = TuningSpec.from_wire(
        {
            "method": TuningMethod(options["method"]),
            "learningRate": str(RATE),
            "batchSize": BATCH,
            "microBatchSize": 1 if packing == "BestFit" else micro_batch,
            "maxLength": options["max_length"] * (micro_batch if packing == "BestFit" else 1),
            "packing": packing,
            "precision": options["precision"],
            "checkpointSteps": 1_000_000,
        }
    )
    precision = Precision(options["precision"])
    place = Place(0, 1, torch.device("cpu"))
    model = prepare_model(folder / MODEL_FOLDER, tuning, precision, SEED, place.device)
    loss = AnswerLoss(
        model.train(),
        autocast=torch.bfloat16 if precision is Precision.BFLOAT16 else None,
        answer_rows=switch(model, packing, without),
    )
    loss.sparse &= "answer-logits" not in without
    examples = tuple(
        Example(tuple(ids), (IGNORED_LABEL,) * (len(ids) - answer) + tuple(ids[-answer:]))
        for ids, answer in learnt
    )
    engine = build_engine(loss, tuning, place.device)
    with tempfile.TemporaryDirectory() as scratch:
        work = Work(TrainSet(examples, 0), tuning, SEED, 0, Path(scratch), "bench")
        begin = take_clocks()
        run_loop(engine, work, place, Hooks(lambda *_: None, lambda *_: None))
    end = take_clocks()
    if packing == "BestFit":
        getattr(model, "get_base_model", lambda: model)().set_attn_implementation("sdpa")
    return finish(model, folder, options, begin, end)


def switch(model: Any, packing: str, without: set[str]) -> bool:
    """Turn off what is not wanted; return whether the last block chooses its rows."""
    from peft.tuners.lora.layer import Linear  # noqa: PLC0415 - takes seconds

    from tunebench_jobs.train.answer_rows import use_answer_rows  # noqa: PLC0415 - of ours alone
    from tunebench_jobs.train.fused_lora import FusedLoraLinear  # noqa: PLC0415 - likewise
    from tunebench_jobs.train.segments import use_segments  # noqa: PLC0415 - likewise

    if "fused-lora" in without:
        for part in model.modules():
            if isinstance(part, FusedLoraLinear):
                part.__class__ = Linear
    if packing == "BestFit":
        use_segments(model)
    return "answer-rows" not in without and use_answer_rows(model)


def run_padded(folder: Path, options: Options) -> dict[str, Any]:
    """Learn with tunebench, rows padded."""
    return run_ours(folder, options | {"without": [*options["without"], "packing"]})


_WAYS: Mapping[str, Callable[[Path, Options], dict[str, Any]]] = MappingProxyType(
    {
        "tunebench": run_ours,
        "tunebench-padded": run_padded,
        "trainer": run_trainer,
        "trl": lambda folder, options: run_trl(folder, options | {"packing": False}),
        "trl-packed": lambda folder, options: run_trl(folder, options | {"packing": True}),
        "llama-factory": run_llama_factory,
    }
)
_OURS = ("tunebench", "tunebench-padded")

if __name__ == "__main__":
    main()
