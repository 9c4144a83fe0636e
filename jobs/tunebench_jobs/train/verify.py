"""The checkpoint, loaded anew, is the model that was trained, and stays so when it is merged."""

from __future__ import annotations

import gc
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from tunebench_api.v1alpha1 import Precision, TuningMethod
from tunebench_jobs.canaries import (
    MERGED,
    PRINT_TOKENS,
    SAVED,
    Canary,
    CanaryFile,
    Losses,
    build_examples,
    build_template_digest,
    build_tokens_digest,
    check_losses,
    find_coarser,
)
from tunebench_jobs.chat import Example
from tunebench_jobs.errors import InputError
from tunebench_jobs.models import load_model, load_tokenizer
from tunebench_jobs.train.examples import TrainSet
from tunebench_jobs.train.loss import AnswerLoss, build_rows, compute_token_losses

# For what the canaries compute, on top of the weights.
_SPARE_BYTES = 2 << 30


@dataclass(frozen=True)
class Saved:
    """A checkpoint, and how it was trained."""

    checkpoint: Path
    base: Path
    method: TuningMethod
    precision: Precision
    device: torch.device

    @property
    def autocast(self) -> torch.dtype | None:
        """The format of the arithmetic, where it is not that of the weights."""
        return torch.bfloat16 if self.precision is Precision.BFLOAT16 else None


def build_canary_file(
    train_set: TrainSet, tokenizer: Any, losses: Sequence[Losses], *formats: Precision
) -> CanaryFile:
    """Build what others know the trained model by."""
    return CanaryFile(
        template_digest=build_template_digest(tokenizer),
        precision=find_coarser(*formats),
        canaries=tuple(
            Canary(
                system=row.system,
                user=row.user,
                answer=row.answer,
                tokens_digest=build_tokens_digest(train_set.examples[index]),
                losses=each[:PRINT_TOKENS],
            )
            for (index, row), each in zip(train_set.canaries.items(), losses, strict=True)
        ),
    )


def check_saved(saved: Saved, canaries: CanaryFile, *, free_bytes: float | None = None) -> None:
    """Load a checkpoint as others will, and compare it with the model that was trained.

    Args:
        saved: The checkpoint.
        canaries: What the trained model made of its canaries.
        free_bytes: Of the device. Absent: as the device says.

    Raises:
        InputError: They differ, or the adapter differs from its merged weights.
    """
    examples = build_examples(canaries, load_tokenizer(saved.checkpoint))
    model = load_saved(saved, free_bytes=free_bytes)
    found = compute_losses(model, examples, saved)
    check_losses(canaries.losses, found, canaries.precision, SAVED)
    if saved.method is not TuningMethod.LORA:
        # Weights in 4 bits are not merged with.
        return
    # The merged weights are rounded to the format of the base model's.
    merged = take_back(model).merge_and_unload()
    merged = place_model(merged, saved.device, free_bytes=free_bytes)
    check_losses(found, compute_losses(merged, examples, saved), canaries.precision, MERGED)


def load_saved(saved: Saved, *, free_bytes: float | None = None) -> Any:
    """Load the model of a checkpoint; see `place_model`.

    Raises:
        InputError: It cannot be loaded.
    """
    if saved.method is TuningMethod.FULL:
        whole = load_model(saved.checkpoint, torch.float32)
        return place_model(whole, saved.device, free_bytes=free_bytes)
    from peft import PeftModel  # noqa: PLC0415 - only for adapters

    packed = saved.method is TuningMethod.QLORA
    base = load_model(
        saved.base, saved.autocast or torch.float32, nf4_device=saved.device if packed else None
    )
    try:
        model = PeftModel.from_pretrained(base, str(saved.checkpoint))
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        msg = f"checkpoint must be an adapter of its base model: {error}; {SAVED.remedy}"
        raise InputError(msg, reason=SAVED.reason) from error
    return model if packed else place_model(model, saved.device, free_bytes=free_bytes)


def place_model(model: Any, device: torch.device, *, free_bytes: float | None = None) -> Any:
    """Move a model to a device; where it does not fit, have its layers moved as they are needed.

    Training may have spread it over several devices; here is one.

    Args:
        model: It lies in host memory.
        device: Where it computes.
        free_bytes: Of the device. Absent: as the device says.
    """
    free = _find_free(device) if free_bytes is None else free_bytes
    parts = [*model.parameters(), *model.buffers()]
    if sum(part.numel() * part.element_size() for part in parts) + _SPARE_BYTES <= free:
        return model.to(device)
    from accelerate import cpu_offload  # noqa: PLC0415 - for large models only

    return cpu_offload(model, execution_device=device)


def take_back(model: Any) -> Any:
    """Return a model whose layers no longer move, in host memory if they did."""
    from accelerate.hooks import remove_hook_from_module  # noqa: PLC0415 - as above

    return remove_hook_from_module(model, recurse=True)


def _find_free(device: torch.device) -> float:
    """Return the free bytes of a device; host memory has the model already."""
    return float(torch.cuda.mem_get_info(device)[0]) if device.type == "cuda" else math.inf


def compute_losses(model: Any, examples: Sequence[Example], saved: Saved) -> list[Losses]:
    """Return the losses of the canaries' first answer tokens."""
    module = AnswerLoss(model, autocast=saved.autocast)
    return [
        # Alone in its row, an example needs no padding.
        compute_token_losses(module, build_rows([example], 0, saved.device))[:PRINT_TOKENS]
        for example in examples
    ]


def free_memory() -> None:
    """Give back what the trained model took, once nothing refers to it any more."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
