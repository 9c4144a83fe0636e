"""How long a training takes on GPUs. Pure; docs/sizing.md has the formulas and their sources."""

from __future__ import annotations

from tunebench_api.sizing.memory import count_backward_blocks, count_trained
from tunebench_api.sizing.operations import cost_of_pair, cost_of_weight
from tunebench_api.sizing.shape import ModelShape
from tunebench_api.v1alpha1 import ActivationCheckpointing, TuningMethod, TuningSpec

# Share of a GPU's peak that a training reaches: published are 41 to 46% on one H100, and 30 to 32%
# where several share one model.
ALONE, TOGETHER = 0.4, 0.3


def count_flops(shape: ModelShape, tuning: TuningSpec, tokens: int) -> float:
    """Return the floating-point operations that training takes for each token of a long row.

    Every token is taken to have logits; attention looks at half of the tokens on average.
    """
    full = tuning.method is TuningMethod.FULL
    through = count_backward_blocks(shape, tuning)
    forward = _count_block(shape, tokens)
    backward = _count_block(shape, tokens, flows=True, learns=full)
    work = through * backward + (shape.blocks - through) * forward
    work += shape.output * cost_of_weight(flows=True, learns=full)
    if not full:
        work += count_trained(shape, tuning) * cost_of_weight(flows=True, learns=True)
    if tuning.activation_checkpointing is ActivationCheckpointing.ENABLED:
        work += shape.blocks * forward
    return work


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


def _count_block(
    shape: ModelShape, tokens: int, *, flows: bool = False, learns: bool = False
) -> float:
    """Return the operations of a block without adapters for each token."""
    weights = shape.block_linear * cost_of_weight(flows=flows, learns=learns)
    return weights + cost_of_pair(shape.query, flows=flows) * tokens / 2
