"""One worker's place among all, and how it meets the others."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.distributed as dist


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

    def sum(self, value: float) -> float:
        """Return the sum of a number over all workers."""
        if self.workers == 1:
            return value
        total = torch.tensor(value, dtype=torch.float64, device=self.device)
        dist.all_reduce(total)
        return float(total)
