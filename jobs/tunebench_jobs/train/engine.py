"""How gradients of several workers become one step: plain data parallel, or DeepSpeed's ZeRO."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel
from torch.nn.utils import clip_grad_norm_

from tunebench_api.v1alpha1 import DeepSpeed, Offload, TuningMethod, TuningSpec
from tunebench_jobs.train.loss import AnswerLoss, Rows, compute_token_losses
from tunebench_jobs.train.shards import (
    MOMENTS,
    Piece,
    Shard,
    Span,
    Spans,
    State,
    build_counter,
    copy_to_host,
)
from tunebench_jobs.train.zero_state import ZeroState

_MAX_GRADIENT_NORM = 1.0
_ZERO_STAGES = {DeepSpeed.ZERO1: 1, DeepSpeed.ZERO2: 2, DeepSpeed.ZERO3: 3}


class Engine(Protocol):
    """One worker's part of the optimizer steps; all workers call all methods alike."""

    def accumulate(self, rows: Rows, *, weight: float, last: bool) -> float:
        """Add `weight` times the gradient of a micro-batch's summed loss, and return that loss."""

    def evaluate(self, rows: Rows) -> tuple[float, ...]:
        """Return the loss of each learnt token, without dropout and without gradients."""

    def step(self, learning_rate: float) -> float | None:
        """Clip the gradients, take the optimizer step and forget the gradients.

        Returns the norm of the gradients before they were clipped, where it is known.
        """

    @property
    def shards(self) -> int:
        """How many workers hold the training state between them."""

    @property
    def spans(self) -> Spans:
        """What this worker needs of a training state to go on."""

    def copy_state(self) -> Shard:
        """Copy this worker's part of the training state to host memory, after any step.

        Nothing: the first workers hold all of it.
        """

    def restore(self, state: State, step: int) -> None:
        """Go back to where the state was copied, after so many steps; whoever copied it."""

    def trained(self) -> Iterator[tuple[str, torch.Tensor]]:
        """Yield each trained parameter, whole and on the CPU, with its name in the model."""


def build_engine(loss: AnswerLoss, tuning: TuningSpec, device: torch.device) -> Engine:
    """Build the engine that the spec asks for; the process group exists where one is needed."""
    kind = find_deepspeed(tuning)
    optimizer = _build_optimizer(loss, tuning)
    if kind is DeepSpeed.NONE:
        return PlainEngine(loss.to(device), optimizer, device)
    return ZeroEngine(loss, optimizer, tuning, _ZERO_STAGES[kind])


def find_deepspeed(tuning: TuningSpec) -> DeepSpeed:
    """Return the ZeRO stage; Auto is ZeRO-2 where several workers train a whole model."""
    if tuning.deepspeed is not DeepSpeed.AUTO:
        return tuning.deepspeed
    whole = tuning.method is TuningMethod.FULL and tuning.workers > 1
    return DeepSpeed.ZERO2 if whole else DeepSpeed.NONE


class PlainEngine:
    """One worker, or several that each hold the whole state (DDP)."""

    def __init__(self, loss: AnswerLoss, optimizer: Any, device: torch.device) -> None:
        """Wrap the loss for the process group, where there is one."""
        self._loss = loss
        self._optimizer = optimizer
        self._parameters = [part for part in loss.parameters() if part.requires_grad]
        shared = dist.is_initialized() and dist.get_world_size() > 1
        places = [device.index] if device.type == "cuda" else None
        self._module = DistributedDataParallel(loss, device_ids=places) if shared else loss

    def accumulate(self, rows: Rows, *, weight: float, last: bool) -> float:
        """Exchange gradients at the last micro-batch only."""
        with nullcontext() if last else self._no_exchange():
            loss = self._module(*rows)
            (loss * weight).backward()
        return float(loss.detach())

    def evaluate(self, rows: Rows) -> tuple[float, ...]:
        """Compute without the other workers, which have the same parameters."""
        return compute_token_losses(self._loss, rows)

    def step(self, learning_rate: float) -> float | None:
        """Step with AdamW."""
        norm = clip_grad_norm_(self._parameters, _MAX_GRADIENT_NORM)
        for group in self._optimizer.param_groups:
            group["lr"] = learning_rate
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        return float(norm)

    @property
    def shards(self) -> int:
        """All workers have the same: the first one's is enough."""
        return 1

    @property
    def spans(self) -> Spans:
        """Everything, on every worker."""
        return {name: Span(0, parameter.numel()) for name, parameter in self._named()}

    def copy_state(self) -> Shard:
        """Copy parameters and moments, on the first worker."""
        if dist.is_initialized() and dist.get_rank() > 0:
            return {}
        return {
            name: Piece(
                Span(0, parameter.numel()),
                copy_to_host(parameter),
                *(copy_to_host(each) for each in self._list_moments(parameter)),
            )
            for name, parameter in self._named()
        }

    def restore(self, state: State, step: int) -> None:
        """Read the same on every worker."""
        with torch.no_grad():
            for name, parameter in self._named():
                piece = state.read(name, Span(0, parameter.numel()))
                parameter.copy_(piece.value.view_as(parameter))
                moments = {each: getattr(piece, each) for each in MOMENTS}
                self._optimizer.state[parameter] = {
                    "step": build_counter(self._optimizer, parameter, step),
                    **{
                        each: moment.view_as(parameter).to(parameter.device)
                        for each, moment in moments.items()
                    },
                }

    def trained(self) -> Iterator[tuple[str, torch.Tensor]]:
        """Yield copies, which are the same on every worker."""
        for name, parameter in self._named():
            yield name, parameter.detach().cpu().clone()

    def _named(self) -> list[tuple[str, Any]]:
        return _list_trained(self._loss)

    def _list_moments(self, parameter: Any) -> list[torch.Tensor]:
        state = self._optimizer.state.get(parameter)
        if not state:
            # No step has changed the parameter yet.
            return [torch.zeros_like(parameter) for _ in MOMENTS]
        return [state[each] for each in MOMENTS]

    def _no_exchange(self) -> AbstractContextManager[None]:
        if isinstance(self._module, DistributedDataParallel):
            held: AbstractContextManager[None] = self._module.no_sync()
            return held
        return nullcontext()


