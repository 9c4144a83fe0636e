"""How much memory a worker needs at the peak of a step. Pure; docs/sizing.md has the formulas.

Peak: at the beginning of a backward pass every activation is there, beside weights, gradients of
earlier micro-batches and the optimizer's state.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from tunebench_api.sizing.shape import ModelShape
from tunebench_api.v1alpha1 import (
    ActivationCheckpointing,
    DeepSpeed,
    LoraTarget,
    Offload,
    Precision,
    TuningMethod,
    TuningSpec,
)

GIB = 1 << 30
# Of a GPU: the rest is fragments, after what CUDA and NCCL keep for themselves.
_USABLE, _CUDA_BYTES = 0.9, 1 * GIB

# NF4 with its scales in 8 bits: 4 bits, 8 for each 64 weights and 32 for each 64 * 256.
_NF4_BYTES = 0.5 + 1 / 64 + 4 / (64 * 256)
_FLOAT_BYTES, _HALF_BYTES = 4, 2
# AdamW keeps two moments.
_MOMENT_BYTES = 8
# Logits of a learnt token: as computed, chosen, as float32, and their log-softmax, in the backward
# pass its gradients in their place; each way 12 bytes for each word of the vocabulary.
_LOGIT_BYTES = 12
# Learnt tokens of an example, at most; answers about pull requests are shorter.
LONGEST_ANSWER = 2048
# DeepSpeed's defaults for ZeRO-3, in parameters: gathered at once, and fetched ahead.
_ZERO3_LIVE = 1_000_000_000
# Buckets of gradients and of parameters on the way to other workers (`train.engine`).
_BUCKET_BYTES = 2 * 50_000_000 * _FLOAT_BYTES


@dataclass(frozen=True)
class Load:
    """How a training is spread out, and how much of it a worker takes at once."""

    workers: int
    deepspeed: DeepSpeed
    # Rows of a forward pass, and the most tokens of a row.
    rows: int
    tokens: int
    # Learnt tokens of a row, at most.
    answer: int
    # Whether the arithmetic is in bfloat16.
    half: bool
    # Whether activations are computed again in the backward pass.
    recompute: bool = False
    # What lies in the memory of the CPU.
    offload: Offload = Offload.NONE


@dataclass(frozen=True)
class MemoryNeed:
    """Bytes of one worker, by what they are for."""

    # Frozen weights, and copies of trained ones in bfloat16.
    weights: int
    # Weights, gradients and optimizer's state of what is trained.
    trained: int
    activations: int
    logits: int
    # Buffers of the exchange between workers.
    exchange: int = 0
    # What an allocator keeps of what comes and goes.
    kept: int = 0
    # Copy of the training's state, from which a resume point is written.
    copied: int = 0

    @property
    def total(self) -> int:
        """All of it."""
        held = self.weights + self.trained + self.exchange
        return held + self.activations + self.logits + self.kept + self.copied

    def on_cpus(self, copied: int = 0) -> MemoryNeed:
        """Return the need of a process on CPUs, of which glibc keeps as much again."""
        return replace(self, kept=self.activations + self.logits, copied=copied)


def count_usable(gpu_bytes: int) -> int:
    """Return the bytes of a GPU's memory that a training may need."""
    return round(_USABLE * gpu_bytes) - _CUDA_BYTES


def build_load(tuning: TuningSpec, *, half: bool) -> Load:
    """Return the heaviest load that settings allow: every row as long as may be."""
    return Load(
        workers=tuning.workers,
        deepspeed=tuning.deepspeed,
        rows=tuning.micro_batch_size,
        tokens=tuning.max_length,
        answer=min(tuning.max_length, LONGEST_ANSWER),
        half=half,
        recompute=tuning.activation_checkpointing is ActivationCheckpointing.ENABLED,
        offload=tuning.offload,
    )


def is_half(tuning: TuningSpec, *, gpu: bool) -> bool:
    """Whether the arithmetic is in bfloat16; what Auto is on a CPU is not known beforehand."""
    if tuning.precision is Precision.AUTO:
        return gpu
    return tuning.precision is Precision.BFLOAT16


