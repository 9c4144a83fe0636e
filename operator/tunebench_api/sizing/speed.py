"""How long a training takes on GPUs. Pure; docs/sizing.md has the formulas and their sources."""

from __future__ import annotations

from tunebench_api.sizing.memory import count_backward_blocks, count_trained
from tunebench_api.sizing.shape import ModelShape
from tunebench_api.v1alpha1 import ActivationCheckpointing, TuningMethod, TuningSpec

# Share of a GPU's peak that a training reaches: published are 41 to 46% on one H100, and 30 to 32%
# where several share one model.
ALONE, TOGETHER = 0.4, 0.3


def count_flops(shape: ModelShape, tuning: TuningSpec, tokens: int) -> float:
    """Return the floating-point operations that training takes for each token of a long row.

    Two for each parameter forward, two backward through each, and two for each weight's gradient,
    which frozen weights have none of; attention looks at half of the tokens on average.
    """
    computed = shape.linear + shape.output
    attended = shape.blocks * shape.query * tokens
    again = 0.0
    if tuning.activation_checkpointing is ActivationCheckpointing.ENABLED:
        again = 2.0 * shape.linear + 2.0 * attended
    if tuning.method is TuningMethod.FULL:
        return 6.0 * computed + 6.0 * attended + again
    through = count_backward_blocks(shape, tuning) / shape.blocks
    backward = 2.0 * shape.output + 2.0 * shape.linear * through
    adapters = 6.0 * count_trained(shape, tuning)
    return 2.0 * computed + backward + 2.0 * attended * (1 + 2 * through) + adapters + again


def estimate_hours(
    shape: ModelShape, tuning: TuningSpec, *, examples: int, workers: int, teraflops: float
) -> float:
    """Estimate the hours of a training whose examples are half as long as they may be."""
    tokens = max(1, tuning.max_length // 2)
    count = examples * tuning.epochs
    if tuning.max_steps is not None:
        count = min(count, tuning.max_steps * tuning.batch_size)
    work = count_flops(shape, tuning, tokens) * tokens * count
    reached = ALONE if workers == 1 else TOGETHER
    return work / (workers * teraflops * 1e12 * reached) / 3600
