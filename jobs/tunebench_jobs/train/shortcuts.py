"""What makes a training faster and changes nothing else, chosen by model and hardware."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from tunebench_api.v1alpha1 import DeepSpeed, Packing, TuningMethod, TuningSpec
from tunebench_jobs.errors import InputError
from tunebench_jobs.train.answer_rows import use_answer_rows
from tunebench_jobs.train.fused_lora import count_fused
from tunebench_jobs.train.segments import use_segments
from tunebench_jobs.train.varlen import attend_to_rows, can_take_rows, find_facts, try_rows


@dataclass(frozen=True)
class Shortcuts:
    """Which ways were taken, in words that the result keeps."""

    attention: str
    adapters: str
    last_block: str

    @property
    def unpadded(self) -> bool:
        """Whether the examples of a micro-batch can share a row."""
        return self.attention != "SDPA"

    @property
    def answer_rows(self) -> bool:
        """Whether the last block computes the positions of answers alone."""
        return self.last_block == "AnswersOnly"


def take_shortcuts(
    model: Any, tuning: TuningSpec, device: torch.device, *, half: bool
) -> Shortcuts:
    """Prepare a model, as it is before it goes to its device, and say what was done.

    Raises:
        InputError: The model's attention cannot be kept apart by example, and rows are packed.
    """
    return Shortcuts(
        attention=_choose_attention(model, tuning, device, half=half),
        adapters=_describe_adapters(model, tuning),
        last_block="AnswersOnly" if use_answer_rows(model) else "Whole",
    )


def _choose_attention(model: Any, tuning: TuningSpec, device: torch.device, *, half: bool) -> str:
    """Return the kernel: by rows, by examples, or transformers' own, for which rows are padded."""
    dtype = torch.bfloat16 if half else torch.float32
    if can_take_rows(find_facts(model, device, dtype)) and try_rows(model, device, dtype):
        use_segments(model, attend_to_rows)
        return "VariableLength"
    try:
        use_segments(model)
    except InputError:
        if tuning.packing is Packing.BEST_FIT:
            raise
        return "SDPA"
    return "SDPAByExample"


def _describe_adapters(model: Any, tuning: TuningSpec) -> str:
    if tuning.method is TuningMethod.FULL:
        return "None"
    spread = tuning.deepspeed is DeepSpeed.ZERO3
    plain = float(tuning.lora.dropout) > 0.0
    return "Fused" if count_fused(model) and not spread and not plain else "PEFT"
