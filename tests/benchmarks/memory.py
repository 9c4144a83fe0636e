"""How much memory training takes beside what the model of it says: `make memory` prints the table.

Each case loads a small model with random weights as the train stage does, takes two optimizer
steps with rows of equal length, and says the most memory that it had beyond what it had before it
loaded the model. On a GPU (`--device cuda`) that is what PyTorch has allocated there. On a CPU it
is the resident memory of the process, with an allocator that gives everything back at once; what
the usual one keeps is told besides.
"""

from __future__ import annotations

import argparse
import gc
import itertools
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

MIB = 1 << 20
BLOCKS, HIDDEN, INNER, HEADS, VOCABULARY = 6, 384, 1024, 6, 16_000
ANSWER = 64
# Micro-batches of each step: only after the first one has the optimizer its state.
STEPS = (1, 2)
# glibc then maps each tensor for itself.
EXACT = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}
# By architecture: config class, model class, and sizes that differ.
ARCHITECTURES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "llama, no GQA": ("LlamaConfig", "LlamaForCausalLM", {"num_key_value_heads": HEADS}),
    "llama, GQA": ("LlamaConfig", "LlamaForCausalLM", {"num_key_value_heads": 2}),
    "qwen2, wide vocabulary": (
        "Qwen2Config",
        "Qwen2ForCausalLM",
        {"num_key_value_heads": 2, "vocab_size": 64_000, "tie_word_embeddings": True},
    ),
    "gemma": (
        "GemmaConfig",
        "GemmaForCausalLM",
        {"num_key_value_heads": HEADS, "head_dim": 128, "tie_word_embeddings": True},
    ),
    "gpt_bigcode": ("GPTBigCodeConfig", "GPTBigCodeForCausalLM", {"multi_query": True}),
}


