"""Which workers, ZeRO stage and micro-batch a training gets, and why. Pure.

GPU hours are what a run costs, so it is the fewest GPUs that hold the training; more where that
would take longer than a night. docs/sizing.md has the rules for people.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from tunebench_api.sizing.memory import (
    GIB,
    MemoryNeed,
    build_load,
    count_usable,
    estimate_copy,
    estimate_host,
    estimate_memory,
    is_half,
)
from tunebench_api.sizing.settled import Sizing, build_written, settle
from tunebench_api.sizing.shape import ModelShape
from tunebench_api.sizing.speed import estimate_hours
from tunebench_api.v1alpha1 import (
    ActivationCheckpointing,
    DeepSpeed,
    ModelSpec,
    Offload,
    TuningMethod,
)
from tunebench_operator.machines import AUTO, USUAL_GPUS, Machines
from tunebench_operator.sizing_text import (
    Misfit,
    describe_beside,
    describe_blind,
    describe_fit,
    describe_hours,
    describe_misfit,
    show_bytes,
)

# Of the CPU's memory: Ray's objects and other processes have the rest, and Python, torch and Ray
# take so much of a worker before it has a model.
_HOST_USABLE, _PROCESS_BYTES = 0.85, 3 * GIB // 2
# More GPUs are taken while a training would take longer.
_NIGHT_HOURS = 12.0
# More tokens to a forward pass keep a GPU no busier: published runs reach their best with 8,192.
_ENOUGH_TOKENS = 32_768


def is_open(model: ModelSpec) -> bool:
    """Whether a run leaves to the planner how a model is trained."""
    return model.resources.gpus is not None or model.tuning.deepspeed is DeepSpeed.AUTO


def size_training(
    model: ModelSpec, shape: ModelShape | None, machines: Machines | None, examples: int | None
) -> Sizing | Misfit | None:
    """Size a training; none where the run leaves nothing open, or nobody knows the machines.

    `examples` are the most that there can be, for the time alone.
    """
    if machines is None or not is_open(model):
        return None
    misfit = find_contradiction(model, machines)
    if misfit is not None:
        return misfit
    has_memory = machines.gpu_bytes if machines.gpu else machines.host_bytes
    if not has_memory or shape is None:
        return _size_blindly(model, shape, machines)
    return _Sizer(model, shape, machines).size(examples)


def find_contradiction(model: ModelSpec, machines: Machines) -> Misfit | None:
    """Return what a model asks of machines that they cannot give, whatever its size."""
    gpus, batch, most = model.resources.gpus, model.tuning.batch_size, machines.most_gpus
    if gpus is None or gpus == AUTO:
        return None
    if not machines.gpu:
        message = (
            f"must be Auto or absent for {machines.name}, which has no GPU, got {gpus}; with Auto, "
            "one worker trains on its CPUs"
        )
        return Misfit("resources.gpus", message, certain=True)
    if most is not None and int(gpus) > most:
        message = f"must be at most {most} for one training on {machines.name}, got {gpus}"
        return Misfit("resources.gpus", message, certain=True)
    if int(gpus) > batch:
        message = (
            f"must be at least `resources.gpus` ({gpus}), got {batch}: each GPU takes an example "
            "of every step"
        )
        return Misfit("tuning.batchSize", message, certain=True)
    return None


def _size_blindly(
    model: ModelSpec, shape: ModelShape | None, machines: Machines
) -> Sizing | Misfit:
    """Take what is written where nobody can say what fits."""
    gpus = model.resources.gpus
    if gpus == AUTO and shape is None:
        message = (
            "must be a number as long as nothing says how large the model is, got Auto; give "
            "`sizeBillions`"
        )
        return Misfit("resources.gpus", message)
    if gpus == AUTO and machines.gpu:
        message = (
            f"must be a number as long as nothing says what memory the GPUs of {machines.name} "
            f"have, got Auto; give {machines.gpu_field}"
        )
        return Misfit("resources.gpus", message, certain=True)
    workers = model.tuning.workers if gpus is None or gpus == AUTO else int(gpus)
    stages = _list_stages(model, workers)
    # Of a whole model's optimizer, a worker may as well hold less.
    stage = stages[min(1, len(stages) - 1)] if _trains_all(model) else stages[0]
    draft = build_written(model.tuning).model_copy(update={"workers": workers, "deepspeed": stage})
    return draft.model_copy(update={"why": describe_blind(draft, machines, shape)})


@dataclass(frozen=True)
class _Candidate:
    sizing: Sizing
    need: MemoryNeed


@dataclass(frozen=True)
class _Sizer:
    model: ModelSpec
    shape: ModelShape
    machines: Machines

    def size(self, examples: int | None) -> Sizing | Misfit:
        counts = self._list_counts()
        found = [fit for count in counts for fit in [self._fit(count)] if fit]
        if not found:
            least = self._find_least(counts[-1])
            room = self._count_usable(counts[-1])
            return describe_misfit(
                self.model, self.shape, self.machines, least.sizing, least.need, room
            )
        chosen, hours = self._choose(found, examples)
        workers = chosen.sizing.workers
        beside, host = self._count_beside(chosen.sizing), self._count_host(workers)
        if beside is not None and host is not None and beside > host:
            return describe_beside(self.machines, beside, host)
        why = describe_fit(
            self.shape, self.machines, chosen.sizing, chosen.need, self._count_usable(workers)
        )
        if chosen is found[0] and workers > counts[0]:
            fewer = self._find_least(workers // 2)
            why += f"; {workers // 2} would need {show_bytes(fewer.need.total)} each"
        why += describe_hours(hours, examples)
        return chosen.sizing.model_copy(
            update={"why": f"{why}.", "needed_bytes": chosen.need.total}
        )

    def _list_counts(self) -> list[int]:
        """Return the numbers of workers to try, the fewest first."""
        gpus, tuning = self.model.resources.gpus, self.model.tuning
        if gpus is None:
            return [tuning.workers]
        if gpus != AUTO:
            return [int(gpus)]
        if not self.machines.gpu:
            return [1]
        most = min(self.machines.most_gpus or USUAL_GPUS, tuning.batch_size)
        return _list_powers(most)

    def _list_micro_batches(self, workers: int) -> list[int]:
        """Return the micro-batches to try, the largest first."""
        tuning = self.model.tuning
        first = tuning.micro_batch_size
        if self.model.resources.gpus != AUTO:
            return [first]
        if self.machines.gpu and first == 1:
            enough = max(1, _ENOUGH_TOKENS // tuning.max_length)
            first = _list_powers(max(1, min(tuning.batch_size // workers, enough)))[-1]
        return [first >> power for power in range(first.bit_length())]

    def _list_candidates(self, workers: int) -> Iterator[_Candidate]:
        micro_batches = self._list_micro_batches(workers)
        ways = itertools.product(
            _list_stages(self.model, workers), self._list_recomputing(), micro_batches
        )
        for stage, recompute, micro_batch in ways:
            sizing = Sizing(
                workers=workers,
                deepspeed=stage,
                micro_batch_size=micro_batch,
                recompute=recompute,
            )
            tuning = settle(self.model.tuning, sizing)
            load = build_load(tuning, half=self._is_half())
            if self.machines.gpu:
                need = estimate_memory(self.shape, tuning, load)
            else:
                # What would be offloaded lies in the same memory.
                whole = estimate_memory(self.shape, tuning, replace(load, offload=Offload.NONE))
                need = whole.on_cpus(estimate_copy(self.shape, tuning, load))
            yield _Candidate(sizing, need)

    def _list_recomputing(self) -> list[bool]:
        """Return whether to compute activations again; to keep them is less work, and first."""
        kind = self.model.tuning.activation_checkpointing
        if kind is ActivationCheckpointing.AUTO:
            return [False, True] if self.machines.gpu else [False]
        return [kind is ActivationCheckpointing.ENABLED]

    def _fit(self, workers: int) -> _Candidate | None:
        """Return the first way that fits so many workers, with its largest micro-batch."""
        room = self._count_usable(workers)
        candidates = self._list_candidates(workers)
        return next((each for each in candidates if each.need.total <= room), None)

    def _find_least(self, workers: int) -> _Candidate:
        return min(self._list_candidates(workers), key=lambda each: each.need.total)

    def _choose(
        self, found: Sequence[_Candidate], examples: int | None
    ) -> tuple[_Candidate, float | None]:
        """Return the fewest workers that end within a night, or else the most; and the hours."""
        if not self.machines.gpu or self.machines.teraflops is None or examples is None:
            return found[0], None
        timed = [
            (
                each,
                estimate_hours(
                    self.shape,
                    settle(self.model.tuning, each.sizing),
                    examples=examples,
                    workers=each.sizing.workers,
                    teraflops=self.machines.teraflops,
                ),
            )
            for each in found
        ]
        return next((each for each in timed if each[1] <= _NIGHT_HOURS), timed[-1])

    def _is_half(self) -> bool:
        return is_half(self.model.tuning, gpu=self.machines.gpu)

    def _count_usable(self, workers: int) -> int:
        """Return the bytes that one worker may need where it computes."""
        if self.machines.gpu:
            return count_usable(self.machines.gpu_bytes or 0)
        return (self._count_host(workers) or 0) - _PROCESS_BYTES

    def _count_host(self, workers: int) -> int | None:
        """Return the bytes of the CPU's memory for one worker."""
        if self.machines.host_bytes is None:
            return None
        share = workers if self.machines.shared else 1
        return round(_HOST_USABLE * self.machines.host_bytes / share)

    def _count_beside(self, sizing: Sizing) -> int | None:
        """Return the bytes of the CPU's memory that a worker needs beside its GPU."""
        if not self.machines.gpu:
            return None
        tuning = settle(self.model.tuning, sizing)
        load = build_load(tuning, half=self._is_half())
        return _PROCESS_BYTES + estimate_host(self.shape, tuning, load)


def _list_stages(model: ModelSpec, workers: int) -> list[DeepSpeed]:
    """Return the ZeRO stages to try, that with the least to exchange first."""
    tuning = model.tuning
    if tuning.deepspeed is not DeepSpeed.AUTO:
        return [tuning.deepspeed]
    if workers == 1 or tuning.method is TuningMethod.QLORA:
        return [DeepSpeed.NONE]
    if tuning.method is TuningMethod.LORA:
        # Gradients and optimizer of adapters are too small to share out.
        return [DeepSpeed.NONE, DeepSpeed.ZERO3]
    return [DeepSpeed.NONE, DeepSpeed.ZERO2, DeepSpeed.ZERO3]


def _list_powers(most: int) -> list[int]:
    """Return the powers of two up to a number."""
    return [1 << power for power in range(most.bit_length())]


def _trains_all(model: ModelSpec) -> bool:
    return model.tuning.method is TuningMethod.FULL
