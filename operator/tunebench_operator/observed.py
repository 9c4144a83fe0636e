"""What is known about a run's children: the planner's only input beside the run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from types import MappingProxyType

from tunebench_api.contract import Progress, ResultState, StageResult
from tunebench_api.sizing.shape import ModelShape
from tunebench_api.v1alpha1 import BenchmarkRunStatus
from tunebench_operator import reasons
from tunebench_operator.machines import Machines


@dataclass(frozen=True)
class Trouble:
    """What keeps work from going on: the word for machines, and a sentence with the remedy."""

    reason: str
    message: str


@dataclass(frozen=True)
class Attempt:
    """One child that was started for a stage; without a result it still runs."""

    number: int
    progress: Progress = field(default_factory=Progress)
    result: StageResult | None = None
    trouble: Trouble | None = None
    # GPUs that it holds, and since when.
    gpus: int = 0
    created_at: datetime | None = None

    @property
    def running(self) -> bool:
        """Whether the child has not ended."""
        return self.result is None

    @property
    def succeeded(self) -> bool:
        """Whether the child did its work."""
        return self.result is not None and self.result.state is ResultState.SUCCEEDED

    @property
    def interrupted(self) -> bool:
        """Whether the child was stopped from outside, which is no failure of the stage."""
        return self.result is not None and self.result.reason == reasons.INTERRUPTED

    @property
    def displaced(self) -> bool:
        """Whether the child lost the node that it was on."""
        return self.result is not None and self.result.reason in reasons.DISPLACED

    @property
    def failed(self) -> bool:
        """Whether the child tried and could not."""
        return not (self.running or self.succeeded or self.interrupted)

    @property
    def finished_at(self) -> datetime | None:
        """When the child ended, if it has and said so."""
        text = self.result.finished_at if self.result else ""
        return datetime.fromisoformat(text) if text else None

    @property
    def gpu_hours(self) -> float:
        """GPUs times hours, once the attempt has ended; a result that was there before is free."""
        if not (self.gpus and self.created_at and self.finished_at):
            return 0.0
        begun = self.result.started_at if self.result else ""
        begin = max(self.created_at, datetime.fromisoformat(begun) if begun else self.created_at)
        return self.gpus * max(0.0, (self.finished_at - begin).total_seconds()) / 3600


@dataclass(frozen=True)
class Observed:
    """Attempts by stage key and digest, oldest first, and results that lie in the store."""

    attempts: Mapping[tuple[str, str], tuple[Attempt, ...]] = field(
        default_factory=lambda: MappingProxyType({})
    )
    # Results by output folder (`data/<digest>`), whichever run computed them.
    stored: Mapping[str, StageResult] = field(default_factory=lambda: MappingProxyType({}))
    # Digests of what the spec points to, by URI.
    sources: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    previous: BenchmarkRunStatus | None = None
    # What trainings may be spread over, by pool.
    machines: Mapping[str, Machines] = field(default_factory=lambda: MappingProxyType({}))
    # Of bases on this machine, by `base`; the preflight reads those of all.
    shapes: Mapping[str, ModelShape] = field(default_factory=lambda: MappingProxyType({}))

    def count_spent(self, *, except_for: tuple[str, str, int] | None = None) -> Decimal:
        """Return what attempts of this run have paid judges, whatever became of them."""
        return sum(
            (
                Decimal(attempt.progress.cost_usd or 0)
                for (key, digest), attempts in self.attempts.items()
                for attempt in attempts
                if (key, digest, attempt.number) != except_for
            ),
            Decimal(0),
        )

    def attempts_of(self, key: str, digest: str) -> tuple[Attempt, ...]:
        """Return the attempts of a stage, oldest first."""
        return self.attempts.get((key, digest), ())
