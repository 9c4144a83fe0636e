"""How a training is carried out where the run leaves it open; no digest knows.

The micro-batches of a step, the workers and the ZeRO stage change in which order numbers are added,
and nothing else of the result.
"""

from __future__ import annotations

from tunebench_api.v1alpha1 import ActivationCheckpointing, DeepSpeed, TuningSpec, Wire

# Of a training's summary: how it was carried out, for people.
SIZING_KEY = "sizing"


class Sizing(Wire):
    """Workers, ZeRO stage and micro-batch of a training."""

    workers: int
    deepspeed: DeepSpeed
    micro_batch_size: int
    # Whether activations are computed again in the backward pass; absent: as set.
    recompute: bool | None = None
    # Why these, for people.
    why: str = ""
    # Most memory that a worker needs, in bytes, as estimated; absent: nothing was known.
    needed_bytes: int | None = None
    # The micro-batch before it was halved for lack of memory, which happens once.
    shrunk_from: int | None = None

    def shrink(self) -> Sizing | None:
        """Return half the micro-batch; none where it was halved before, or cannot be."""
        if self.shrunk_from is not None or self.micro_batch_size == 1:
            return None
        half = self.micro_batch_size // 2
        return self.model_copy(
            update={"micro_batch_size": half, "shrunk_from": self.micro_batch_size}
        )


def build_written(tuning: TuningSpec) -> Sizing:
    """Return what the settings themselves say."""
    return Sizing(
        workers=tuning.workers,
        deepspeed=tuning.deepspeed,
        micro_batch_size=tuning.micro_batch_size,
    )


def settle(tuning: TuningSpec, sizing: Sizing | None) -> TuningSpec:
    """Return settings that leave nothing open."""
    if sizing is None:
        return tuning
    settled = {
        "workers": sizing.workers,
        "deepspeed": sizing.deepspeed,
        "micro_batch_size": sizing.micro_batch_size,
    }
    if sizing.recompute is not None:
        kinds = ActivationCheckpointing
        kind = kinds.ENABLED if sizing.recompute else kinds.DISABLED
        return tuning.model_copy(update={**settled, "activation_checkpointing": kind})
    return tuning.model_copy(update=settled)