def main() -> None:
    """Measure all cases in one process with an exact allocator, and some with the usual one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--quick", action="store_true", help="a few cases only")
    parser.add_argument("--cases", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.cases:
        for case in json.loads(options.cases.read_bytes()):
            print(json.dumps(measure(case)), flush=True)
        return
    with tempfile.TemporaryDirectory() as scratch:
        compare(Path(scratch), options)


def list_cases(*, quick: bool) -> Iterator[dict[str, Any]]:
    """Yield what is measured: every architecture and method, then one thing at a time."""
    plain = {"rows": 2, "tokens": 512, "precision": "Float32", "again": False}
    names = list(ARCHITECTURES)[1:3] if quick else list(ARCHITECTURES)
    for name, method in itertools.product(names, ["LoRA", "QLoRA", "Full"]):
        yield {**plain, "name": name, "method": method}
    if quick:
        return
    for method in ("LoRA", "Full"):
        for change in (
            {"rows": 1},
            {"rows": 4},
            {"tokens": 1024},
            {"precision": "BFloat16"},
            {"again": True},
            {"dropout": "0.1"},
        ):
            yield {**plain, "name": "llama, GQA", "method": method, **change}
    yield {**plain, "name": "llama, GQA", "method": "LoRA", "last_blocks": 2}


def compare(folder: Path, options: argparse.Namespace) -> None:
    """Print a table of predicted and measured memory, and what the usual allocator takes."""
    print("| model | method | rows x tokens | other | predicted [MiB] | measured | error [%] |")
    print("| --- | --- | ---: | --- | ---: | ---: | ---: |", flush=True)
    places = {"folder": str(folder), "device": options.device}
    cases = [{**case, **places} for case in list_cases(quick=options.quick)]
    errors = []
    for case, found in run(cases, EXACT if options.device == "cpu" else {}):
        errors.append(100 * (found["predicted"] / found["measured"] - 1))
        print(describe(case, found, errors[-1]), flush=True)
    print(
        f"\nerror: median {statistics.median(errors):+.0f}%, from {min(errors):+.0f}% to "
        f"{max(errors):+.0f}%, over {len(errors)} cases"
    )
    if options.device == "cpu":
        # Each in a process of its own, as nothing comes back from this allocator.
        for case in [each for each in cases if each["name"] == "llama, GQA"][:3]:
            for _, found in run([case], {}):
                print(
                    f"with the usual allocator, {case['method']}: "
                    f"{found['measured'] / MIB:,.0f} MiB resident, "
                    f"{found['on_cpus'] / MIB:,.0f} predicted"
                )


def describe(case: dict[str, Any], found: dict[str, int], error: float) -> str:
    """Return a row of the table."""
    others = {key: case.get(key) for key in ("precision", "again", "dropout", "last_blocks")}
    shown = ", ".join(
        f"{key} {value}" for key, value in others.items() if value not in {None, False, "Float32"}
    )
    return (
        f"| {case['name']} | {case['method']} | {case['rows']} x {case['tokens']} | {shown} | "
        f"{found['predicted'] / MIB:,.0f} | {found['measured'] / MIB:,.0f} | {error:+.0f} |"
    )


def run(
    cases: list[dict[str, Any]], environment: dict[str, str]
) -> Iterator[tuple[dict[str, Any], dict[str, int]]]:
    """Yield cases with what was found, measured in one process."""
    path = Path(cases[0]["folder"]) / "cases.json"
    path.write_text(json.dumps(cases))
    quiet = {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    command = [sys.executable, "-W", "ignore", __file__, "--cases", str(path)]
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, **quiet, **environment},
    ) as child:
        assert child.stdout is not None
        lines = (json.loads(line) for line in child.stdout if line.startswith(b"{"))
        yield from zip(cases, lines, strict=True)


def measure(case: dict[str, Any]) -> dict[str, int]:
    """Train a little, and return the bytes predicted and measured."""
    import torch  # noqa: PLC0415 - the process that compares needs none of these

    from tunebench_api.sizing.memory import estimate_memory  # noqa: PLC0415 - likewise
    from tunebench_api.sizing.shape import parse_shape  # noqa: PLC0415 - likewise
    from tunebench_api.v1alpha1 import Precision, TuningSpec  # noqa: PLC0415 - likewise
    from tunebench_jobs.train.engine import build_engine  # noqa: PLC0415 - likewise
    from tunebench_jobs.train.loss import AnswerLoss  # noqa: PLC0415 - likewise
    from tunebench_jobs.train.memory import MemoryWatch, recompute_activations  # noqa: PLC0415
    from tunebench_jobs.train.prepare import prepare_model  # noqa: PLC0415 - likewise
    from tunebench_jobs.train.shortcuts import take_shortcuts  # noqa: PLC0415 - likewise

    folder = Path(case["folder"]) / case["name"].replace(", ", "-").replace(" ", "-")
    device = torch.device(case["device"])
    config = save_model(case["name"], folder)
    tuning = TuningSpec.from_wire(
        {
            "method": case["method"],
            "microBatchSize": case["rows"],
            "maxLength": case["tokens"],
            "activationCheckpointing": "Enabled" if case["again"] else "Disabled",
            "lora": {"dropout": case.get("dropout", "0"), "lastBlocks": case.get("last_blocks")},
        }
    )
    precision = Precision(case["precision"])
    half = precision is Precision.BFLOAT16
    # Threads and kernels that are set up once are no part of a training.
    warm_up(device)
    gc.collect()
    watch = MemoryWatch(device)
    model = prepare_model(folder, tuning, precision, 0, device)
    shortcuts = take_shortcuts(model, tuning, device, half=half)
    if case["again"]:
        recompute_activations(model)
    loss = AnswerLoss(
        model.train(),
        autocast=torch.bfloat16 if half else None,
        answer_rows=shortcuts.answer_rows,
    )
    engine = build_engine(loss, tuning, device)
    for count in STEPS:
        for number in range(count):
            last = number == count - 1
            rows = make_rows(case, config, device, shared=shortcuts.unpadded)
            engine.accumulate(rows, weight=1e-3, last=last)
        engine.step(1e-4)
    peak = watch.find_peak() or 0
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    frozen = [part for name, part in base.named_parameters() if "lora_" not in name]
    shape = parse_shape(config, sum(map(count_numbers, frozen)))
    assert shape is not None
    need = estimate_memory(shape, tuning, make_load(case, half=half))
    return {"predicted": need.total, "on_cpus": need.on_cpus().total, "measured": peak}


def make_load(case: dict[str, Any], *, half: bool) -> Any:
    """Return what one worker takes at once."""
    from tunebench_api.sizing.memory import Load  # noqa: PLC0415 - as above
    from tunebench_api.v1alpha1 import DeepSpeed  # noqa: PLC0415 - as above

    return Load(
        workers=1,
        deepspeed=DeepSpeed.NONE,
        rows=case["rows"],
        tokens=case["tokens"],
        answer=ANSWER,
        half=half,
        recompute=case["again"],
    )


def save_model(name: str, folder: Path) -> dict[str, Any]:
    """Write a model with random weights, unless it is there, and return its config."""
    import transformers  # noqa: PLC0415 - as above

    config_class, model_class, changes = ARCHITECTURES[name]
    sizes = {
        "hidden_size": HIDDEN,
        "intermediate_size": INNER,
        "num_hidden_layers": BLOCKS,
        "num_attention_heads": HEADS,
        "vocab_size": VOCABULARY,
        "max_position_embeddings": 4096,
    }
    if config_class == "GPTBigCodeConfig":
        sizes |= {"n_inner": sizes.pop("intermediate_size")}
        changes = {**changes, "attn_pdrop": 0.0, "embd_pdrop": 0.0, "resid_pdrop": 0.0}
    config = getattr(transformers, config_class)(**{**sizes, **changes})
    if not (folder / "config.json").is_file():
        getattr(transformers, model_class)(config).save_pretrained(folder)
    described: dict[str, Any] = json.loads((folder / "config.json").read_bytes())
    return described


def make_rows(case: dict[str, Any], config: dict[str, Any], device: Any, *, shared: bool) -> Any:
    """Return rows of random tokens, the last of which are learnt; or all of them as one row."""
    import torch  # noqa: PLC0415 - as above

    from tunebench_jobs.chat import IGNORED_LABEL  # noqa: PLC0415 - as above
    from tunebench_jobs.train.loss import Rows  # noqa: PLC0415 - as above

    ids = torch.randint(0, config["vocab_size"], (case["rows"], case["tokens"]))
    labels = ids.clone()
    labels[:, :-ANSWER] = IGNORED_LABEL
    segments = None
    if shared:
        ids, labels = ids.view(1, -1), labels.view(1, -1)
        segments = (case["tokens"],) * case["rows"]
    return Rows(ids.to(device), labels.to(device), segments)


def warm_up(device: Any) -> None:
    """Multiply once, so that threads and libraries are there."""
    import torch  # noqa: PLC0415 - as above

    side = torch.randn(256, 256, device=device, requires_grad=True)
    (side @ side).sum().backward()


def count_numbers(parameter: Any) -> int:
    """Count the numbers of a parameter, also where NF4 packed them."""
    state = getattr(parameter, "quant_state", None)
    return int(parameter.numel()) if state is None else math.prod(state.shape)


if __name__ == "__main__":
    main()
