"""The model as it goes into training: its number format, and what of it is trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from torch import nn

from tunebench_api.v1alpha1 import LoraSpec, LoraTarget, Precision, TuningMethod, TuningSpec
from tunebench_jobs.errors import InputError
from tunebench_jobs.models import load_model
from tunebench_jobs.train.anatomy import find_block
from tunebench_jobs.train.fused_lora import use_fused_lora

_CPU_FLAGS = frozenset({"amx_bf16", "avx512_bf16", "bf16"})


def find_precision(wanted: Precision, device: torch.device) -> Precision:
    """Return the format to compute in; Auto is bfloat16 where the hardware computes it."""
    if wanted is not Precision.AUTO:
        return wanted
    if device.type == "cuda":
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        native = not _CPU_FLAGS.isdisjoint(_load_cpu_flags())
    return Precision.BFLOAT16 if native else Precision.FLOAT32


def prepare_model(
    folder: Path, tuning: TuningSpec, precision: Precision, seed: int, device: torch.device
) -> Any:
    """Load a base model and mark what is trained, which is always in float32.

    Frozen weights are in the format of the arithmetic, as a copy in float32 would say no more, or
    with QLoRA in 4 bits, from which they are unpacked to it.
    """
    half = precision is Precision.BFLOAT16 and tuning.method is not TuningMethod.FULL
    model = load_model(
        folder,
        torch.bfloat16 if half else torch.float32,
        nf4_device=device if tuning.method is TuningMethod.QLORA else None,
    )
    torch.manual_seed(seed)
    if tuning.method is TuningMethod.FULL:
        return model
    try:
        return get_peft_model(model, build_lora_config(model, tuning), autocast_adapter_dtype=True)
    except ValueError as error:
        msg = f"model must take adapters in its linear layers: {error}; try `method: Full`"
        raise InputError(msg, reason="NoLayersToAdapt") from error


def build_lora_config(model: Any, tuning: TuningSpec) -> Any:
    """Return PEFT's config for the layers that the spec asks for."""
    return use_fused_lora(
        LoraConfig(
            task_type="CAUSAL_LM",
            r=tuning.lora.rank,
            lora_alpha=tuning.lora.alpha,
            lora_dropout=float(tuning.lora.dropout),
            target_modules=find_target_layers(model, tuning.lora),
        )
    )


def find_target_layers(model: Any, lora: LoraSpec) -> list[str]:
    """Return the names of the linear layers to adapt; never the output layer.

    Names are short (`q_proj`) where they mean the same layers as the full ones.

    Raises:
        InputError: The model has no such layers.
    """
    output = model.get_output_embeddings()
    linear = {name: part for name, part in model.named_modules() if isinstance(part, nn.Linear)}
    wanted = {
        name
        for name, part in linear.items()
        if part is not output
        and (lora.target is LoraTarget.ALL_LINEAR or "att" in name.lower())
        and is_in_last_blocks(name, model.config.num_hidden_layers, lora.last_blocks)
    }
    if not wanted:
        msg = (
            f"model must have linear layers for `lora.target: {lora.target}`, got none; "
            "use AllLinear"
        )
        raise InputError(msg, reason="NoLayersToAdapt")
    short = {name.rpartition(".")[2] for name in wanted}
    meant = {name for name in linear if name.rpartition(".")[2] in short}
    return sorted(short if meant == wanted else wanted)


def is_in_last_blocks(name: str, blocks: int, last: int | None) -> bool:
    """Return whether a layer such as `model.layers.7.mlp.up_proj` is in the last blocks."""
    block = find_block(name)
    return last is None or (block is not None and block >= blocks - last)


def build_adapter_keys(model: Any) -> set[str]:
    """Return the names of the tensors that a complete adapter file of a LoRA model has."""
    return {
        f"{name}.{part}.weight"
        for name, module in model.named_modules()
        if hasattr(module, "lora_A") and "default" in module.lora_A
        for part in ("lora_A", "lora_B")
    }


def _load_cpu_flags() -> set[str]:
    path = Path("/proc/cpuinfo")
    if not path.is_file():
        return set()
    lines = path.read_text().splitlines()
    # x86 says flags, ARM says Features.
    marked = [line for line in lines if line.startswith(("flags", "Features"))]
    return set(marked[0].split()) if marked else set()
