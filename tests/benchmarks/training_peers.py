"""The peers of `training.py`: each with the settings that are fastest for it on such data."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from training_data import (
    ALPHA,
    BATCH,
    LORA_LAYERS,
    MODEL_FOLDER,
    RANK,
    RATE,
    SEED,
    finish,
    load_examples,
    load_model,
    take_clocks,
)

Options = dict[str, Any]


def build_arguments(scratch: str, options: Options) -> dict[str, Any]:
    """Return what transformers' Trainer and all that derive from it are told."""
    return {
        "output_dir": scratch,
        "per_device_train_batch_size": options["micro_batch"],
        "gradient_accumulation_steps": BATCH // options["micro_batch"],
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
        "bf16": options["precision"] == "BFloat16",
        # Neighbours in length go together.
        "train_sampling_strategy": "group_by_length",
    }


def run_trainer(folder: Path, options: Options) -> dict[str, Any]:
    """Learn with transformers' Trainer, padded."""
    from transformers import (  # noqa: PLC0415 - takes seconds
        AutoTokenizer,
        DataCollatorForSeq2Seq,
        Trainer,
        TrainingArguments,
    )

    learnt, _ = load_examples(folder)
    rows = [
        {"input_ids": ids, "labels": [-100] * (len(ids) - answer) + ids[-answer:]}
        for ids, answer in learnt
    ]
    model = load_model(folder, options)
    with tempfile.TemporaryDirectory() as scratch:
        trainer = Trainer(
            model=model,
            args=TrainingArguments(**build_arguments(scratch, options)),
            train_dataset=rows,
            data_collator=DataCollatorForSeq2Seq(
                AutoTokenizer.from_pretrained(folder / MODEL_FOLDER)
            ),
        )
        begin = take_clocks()
        trainer.train()
        return finish(model, folder, options, begin, take_clocks())


def run_trl(folder: Path, options: Options) -> dict[str, Any]:
    """Learn with TRL's SFTTrainer; packed rows hold as many tokens as padded ones may."""
    from datasets import Dataset  # noqa: PLC0415 - takes seconds
    from transformers import AutoTokenizer  # noqa: PLC0415 - likewise
    from trl import SFTConfig, SFTTrainer  # noqa: PLC0415 - likewise

    learnt, _ = load_examples(folder)
    rows = Dataset.from_list(
        [
            {"input_ids": ids, "completion_mask": [0] * (len(ids) - answer) + [1] * answer}
            for ids, answer in learnt
        ]
    )
    model = load_model(folder, options)
    with tempfile.TemporaryDirectory() as scratch:
        arguments = build_arguments(scratch, options)
        packing = options["packing"]
        if packing:
            # A step has as many tokens as otherwise, on average.
            mean = sum(len(ids) for ids, _ in learnt) / len(learnt)
            arguments |= {
                "per_device_train_batch_size": 1,
                "gradient_accumulation_steps": max(1, round(BATCH * mean / options["max_length"])),
                "train_sampling_strategy": "random",
            }
        trainer = SFTTrainer(
            model=model,
            args=SFTConfig(
                **arguments,
                max_length=options["max_length"],
                packing=packing,
                completion_only_loss=True,
                # Recomputing costs time, and there is memory enough.
                gradient_checkpointing=False,
            ),
            train_dataset=rows,
            processing_class=AutoTokenizer.from_pretrained(folder / MODEL_FOLDER),
        )
        begin = take_clocks()
        trainer.train()
        return finish(model, folder, options, begin, take_clocks())


def run_llama_factory(folder: Path, options: Options) -> dict[str, Any]:
    """Learn with LLaMA-Factory: its own loader, adapters and trainer, on the same tokens."""
    import torch  # noqa: PLC0415 - takes seconds
    from llamafactory.train.tuner import run_exp  # noqa: PLC0415 - likewise
    from peft import PeftModel  # noqa: PLC0415 - likewise
    from transformers import AutoModelForCausalLM, TrainerCallback  # noqa: PLC0415 - likewise

    torch.set_num_threads(options["threads"])
    clocks: list[tuple[float, float]] = []

    class Watch(TrainerCallback):  # type: ignore[misc] # transformers has no types here
        """Notes the clocks when steps begin and when they have ended."""

        def on_train_begin(self, *_: Any, **__: Any) -> None:
            clocks.append(take_clocks())

        def on_train_end(self, *_: Any, **__: Any) -> None:
            clocks.append(take_clocks())

    with tempfile.TemporaryDirectory() as scratch:
        tokenized = Path(scratch) / "tokenized"
        save_tokenized(folder, tokenized)
        output = str(Path(scratch) / "output")
        arguments = build_arguments(output, options) | {
            "stage": "sft",
            "do_train": True,
            "model_name_or_path": str(folder / MODEL_FOLDER),
            "finetuning_type": "lora" if options["method"] == "LoRA" else "full",
            "lora_rank": RANK,
            "lora_alpha": ALPHA,
            "lora_dropout": 0.0,
            "lora_target": ",".join(LORA_LAYERS),
            # Named for form's sake: it is read from `tokenized_path`.
            "dataset": "none",
            "template": "empty",
            "tokenized_path": str(tokenized),
            "cutoff_len": options["max_length"],
            "flash_attn": "sdpa",
            "disable_gradient_checkpointing": True,
            "remove_unused_columns": False,
        }
        run_exp(arguments, callbacks=[Watch()])
        if options["method"] == "LoRA":
            base = AutoModelForCausalLM.from_pretrained(folder / MODEL_FOLDER)
            model = PeftModel.from_pretrained(base, output)
        else:
            model = AutoModelForCausalLM.from_pretrained(output)
        return finish(model, folder, options, *clocks)


def save_tokenized(folder: Path, target: Path) -> None:
    """Write the examples as LLaMA-Factory keeps what it has tokenized itself."""
    from datasets import Dataset, DatasetDict  # noqa: PLC0415 - takes seconds

    learnt, _ = load_examples(folder)
    rows = [
        {
            "input_ids": ids,
            "attention_mask": [1] * len(ids),
            "labels": [-100] * (len(ids) - answer) + ids[-answer:],
            "images": None,
            "videos": None,
            "audios": None,
        }
        for ids, answer in learnt
    ]
    DatasetDict({"train": Dataset.from_list(rows)}).save_to_disk(str(target))