def estimate_memory(shape: ModelShape, tuning: TuningSpec, load: Load) -> MemoryNeed:
    """Estimate what a worker needs at the peak of a step."""
    weights, gathered = _estimate_weights(shape, tuning, load)
    trained, exchange = _estimate_trained(count_trained(shape, tuning), load)
    learnt = load.rows * min(load.answer, load.tokens)
    return MemoryNeed(
        weights=weights,
        trained=trained,
        activations=_estimate_activations(shape, tuning, load),
        logits=learnt * shape.vocabulary * _LOGIT_BYTES,
        exchange=exchange + gathered,
    )


def count_trained(shape: ModelShape, tuning: TuningSpec) -> int:
    """Count the parameters that are trained."""
    if tuning.method is TuningMethod.FULL:
        return shape.parameters
    attention = tuning.lora.target is LoraTarget.ATTENTION
    widths = sum(map(sum, shape.list_layers(attention_only=attention)))
    return tuning.lora.rank * widths * count_backward_blocks(shape, tuning)


def count_backward_blocks(shape: ModelShape, tuning: TuningSpec) -> int:
    """Count the blocks that the backward pass goes through."""
    if tuning.method is TuningMethod.FULL or tuning.lora.last_blocks is None:
        return shape.blocks
    return min(shape.blocks, tuning.lora.last_blocks)


def estimate_block(shape: ModelShape, tuning: TuningSpec, load: Load) -> int:
    """Return the bytes that one block keeps of a token for the backward pass.

    Counted in transformers' own code, layer by layer (docs/sizing.md); attention keeps no matrix of
    all tokens by all tokens.
    """
    full = tuning.method is TuningMethod.FULL
    size = _HALF_BYTES if load.half else _FLOAT_BYTES
    inward = 2 if shape.gated else 1
    # Layers that are not fused with their adapters (`train.fused_lora`) have copies in bfloat16.
    plain = load.half and not full and not _is_fused(tuning, load)
    # Queries, keys, values and the attention's output.
    attention = size * ((3 if plain else 2) * shape.query + 2 * shape.key)
    # Both factors, the activation function's input and the product; without a gate only two.
    feed_forward = size * shape.feed_forward * (4 if shape.gated else 2)
    # Norms compute in float32: their input, where they are trained their normalised input too,
    # and their output.
    norms = 2 * _FLOAT_BYTES * shape.hidden * (2 if full else 1)
    # Where it is a copy, each layer has its input for itself; else they share it.
    apart = plain or (load.half and full)
    inputs = size * shape.hidden * (3 + inward if apart else 2)
    return attention + feed_forward + norms + inputs + _estimate_dropout(shape, tuning)


def estimate_copy(shape: ModelShape, tuning: TuningSpec, load: Load) -> int:
    """Return the bytes of the CPU's memory that hold a state while its resume point is written."""
    count = count_trained(shape, tuning)
    return _share_out((_FLOAT_BYTES + _MOMENT_BYTES) * count, load)


def estimate_host(shape: ModelShape, tuning: TuningSpec, load: Load) -> int:
    """Return the bytes of the CPU's memory that a worker with a GPU needs.

    First it loads the weights there, and lets them go; then its state is copied, and what is
    offloaded lies there for good.
    """
    running = estimate_copy(shape, tuning, load) + _estimate_offloaded(shape, tuning, load)
    return max(estimate_loading(shape, tuning, half=load.half), running)


def estimate_loading(shape: ModelShape, tuning: TuningSpec, *, half: bool) -> int:
    """Return the bytes of the CPU's memory that a worker needs to load the weights."""
    if tuning.method is TuningMethod.QLORA:
        # Tensor by tensor, each packed at once.
        return 2 * shape.output * (_HALF_BYTES if half else _FLOAT_BYTES)
    kept_half = half and tuning.method is not TuningMethod.FULL
    return shape.parameters * (_HALF_BYTES if kept_half else _FLOAT_BYTES)


