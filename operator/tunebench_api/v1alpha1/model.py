"""The models under test: how each is tuned, placed and served."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from tunebench_api.v1alpha1.rules import NeededFor
from tunebench_api.v1alpha1.wire import (
    AddedLater,
    Decimal,
    GpuCount,
    HowOnly,
    Name,
    Positive,
    Share,
    ShortText,
    Uri,
    Wire,
)


class TuningMethod(StrEnum):
    """What fine-tuning changes."""

    LORA = "LoRA"
    QLORA = "QLoRA"
    FULL = "Full"


class Overflow(StrEnum):
    """What happens to an example that is longer than `maxLength`."""

    DROP = "Drop"
    FAIL = "Fail"


class Packing(StrEnum):
    """Whether several examples share one row."""

    NONE = "None"
    BEST_FIT = "BestFit"


class DeepSpeed(StrEnum):
    """Which ZeRO stage partitions the training state."""

    NONE = "None"
    AUTO = "Auto"
    ZERO1 = "ZeRO1"
    ZERO2 = "ZeRO2"
    ZERO3 = "ZeRO3"


class Offload(StrEnum):
    """What of the training state lies in the memory of the CPU."""

    NONE = "None"
    OPTIMIZER = "Optimizer"
    ALL = "OptimizerAndParameters"


class ActivationCheckpointing(StrEnum):
    """Whether activations are computed again in the backward pass, rather than kept for it."""

    AUTO = "Auto"
    ENABLED = "Enabled"
    DISABLED = "Disabled"


class Precision(StrEnum):
    """Number format of the forward and backward pass."""

    AUTO = "Auto"
    FLOAT32 = "Float32"
    BFLOAT16 = "BFloat16"


class LoraTarget(StrEnum):
    """Which layers get an adapter."""

    ALL_LINEAR = "AllLinear"
    ATTENTION = "Attention"


class LoraSpec(Wire):
    """Size and place of the adapters."""

    rank: Annotated[int, Field(ge=1, le=512)] = Field(
        default=16, description="Rank of the update. Absent: 16."
    )
    alpha: Annotated[int, Field(ge=1, le=4096)] = Field(
        default=32, description="Scale of the update, divided by the rank. Absent: 32."
    )
    dropout: Share = Field(default="0", description="Dropout before the adapter. Absent: 0.")
    target: LoraTarget = Field(
        default=LoraTarget.ALL_LINEAR, description="Layers to adapt. Absent: AllLinear."
    )
    last_blocks: Annotated[int, Field(ge=1, le=1024)] | None = Field(
        default=None,
        description="Adapt only so many transformer blocks, counted from the output; the backward "
        "pass ends at the first of them. Absent: all blocks.",
    )


class TuningSpec(Wire):
    """How a model is fine-tuned."""

    rules = (
        NeededFor("deepspeed", ("ZeRO1", "ZeRO2", "ZeRO3"), field="offload", value="Optimizer"),
        NeededFor("deepspeed", ("ZeRO3",), field="offload", value="OptimizerAndParameters"),
    )

    method: TuningMethod = Field(
        default=TuningMethod.LORA,
        description="LoRA: adapters beside the frozen base model. QLoRA: the same with the base "
        "in 4 bits (NF4), in training and in serving, and deepspeed None. Full: all weights. "
        "Absent: LoRA.",
    )
    lora: LoraSpec = Field(
        default=LoraSpec(), description="Adapters of LoRA and QLoRA. Absent: the defaults."
    )
    epochs: Annotated[int, Field(ge=1, le=1000)] = Field(
        default=1, description="Passes over the training set. Absent: 1."
    )
    max_steps: Annotated[int, Field(ge=1, le=10_000_000)] | None = Field(
        default=None, description="Optimizer steps after which to stop. Absent: no such limit."
    )
    learning_rate: Positive = Field(default="2e-4", description="Peak learning rate. Absent: 2e-4.")
    warmup_steps: Annotated[int, Field(ge=0, le=100_000)] = Field(
        default=0, description="Steps to reach the peak learning rate. Absent: 0."
    )
    weight_decay: Decimal = Field(default="0", description="AdamW weight decay. Absent: 0.")
    batch_size: Annotated[int, Field(ge=1, le=4096)] = Field(
        default=8, description="Examples to an optimizer step, over all workers. Absent: 8."
    )
    micro_batch_size: Annotated[int, Field(ge=1, le=1024)] = Field(
        default=1,
        description="Examples to a forward pass of one worker; halved once, with the same "
        "batchSize, where memory runs out. With `resources.gpus: Auto` on GPUs, 1 means as many as "
        "fit. Absent: 1.",
    )
    max_length: Annotated[int, Field(ge=16, le=1_048_576)] = Field(
        default=8192, description="Most tokens of prompt and answer together. Absent: 8192."
    )
    overflow: Overflow = Field(
        default=Overflow.DROP,
        description="Drop longer examples and count them, or Fail; none is cut. Absent: Drop.",
    )
    packing: Packing = Field(
        default=Packing.NONE,
        description="BestFit: the examples of a step share rows of at most microBatchSize times "
        "maxLength tokens, each attends to itself alone, and the loss is the same as without. "
        "None: microBatchSize examples to a pass, padded only where a model cannot do without. "
        "Absent: None.",
    )
    deepspeed: DeepSpeed = Field(
        default=DeepSpeed.NONE,
        description="ZeRO stage. Auto: the one with the least to exchange that fits the memory. "
        "Absent: None (plain data parallel).",
    )
    activation_checkpointing: Annotated[ActivationCheckpointing, HowOnly()] = Field(
        default=ActivationCheckpointing.AUTO,
        description="Enabled: activations are computed again in the backward pass rather than "
        "kept, which takes a fraction of the memory and a third to a half more work. Auto: where "
        "they would not fit a GPU otherwise. The result is the same. Absent: Auto.",
    )
    offload: Annotated[Offload, AddedLater()] = Field(
        default=Offload.NONE,
        description="What lies in the CPU's memory, for models that do not fit the GPU's: the "
        "Optimizer's state, whose steps the CPU then takes, with deepspeed ZeRO1 to ZeRO3; or "
        "OptimizerAndParameters, with ZeRO3. Slower. Absent: None.",
    )
    precision: Precision = Field(
        default=Precision.AUTO,
        description="Auto: bfloat16 where the hardware computes it. Absent: Auto.",
    )
    workers: Annotated[int, Field(ge=1, le=4096)] = Field(
        default=1,
        description="Training workers; with `resources.gpus`, it says how many. Absent: 1.",
    )
    checkpoint_steps: Annotated[int, Field(ge=1, le=1_000_000), HowOnly()] = Field(
        default=50, description="Optimizer steps between checkpoints. Absent: 50."
    )


class ResourcesSpec(Wire):
    """Where a model is trained and served in a cluster."""

    pool: Name | None = Field(
        default=None, description="Node pool named in the Helm values. Absent: the default pool."
    )
    gpus: GpuCount | None = Field(
        default=None,
        description="GPUs that train it, each of them a worker. Auto: the fewest that hold it, "
        "more where it would take longer than a night, and the micro-batch that fits; without a "
        "GPU, one worker on CPUs. Absent: `tuning.workers`, a GPU for each in a pool with GPUs.",
    )


class EvaluateUntuned(StrEnum):
    """Whether the base model is judged beside its fine-tuned variants."""

    ENABLED = "Enabled"
    DISABLED = "Disabled"


class ModelSpec(Wire):
    """One open model under test."""

    name: Name = Field(description="Name in the leaderboard. Must be given.")
    base: Uri = Field(
        description="Base model: a Hugging Face id, a folder (./ or / first), or "
        "package://NAME for a folder in an installed Python package. Must be given."
    )
    revision: ShortText | None = Field(
        default=None, description="Commit of the Hugging Face repository. Absent: the newest."
    )
    gguf_file: ShortText | None = Field(
        default=None, description="GGUF file in `base` to load the weights from. Absent: none."
    )
    size_billions: Positive | None = Field(
        default=None, description="Parameters in billions, to show. Absent: counted."
    )
    family: ShortText | None = Field(
        default=None,
        description="Vendor family of the base model, so that judges of the same one are flagged. "
        "Absent: unknown.",
    )
    evaluate_untuned: EvaluateUntuned = Field(
        default=EvaluateUntuned.ENABLED,
        description="Judge the base model too, once for all models of one base. Absent: Enabled.",
    )
    tuning: TuningSpec = Field(
        default=TuningSpec(), description="How it is fine-tuned. Absent: LoRA with the defaults."
    )
    resources: ResourcesSpec = Field(
        default=ResourcesSpec(), description="Where it runs in a cluster. Absent: anywhere."
    )
