"""A tiny base model with adapters that clearly differ, as checkpoints that can be served."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from tiny_models import build_tiny_model, build_tiny_tokenizer

from tunebench_api.v1alpha1 import TuningMethod
from tunebench_jobs.checkpoints import CheckpointFacts, save_manifest
from tunebench_jobs.models import build_base_digest, load_model, load_tokenizer


def save_lively_base(folder: Path) -> Path:
    """Write a tiny random model that does not repeat one token, and return its folder."""
    tokenizer = build_tiny_tokenizer()
    tokenizer.save_pretrained(folder)
    model = build_tiny_model(len(tokenizer))
    model.config.tie_word_embeddings = False
    model.model.embed_tokens.weight.data.mul_(5)
    model.lm_head.weight = torch.nn.Parameter(torch.randn_like(model.lm_head.weight))
    # Special tokens would end completions early.
    model.lm_head.weight.data[:4] = 0
    model.save_pretrained(folder)
    return folder


def save_adapter(base: Path, folder: Path, *, seed: int, rank: int = 4, **config: Any) -> Path:
    """Write an adapter with large random weights, and return its folder."""
    torch.manual_seed(seed)
    settings = {"lora_alpha": 8, "target_modules": "all-linear", "task_type": "CAUSAL_LM"}
    model = get_peft_model(
        load_model(base, torch.float32), LoraConfig(r=rank, **{**settings, **config})
    )
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.3)
    model.save_pretrained(folder)
    (folder / "README.md").unlink(missing_ok=True)
    return folder


def save_full(base: Path, folder: Path, *, seed: int) -> Path:
    """Write the base model with other weights, and return its folder."""
    torch.manual_seed(seed)
    model = load_model(base, torch.float32)
    for parameter in model.parameters():
        parameter.data.add_(torch.randn_like(parameter) * 0.1)
    model.save_pretrained(folder)
    load_tokenizer(base).save_pretrained(folder)
    return folder


def add_manifest(folder: Path, base: Path, store: Path, method: TuningMethod) -> None:
    """Make a checkpoint of a folder that `save_adapter` or `save_full` wrote."""
    facts = CheckpointFacts(
        method=method,
        base=str(base),
        base_digest=build_base_digest(base, store),
        seed=0,
        steps=1,
        examples=1,
        dropped=0,
        precision="float32",
        train_loss=1.0,
        parameters_total=1,
        parameters_trained=1,
    )
    save_manifest(folder, facts)
