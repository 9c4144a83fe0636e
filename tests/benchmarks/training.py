"""How fast training is beside its peers: `make training` prints the figures of docs/performance.md.

The same examples, rendered from pull requests of `make_corpus` for three tools and cut nowhere, are
learnt once by each way, with the same model, adapters, learning rate and examples to a step:

* tunebench's own loop, rows packed and rows padded;
* transformers' Trainer, padded, grouped by length;
* TRL's SFTTrainer, padded, and packed with best fit (needs TRL: `--trl PYTHON`).

What counts are useful tokens: those of the examples, without padding. Each way is a process of its
own that times its steps alone, and says what loss its model has on examples that nobody has learnt.
Where a machine has other work to do, tokens to a second of CPU time tell more.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

PROMPTS = Path(__file__).parents[2] / "prompts"
HELD_OUT = 48
SEED = 0
RATE = 1e-3
# Examples to a forward pass where rows are padded; steps have twice as many.
MICRO_BATCH = 4
BATCH = 8
MODEL_FOLDER, DATA_FILE = "model", "examples.json"
SIZES = {
    "5M": {"hidden_size": 256, "intermediate_size": 704, "num_hidden_layers": 4},
    # As SmolLM2-135M.
    "135M": {"hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 30},
}
HEADS = {"5M": (4, 2), "135M": (9, 3)}
VOCABULARY = {"5M": 4096, "135M": 49_152}
LORA_LAYERS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", choices=SIZES, default="5M")
    parser.add_argument("--method", choices=["LoRA", "Full"], default="LoRA")
    parser.add_argument("--examples", type=int, default=2000)
    parser.add_argument("--max-length", type=int, default=4096)
    parser.add_argument("--trl", help="a Python that has TRL and PEFT")
    parser.add_argument("--ways", nargs="+", help="these only", choices=_WAYS)
    parser.add_argument("--folder", type=Path, help="keep model and examples here")
    parser.add_argument("--one", nargs=2, metavar=("WAY", "FOLDER"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        way, folder = options.one
        print(json.dumps(_WAYS[way](Path(folder), options.method, options.max_length)))
        return
    with tempfile.TemporaryDirectory() as scratch:
        compare(options, options.folder or Path(scratch))


def compare(options: argparse.Namespace, folder: Path) -> None:
    """Let each way learn the same, one after the other."""
    prepare(folder, options.size, options.examples, options.max_length)
    figures = {}
    for way in options.ways or _WAYS:
        python = options.trl if way.startswith("trl") else sys.executable
        if python is None:
            print(f"{way}: not measured, give --trl", flush=True)
            continue
        figures[way] = measure(python, way, folder, options)
        print(f"{way}: {describe(figures[way])}", flush=True)
    ours = figures.get("packed")
    peers = {name: each for name, each in figures.items() if name not in {"packed", "padded"}}
    if ours and peers:
        for unit in ("seconds", "cpu_seconds"):
            name, fastest = min(peers.items(), key=lambda item: item[1][unit])
            print(f"{fastest[unit] / ours[unit]:.2f} times as fast as {name} in {unit}")


def measure(python: str, way: str, folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Run one way in a process of its own."""
    command = [python, __file__, "--one", way, str(folder)]
    command += ["--method", options.method, "--max-length", str(options.max_length)]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
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


def prepare(folder: Path, size: str, count: int, max_length: int) -> None:
    """Write a model with random weights and so many examples, unless they are there."""
    if (folder / DATA_FILE).exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    texts = list(render_examples(count + HELD_OUT, max_length))
    tokenizer = train_tokenizer([" ".join(each) for each in texts], VOCABULARY[size])
    tokenizer.save_pretrained(folder / MODEL_FOLDER)
    save_model(folder / MODEL_FOLDER, size, len(tokenizer))
    from tunebench_jobs.chat import build_example  # noqa: PLC0415 - peers need none of it

    examples = []
    for system, user, answer in texts:
        example = build_example(tokenizer, system=system, user=user, answer=answer)
        if len(example.input_ids) <= max_length:
            examples.append([list(example.input_ids), example.answer_tokens])
    (folder / DATA_FILE).write_text(json.dumps(examples[: count + HELD_OUT]))


