"""Where DeepSpeed's ZeRO keeps a worker's part of the training state, and how it gets it back.

ZeRO lays the parameters of a group end to end, cuts them into as many partitions as there are
workers, and gives one of them, in float32 and with its moments, to each. What a partition holds of
a parameter is one span, whatever the stage; so what one stage and number of workers has written,
another reads. DeepSpeed's own files fit the same number of workers only, and are pickled.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist

from tunebench_jobs.train.shards import (
    MOMENTS,
    PARTS,
    Piece,
    Shard,
    Span,
    State,
    build_counter,
    copy_to_host,
)

Named = Sequence[tuple[str, Any]]


@dataclass(frozen=True)
class _Held:
    """A span of a parameter, and where it lies in a flat partition of this worker."""

    name: str
    span: Span
    partition: torch.Tensor
    at: int

    def cut(self, flat: torch.Tensor) -> torch.Tensor:
        """Return the span's part of the partition, or of moments that are laid out like it."""
        return flat.narrow(0, self.at, self.span.length)


class ZeroState:
    """The training state of a DeepSpeed engine; its optimizer is torch's AdamW."""

    def __init__(self, engine: Any, named: Named, *, partitioned: bool) -> None:
        """Look into an engine; `partitioned`: the parameters themselves are spread, too (ZeRO-3).

        `named` are the trained parameters.
        """
        self._optimizer = engine.optimizer
        self._named = named
        self._partitioned = partitioned
        held = _list_held_partitioned if partitioned else _list_held
        self._held = [each for each in held(self._optimizer, named) if each.span.length]

    @property
    def spans(self) -> dict[str, Span]:
        """What this worker holds of each parameter."""
        return {held.name: held.span for held in self._held}

    def copy(self) -> Shard:
        """Copy this worker's part to host memory; at least one step has been taken."""
        return {
            held.name: Piece(
                held.span,
                *(copy_to_host(held.cut(each)) for each in self._list_parts(held.partition)),
            )
            for held in self._held
        }

    @torch.no_grad()  # type: ignore[misc,untyped-decorator,unused-ignore] # torch has no types here
    def restore(self, state: State, step: int) -> None:
        """Put back what was held after so many steps; all workers take part."""
        for partition in self._list_partitions():
            self._reset_moments(partition, step)
        for held in self._held:
            piece = state.read(held.name, held.span)
            for part, flat in zip(PARTS, self._list_parts(held.partition), strict=True):
                held.cut(flat).copy_(getattr(piece, part))
        self._spread_values()

    def _list_parts(self, partition: torch.Tensor) -> list[torch.Tensor]:
        moments = self._optimizer.optimizer.state[partition]
        return [partition.data, *(moments[part] for part in MOMENTS)]

    def _list_partitions(self) -> list[torch.Tensor]:
        optimizer = self._optimizer
        partitions: list[torch.Tensor] = (
            optimizer.fp32_partitioned_groups_flat
            if self._partitioned
            else optimizer.single_partition_of_fp32_groups
        )
        return partitions

    def _reset_moments(self, partition: torch.Tensor, step: int) -> None:
        """Make what AdamW makes of a partition at its first step."""
        adamw = self._optimizer.optimizer
        adamw.state[partition] = {
            "step": build_counter(adamw, partition, step),
            **{moment: torch.zeros_like(partition.data) for moment in MOMENTS},
        }

    def _spread_values(self) -> None:
        """Give the model the values that the partitions now have."""
        if not self._partitioned:
            self._optimizer.update_lp_params()
            return
        import deepspeed  # noqa: PLC0415 - takes seconds
        from deepspeed.utils import safe_get_full_fp32_param  # noqa: PLC0415 - likewise

        for _, parameter in self._named:
            whole = safe_get_full_fp32_param(parameter)
            # The first worker's change becomes everybody's.
            with deepspeed.zero.GatheredParameters([parameter], modifier_rank=0):
                if dist.get_rank() == 0:
                    parameter.data.copy_(whole)


def _list_held(optimizer: Any, named: Named) -> Iterator[_Held]:
    """Yield what ZeRO-1 or ZeRO-2 gave to this worker."""
    partitions = optimizer.single_partition_of_fp32_groups
    for name, parameter in named:
        fragment = parameter._hp_mapping  # noqa: SLF001 - no public name tells where it lies
        if fragment is not None:
            address = fragment.lp_fragment_address
            yield _Held(
                name,
                Span(address.start, address.numel),
                partitions[fragment.param_group_index],
                fragment.hp_fragment_address.start,
            )


def _list_held_partitioned(optimizer: Any, named: Named) -> Iterator[_Held]:
    """Yield what ZeRO-3 gave to this worker: an equal part of each parameter, the last padded."""
    for name, parameter in named:
        group, at, length = optimizer.grad_position[optimizer.get_param_id(parameter)]
        start = dist.get_rank() * length
        span = Span(start, max(0, min(length, parameter.ds_numel - start)))
        yield _Held(name, span, optimizer.fp32_partitioned_groups_flat[group], at)