def _estimate_activations(shape: ModelShape, tuning: TuningSpec, load: Load) -> int:
    block = estimate_block(shape, tuning, load)
    # One block more: its gradients while it is computed backward.
    held = block * (count_backward_blocks(shape, tuning) + 1)
    if load.recompute:
        small = load.half and tuning.method is not TuningMethod.FULL
        # What goes into each block, and one block whole.
        entry = shape.hidden * (_HALF_BYTES if small else _FLOAT_BYTES)
        held = entry * shape.blocks + 2 * block
    return round(load.rows * load.tokens * held)


def _is_fused(tuning: TuningSpec, load: Load) -> bool:
    dropped = float(tuning.lora.dropout) > 0
    return tuning.method is TuningMethod.LORA and not (dropped or load.deepspeed is DeepSpeed.ZERO3)


def _estimate_dropout(shape: ModelShape, tuning: TuningSpec) -> int:
    """Return the bytes for each token of what goes into the adapters once some of it is dropped."""
    if tuning.method is TuningMethod.FULL or not float(tuning.lora.dropout):
        return 0
    attention = tuning.lora.target is LoraTarget.ATTENTION
    # In float32, and a mask of a byte.
    return sum(5 * width for width, _ in shape.list_layers(attention_only=attention))


def _estimate_weights(shape: ModelShape, tuning: TuningSpec, load: Load) -> tuple[int, int]:
    """Return the bytes of weights that are not trained, and of those that ZeRO-3 has gathered."""
    size = _HALF_BYTES if load.half else _FLOAT_BYTES
    live = min(shape.parameters, _ZERO3_LIVE) if load.deepspeed is DeepSpeed.ZERO3 else 0
    if tuning.method is TuningMethod.FULL:
        # The arithmetic's own copies, for as long as a micro-batch takes.
        held = live or shape.parameters
        return (_HALF_BYTES * held if load.half else 0), _FLOAT_BYTES * live
    if tuning.method is TuningMethod.QLORA:
        rest = shape.parameters - shape.linear
        # The largest layer is unpacked while it computes.
        unpacked = max(map(_area, shape.list_layers()))
        return round(shape.linear * _NF4_BYTES) + size * (max(rest, 0) + unpacked), 0
    frozen = shape.parameters * size
    if live:
        return 0 if load.offload is Offload.ALL else frozen // load.workers, size * live
    return frozen, 0


def _estimate_trained(count: int, load: Load) -> tuple[int, int]:
    """Return the bytes of what is trained, with its gradients and its optimizer; and of buckets."""
    whole, shared = _FLOAT_BYTES * count, load.workers
    state = _MOMENT_BYTES * count
    if load.deepspeed in {DeepSpeed.NONE, DeepSpeed.AUTO}:
        # Data parallelism has buckets as large as the gradients.
        return 2 * whole + state, whole if load.workers > 1 else 0
    # ZeRO steps on copies of its own, where the optimizer is.
    state = (state + whole) // shared if load.offload is Offload.NONE else 0
    if load.deepspeed is DeepSpeed.ZERO1:
        return 2 * whole + state, _BUCKET_BYTES
    if load.deepspeed is DeepSpeed.ZERO2:
        return whole + whole // shared + state, _BUCKET_BYTES
    if load.offload is Offload.ALL:
        return 0, _BUCKET_BYTES
    return 2 * whole // shared + state, _BUCKET_BYTES


def _estimate_offloaded(shape: ModelShape, tuning: TuningSpec, load: Load) -> int:
    """Return the bytes of what a GPU does not hold because the CPU's memory does."""
    if load.offload is Offload.NONE:
        return 0
    count = count_trained(shape, tuning)
    # Weights of ZeRO's own, their gradients and moments.
    held = (2 * _FLOAT_BYTES + _MOMENT_BYTES) * count
    if load.offload is Offload.ALL:
        size = _HALF_BYTES if load.half else _FLOAT_BYTES
        full = tuning.method is TuningMethod.FULL
        held += _FLOAT_BYTES * count + (0 if full else size * shape.parameters)
    return _share_out(held, load)


def _share_out(size: int, load: Load) -> int:
    """Return a worker's part of a training's state: all of it, or with ZeRO a share."""
    whole = load.deepspeed in {DeepSpeed.NONE, DeepSpeed.AUTO}
    return size if whole else size // load.workers


def _area(layer: tuple[int, int]) -> int:
    return layer[0] * layer[1]