def render_examples(count: int, max_length: int) -> Iterator[tuple[str, str, str]]:
    """Yield prompts and answers that are surely short enough, or nearly."""
    from make_corpus import make_pulls  # noqa: PLC0415 - peers need none of it

    from tunebench_api.v1alpha1 import Answers, PromptsSpec, Tool  # noqa: PLC0415 - likewise
    from tunebench_jobs.data.render import Renderer  # noqa: PLC0415 - likewise
    from tunebench_jobs.prompt_source import load_configured_prompts  # noqa: PLC0415 - likewise

    prompts = load_configured_prompts(PromptsSpec(builtin="default"), PROMPTS)
    renderer = Renderer(prompts, Answers.ROWS)
    left = int(1.3 * count)
    for pull in make_pulls(left):
        for tool in Tool:
            answer = pull.answers.get(tool)
            messages = renderer.render(pull, tool)
            # About three characters to a token of code.
            if answer and len(messages.system + messages.user + answer) < 3 * max_length:
                yield messages.system, messages.user, answer
                left -= 1
            if not left:
                return


def train_tokenizer(texts: Sequence[str], size: int) -> Any:
    """Train a byte-level BPE tokenizer on the examples themselves."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers  # noqa: PLC0415
    from transformers import PreTrainedTokenizerFast  # noqa: PLC0415 - takes seconds

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts[:600], trainer)
    template = (
        "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
        "{{ message['content'] }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|endoftext|>",  # noqa: S106 - a token of text, no credential
        pad_token="<|endoftext|>",  # noqa: S106 - likewise
        chat_template=template,
    )


def save_model(folder: Path, size: str, vocabulary: int) -> None:
    """Write a Llama with random weights."""
    import torch  # noqa: PLC0415 - takes seconds
    from transformers import LlamaConfig, LlamaForCausalLM  # noqa: PLC0415 - likewise

    heads, shared = HEADS[size]
    config = LlamaConfig(
        **SIZES[size],
        num_attention_heads=heads,
        num_key_value_heads=shared,
        # All logits of a large vocabulary, as the real model has them.
        vocab_size=max(vocabulary, VOCABULARY[size]),
        max_position_embeddings=16_384,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=0,
        pad_token_id=0,
    )
    torch.manual_seed(SEED)
    LlamaForCausalLM(config).save_pretrained(folder)


def load_examples(folder: Path) -> tuple[list[Any], list[Any]]:
    """Return what is learnt and what is held out, each as (ids, answer tokens)."""
    examples = json.loads((folder / DATA_FILE).read_text())
    return examples[HELD_OUT:], examples[:HELD_OUT]


def load_model(folder: Path, method: str) -> Any:
    """Load the model as everybody does, with adapters where they are asked for."""
    import torch  # noqa: PLC0415 - takes seconds
    from transformers import AutoModelForCausalLM  # noqa: PLC0415 - likewise

    torch.set_num_threads(os.cpu_count() or 1)
    model = AutoModelForCausalLM.from_pretrained(folder / MODEL_FOLDER, dtype=torch.float32)
    torch.manual_seed(SEED)
    if method == "Full":
        return model
    from peft import get_peft_model  # noqa: PLC0415 - likewise

    return get_peft_model(model, build_lora(LORA_LAYERS))


def build_lora(layers: list[str]) -> Any:
    """Return PEFT's config of the adapters."""
    from peft import LoraConfig  # noqa: PLC0415 - takes seconds

    return LoraConfig(
        task_type="CAUSAL_LM", r=16, lora_alpha=32, lora_dropout=0.0, target_modules=layers
    )


def finish(model: Any, held_out: list[Any], begin: tuple[float, float], tokens: int) -> Any:
    """Return the figures of a way that has just ended."""
    seconds, cpu = time.monotonic() - begin[0], time.process_time() - begin[1]
    return {
        "seconds": seconds,
        "cpu_seconds": cpu,
        "tokens": tokens,
        "loss": compute_loss(model, held_out),
        "peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000),
    }


