"""One worker's place among all, and how it meets the others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeVar

import torch
import torch.distributed as dist

ValueT = TypeVar("ValueT")


@dataclass(frozen=True)
class Place:
    """Rank, number of workers and device."""

    rank: int
    workers: int
    device: torch.device

    def meet(self) -> None:
        """Wait until all workers are here."""
        if self.workers > 1:
            dist.barrier()

    def gather(self, value: ValueT) -> list[ValueT]:
        """Return the values of all workers, in the order of their ranks."""
        if self.workers == 1:
            return [value]
        values: list[Any] = [None] * self.workers
        dist.all_gather_object(values, value)
        return values

    def sum(self, value: float) -> float:
        """Return the sum of a number over all workers."""
        if self.workers == 1:
            return value
        total = torch.tensor(value, dtype=torch.float64, device=self.device)
        dist.all_reduce(total)
        return float(total)
