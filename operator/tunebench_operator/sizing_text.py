"""Why a training is sized as it is, or cannot be, in words. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from tunebench_api.sizing.memory import GIB, MemoryNeed
from tunebench_api.sizing.settled import Sizing
from tunebench_api.sizing.shape import ModelShape, ShapeSource
from tunebench_api.v1alpha1 import DeepSpeed, ModelSpec, TuningMethod
from tunebench_operator.machines import AUTO, Machines

# Parts that are smaller than this share of the whole are left out.
_SHOWN_SHARE = 20
_ALL_DIGITS_BELOW = 100 * GIB
_SOURCES = {
    ShapeSource.CONFIG: "its config",
    ShapeSource.DECLARED: "`sizeBillions`",
    ShapeSource.NAME: "the size in its name",
}


@dataclass(frozen=True)
class Misfit:
    """Why a training cannot be sized: a field of its model, and what to do."""

    field: str
    message: str
    # Whether nothing that is still to be read can change it.
    certain: bool = False

    def describe(self, model: str) -> str:
        """Return the message with the field's place in the run."""
        return f"`spec.models[{model}].{self.field}` {self.message}"


def describe_fit(
    shape: ModelShape, machines: Machines, sizing: Sizing, need: MemoryNeed, room: int
) -> str:
    """Say what was chosen, and what of the memory it takes."""
    return (
        f"{_show_workers(sizing, machines)}, {_show_stage(sizing)}, micro-batch "
        f"{sizing.micro_batch_size}{_show_recomputing(sizing)}: about {show_bytes(need.total)} of "
        f"{show_bytes(room)} usable on each ({_show_parts(need)}; by {_SOURCES[shape.source]})"
    )


def describe_hours(hours: float | None, examples: int | None) -> str:
    """Say how long it takes, where that is known."""
    if hours is None or examples is None:
        return ""
    return f"; at most about {hours:,.1f} h for {examples:,} examples"


def describe_blind(sizing: Sizing, machines: Machines, shape: ModelShape | None) -> str:
    """Say what is taken where nothing could be compared."""
    unknown = "how large the model is" if shape is None else "how much memory there is"
    return (
        f"{_show_workers(sizing, machines)}, {_show_stage(sizing)}, micro-batch "
        f"{sizing.micro_batch_size}; not checked, as nothing says {unknown}."
    )


def describe_beside(machines: Machines, beside: int, room: int) -> Misfit:
    """Say that the CPU's memory beside a GPU is too small."""
    message = (
        f"must be workers with {show_bytes(beside)} of memory for their CPUs, to load the weights "
        "and to copy the training's state for its resume points, "
        f"got {show_bytes(room)} that can be used on {machines.name}; give {machines.host_field}"
    )
    return Misfit("resources.pool", message)


def describe_misfit(  # noqa: PLR0913, PLR0917 - all that the message tells
    model: ModelSpec,
    shape: ModelShape,
    machines: Machines,
    sizing: Sizing,
    need: MemoryNeed,
    room: int,
) -> Misfit:
    """Say that nothing fits, by how much, and what takes most."""
    auto = model.resources.gpus == AUTO
    message = (
        f"must fit: {'even ' if auto else ''}{_show_workers(sizing, machines)} with "
        f"{_show_stage(sizing)} and micro-batch {sizing.micro_batch_size}"
        f"{_show_recomputing(sizing)} would need about "
        f"{show_bytes(need.total)}, got {show_bytes(room)} usable on each ({_show_parts(need)}; by "
        f"{_SOURCES[shape.source]}); {_find_remedy(model, need, machines)}"
    )
    return Misfit("tuning.deepspeed" if model.resources.gpus is None else "resources.gpus", message)


def show_bytes(size: int) -> str:
    """Return a size of memory for people."""
    return f"{size / GIB:.1f} GiB" if size < _ALL_DIGITS_BELOW else f"{size / GIB:,.0f} GiB"


def _find_remedy(model: ModelSpec, need: MemoryNeed, machines: Machines) -> str:
    """Say what takes less of the largest part."""
    tuning = model.tuning
    wider = "take a pool whose GPUs have more memory" if machines.gpu else "take more memory"
    if need.activations + need.logits > need.weights + need.trained + need.exchange:
        fewer = " or `tuning.microBatchSize`" if tuning.micro_batch_size > 1 else ""
        return f"lower `tuning.maxLength`{fewer}, or {wider}"
    if tuning.method is TuningMethod.QLORA:
        return wider
    smaller = TuningMethod.LORA if tuning.method is TuningMethod.FULL else TuningMethod.QLORA
    more = ", or one that gives more GPUs" if machines.gpu else ""
    return f"set `tuning.method: {smaller}`, or {wider}{more}"


def _show_workers(sizing: Sizing, machines: Machines) -> str:
    kind = "GPU" if machines.gpu else "worker"
    count = f"{sizing.workers} {kind}{'s' if sizing.workers > 1 else ''}"
    return f"{count} of {machines.name}" if machines.gpu else f"{count} on CPUs of {machines.name}"


def _show_stage(sizing: Sizing) -> str:
    return "no ZeRO" if sizing.deepspeed is DeepSpeed.NONE else str(sizing.deepspeed)


def _show_recomputing(sizing: Sizing) -> str:
    return ", activations computed again" if sizing.recompute else ""


def _show_parts(need: MemoryNeed) -> str:
    parts = {
        "frozen weights": need.weights,
        "trained weights and their optimizer": need.trained,
        "activations": need.activations,
        "logits": need.logits,
        "exchange": need.exchange,
        "kept by the allocator": need.kept,
        "copied for resume points": need.copied,
    }
    shown = sorted(
        (-size, name) for name, size in parts.items() if size * _SHOWN_SHARE > need.total
    )
    return ", ".join(f"{name} {show_bytes(-size)}" for size, name in shown)