def compute_loss(model: Any, held_out: list[Any]) -> float:
    """Return the mean loss of answer tokens on examples that nobody has learnt."""
    import torch  # noqa: PLC0415 - takes seconds

    model.eval()
    total, count = 0.0, 0
    with torch.no_grad():
        for ids, answer in held_out:
            logits = model(input_ids=torch.tensor([ids])).logits[0, -answer - 1 : -1]
            targets = torch.tensor(ids[-answer:])
            total += float(torch.nn.functional.cross_entropy(logits, targets, reduction="sum"))
            count += answer
    return total / count


def run_ours(folder: Path, method: str, max_length: int, *, packing: str) -> dict[str, Any]:
    """Learn with tunebench's own loop."""
    import torch  # noqa: PLC0415 - takes seconds

    from tunebench_api.v1alpha1 import (  # noqa: PLC0415 - of ours alone
        Precision,
        TuningMethod,
        TuningSpec,
    )
    from tunebench_jobs.chat import IGNORED_LABEL, Example  # noqa: PLC0415 - likewise
    from tunebench_jobs.train.engine import build_engine  # noqa: PLC0415 - likewise
    from tunebench_jobs.train.examples import TrainSet  # noqa: PLC0415 - likewise
    from tunebench_jobs.train.loop import Hooks, Work, run_loop  # noqa: PLC0415 - likewise
    from tunebench_jobs.train.loss import AnswerLoss  # noqa: PLC0415 - likewise
    from tunebench_jobs.train.place import Place  # noqa: PLC0415 - likewise
    from tunebench_jobs.train.prepare import prepare_model  # noqa: PLC0415 - likewise
    from tunebench_jobs.train.segments import use_segments  # noqa: PLC0415 - likewise

    learnt, held_out = load_examples(folder)
    torch.set_num_threads(os.cpu_count() or 1)
    tuning = TuningSpec.from_wire(
        {
            "method": TuningMethod(method),
            "learningRate": str(RATE),
            "batchSize": BATCH,
            "microBatchSize": 1 if packing == "BestFit" else MICRO_BATCH,
            "maxLength": max_length * (MICRO_BATCH if packing == "BestFit" else 1),
            "packing": packing,
            "precision": "Float32",
            "checkpointSteps": 1_000_000,
        }
    )
    model = prepare_model(
        folder / MODEL_FOLDER, tuning, Precision.FLOAT32, SEED, torch.device("cpu")
    )
    if packing == "BestFit":
        use_segments(model)
    examples = tuple(
        Example(tuple(ids), (IGNORED_LABEL,) * (len(ids) - answer) + tuple(ids[-answer:]))
        for ids, answer in learnt
    )
    place = Place(0, 1, torch.device("cpu"))
    engine = build_engine(AnswerLoss(model.train(), autocast=None), tuning, place.device)
    with tempfile.TemporaryDirectory() as scratch:
        work = Work(TrainSet(examples, 0), tuning, SEED, 0, Path(scratch), "bench")
        begin = time.monotonic(), time.process_time()
        run_loop(engine, work, place, Hooks(lambda *_: None, lambda *_: None))
    if packing == "BestFit":
        getattr(model, "get_base_model", lambda: model)().set_attn_implementation("sdpa")
    return finish(model, held_out, begin, sum(len(ids) for ids, _ in learnt))


def run_packed(folder: Path, method: str, max_length: int) -> dict[str, Any]:
    """Learn with tunebench, rows packed."""
    return run_ours(folder, method, max_length, packing="BestFit")


def run_padded(folder: Path, method: str, max_length: int) -> dict[str, Any]:
    """Learn with tunebench, rows padded."""
    return run_ours(folder, method, max_length, packing="None")