class ZeroEngine:
    """DeepSpeed's ZeRO: the training state is spread over the workers."""

    def __init__(self, loss: AnswerLoss, optimizer: Any, tuning: TuningSpec, stage: int) -> None:
        """Hand model and optimizer to DeepSpeed."""
        import deepspeed  # noqa: PLC0415 - only where it is asked for; takes seconds

        if not torch.cuda.is_available():
            # Compiled at first use, for which a compiler is needed; gloo does the same work.
            deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
        self._stage = stage
        self._gathered = deepspeed.zero.GatheredParameters
        self._engine, *_ = deepspeed.initialize(
            model=loss,
            optimizer=optimizer,
            config=_build_zero_config(tuning, stage),
            dist_init_required=False,
        )
        self._state = ZeroState(
            self._engine, _list_trained(loss), partitioned=stage == _ZERO_STAGES[DeepSpeed.ZERO3]
        )

    def accumulate(self, rows: Rows, *, weight: float, last: bool) -> float:
        """Tell DeepSpeed where a step ends: steps may differ in micro-batches."""
        self._engine.set_gradient_accumulation_boundary(is_boundary=last)
        loss = self._engine(*rows)
        self._engine.backward(loss * weight)
        if not last:
            self._engine.step()
        return float(loss.detach())

    def evaluate(self, rows: Rows) -> tuple[float, ...]:
        """Compute with all workers, each of which holds a part of the parameters."""
        return compute_token_losses(self._engine, rows)

    def step(self, learning_rate: float) -> float | None:
        """Step with the partitioned AdamW."""
        for group in self._engine.optimizer.param_groups:
            group["lr"] = learning_rate
        self._engine.step()
        norm = self._engine.get_global_grad_norm()
        return None if norm is None else float(norm)

    @property
    def shards(self) -> int:
        """Each worker has a part."""
        return int(dist.get_world_size())

    @property
    def spans(self) -> Spans:
        """What is in this worker's partitions."""
        return self._state.spans

    def copy_state(self) -> Shard:
        """Copy this worker's partitions."""
        return self._state.copy()

    def restore(self, state: State, step: int) -> None:
        """Fill this worker's partitions, and with them everybody's parameters."""
        self._state.restore(state, step)

    def trained(self) -> Iterator[tuple[str, torch.Tensor]]:
        """Yield the parameters one by one, so that never all of them are gathered at once."""
        for name, parameter in _list_trained(self._engine.module):
            with self._gathered([parameter], enabled=self._stage == _ZERO_STAGES[DeepSpeed.ZERO3]):
                yield name, parameter.detach().cpu().clone()


def _list_trained(loss: Any) -> list[tuple[str, Any]]:
    return [
        (name.removeprefix("model."), parameter)
        for name, parameter in loss.named_parameters()
        if parameter.requires_grad
    ]


def _build_optimizer(loss: AnswerLoss, tuning: TuningSpec) -> Any:
    """Build AdamW; biases and norms do not decay."""
    parameters = [part for part in loss.parameters() if part.requires_grad]
    groups: list[dict[str, Any]] = [
        {"params": [part for part in parameters if part.ndim > 1]},
        {"params": [part for part in parameters if part.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(
        [group for group in groups if group["params"]],
        lr=float(tuning.learning_rate),
        weight_decay=float(tuning.weight_decay),
        # Where the CPU steps, torch's own kernel does it: DeepSpeed's would need a compiler.
        fused=find_deepspeed(tuning) is DeepSpeed.NONE or tuning.offload is not Offload.NONE,
    )


def _build_zero_config(tuning: TuningSpec, stage: int) -> dict[str, Any]:
    zero: dict[str, Any] = {
        "stage": stage,
        "overlap_comm": torch.cuda.is_available(),
        "contiguous_gradients": torch.cuda.is_available(),
        "reduce_bucket_size": 50_000_000,
        "allgather_bucket_size": 50_000_000,
    }
    # Pinned, so that copies do not hold up the GPU.
    place = {"device": "cpu", "pin_memory": torch.cuda.is_available()}
    if tuning.offload is not Offload.NONE:
        zero["offload_optimizer"] = place
    if tuning.offload is Offload.ALL:
        zero["offload_param"] = place
    return {
        "train_micro_batch_size_per_gpu": tuning.micro_batch_size,
        # The loop tells where a step ends, and weighs the micro-batches itself.
        "gradient_accumulation_steps": 1,
        "gradient_clipping": _MAX_GRADIENT_NORM,
        "zero_optimization": zero,
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,
        "steps_per_print": 1_000_000_000,
    }