def run_trainer(folder: Path, method: str, max_length: int) -> dict[str, Any]:
    """Learn with transformers' Trainer, padded, neighbours in length together."""
    from transformers import (  # noqa: PLC0415 - takes seconds
        AutoTokenizer,
        DataCollatorForSeq2Seq,
        Trainer,
        TrainingArguments,
    )

    del max_length
    learnt, held_out = load_examples(folder)
    rows = [
        {"input_ids": ids, "labels": [-100] * (len(ids) - answer) + ids[-answer:]}
        for ids, answer in learnt
    ]
    model = load_model(folder, method)
    with tempfile.TemporaryDirectory() as scratch:
        trainer = Trainer(
            model=model,
            args=TrainingArguments(
                **build_arguments(scratch), train_sampling_strategy="group_by_length"
            ),
            train_dataset=rows,
            data_collator=DataCollatorForSeq2Seq(
                AutoTokenizer.from_pretrained(folder / MODEL_FOLDER)
            ),
        )
        begin = time.monotonic(), time.process_time()
        trainer.train()
        return finish(model, held_out, begin, sum(len(ids) for ids, _ in learnt))


def run_trl(folder: Path, method: str, max_length: int, *, packing: bool) -> dict[str, Any]:
    """Learn with TRL's SFTTrainer; packed rows hold as many tokens as padded ones may."""
    from datasets import Dataset  # noqa: PLC0415 - takes seconds
    from transformers import AutoTokenizer  # noqa: PLC0415 - likewise
    from trl import SFTConfig, SFTTrainer  # noqa: PLC0415 - likewise

    learnt, held_out = load_examples(folder)
    rows = Dataset.from_list(
        [
            {
                "input_ids": ids,
                "completion_mask": [0] * (len(ids) - answer) + [1] * answer,
            }
            for ids, answer in learnt
        ]
    )
    model = load_model(folder, method)
    arguments = build_arguments(str(folder / "trl"))
    if packing:
        # A step has as many tokens as otherwise, on average.
        mean = sum(len(ids) for ids, _ in learnt) / len(learnt)
        rows_to_step = max(1, round(BATCH * mean / max_length))
        arguments |= {
            "per_device_train_batch_size": rows_to_step,
            "gradient_accumulation_steps": 1,
        }
    trainer = SFTTrainer(
        model=model,
        args=SFTConfig(
            **arguments,
            max_length=max_length,
            packing=packing,
            completion_only_loss=True,
            gradient_checkpointing=False,
        ),
        train_dataset=rows,
        processing_class=AutoTokenizer.from_pretrained(folder / MODEL_FOLDER),
    )
    begin = time.monotonic(), time.process_time()
    trainer.train()
    return finish(model, held_out, begin, sum(len(ids) for ids, _ in learnt))


def run_trl_padded(folder: Path, method: str, max_length: int) -> dict[str, Any]:
    """Learn with TRL, rows padded."""
    return run_trl(folder, method, max_length, packing=False)


def run_trl_packed(folder: Path, method: str, max_length: int) -> dict[str, Any]:
    """Learn with TRL, rows packed with best fit."""
    return run_trl(folder, method, max_length, packing=True)


def build_arguments(scratch: str) -> dict[str, Any]:
    """Return what both trainers are told."""
    return {
        "output_dir": scratch,
        "per_device_train_batch_size": MICRO_BATCH,
        "gradient_accumulation_steps": BATCH // MICRO_BATCH,
        "num_train_epochs": 1,
        "learning_rate": RATE,
        "lr_scheduler_type": "linear",
        "max_grad_norm": 1.0,
        "weight_decay": 0.0,
        "optim": "adamw_torch_fused",
        "use_cpu": True,
        "seed": SEED,
        "save_strategy": "no",
        "report_to": "none",
        "logging_steps": 1_000_000,
        "disable_tqdm": True,
        "bf16": False,
    }


_WAYS: dict[str, Callable[[Path, str, int], dict[str, Any]]] = {
    "packed": run_packed,
    "padded": run_padded,
    "trainer": run_trainer,
    "trl-padded": run_trl_padded,
    "trl-packed": run_trl_packed,
}

if __name__ == "__main__":
    main()
