"""All that a report is made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from tunebench_jobs.records import Completion, Task
from tunebench_jobs.score.outcomes import JudgedVariant
from tunebench_jobs.score.results import Results, VariantResult
from tunebench_jobs.train.curve import Curve


@dataclass(frozen=True)
class Training:
    """How one variant was fine-tuned, as far as its train stage says."""

    base: str | None = None
    method: str | None = None
    summary: Mapping[str, Any] = field(default_factory=dict)
    # Empty: trained by a version that kept none.
    curve: Curve = ()
    started_at: str = ""
    finished_at: str = ""

    @property
    def hours(self) -> float | None:
        """From the start of the last attempt to its end."""
        if not (self.started_at and self.finished_at):
            return None
        begin, end = map(datetime.fromisoformat, (self.started_at, self.finished_at))
        return (end - begin).total_seconds() / 3600

    @property
    def gpu_hours(self) -> float | None:
        """GPUs times hours; absent where the number of GPUs is not known."""
        gpus, hours = self.summary.get("gpus"), self.hours
        return None if gpus is None or hours is None else gpus * hours


@dataclass(frozen=True)
class PullFacts:
    """What the data stage knows of a pull request that is asked about."""

    title: str = ""
    license: str | None = None


@dataclass(frozen=True)
class Material:
    """A scored run, with everything that it was scored from."""

    results: Results
    tasks: Sequence[Task]
    # In the order of the tasks.
    baseline: Sequence[Completion]
    variants: Sequence[JudgedVariant]
    # By the name of the fine-tuned variant.
    trainings: Mapping[str, Training] = field(default_factory=dict)
    # By id; only those that are known.
    pulls: Mapping[str, PullFacts] = field(default_factory=dict)
    # Summary of the data stage.
    data: Mapping[str, Any] = field(default_factory=dict)
    # Name of the run's artefacts with numbers, for those who want to compute on.
    files: Sequence[str] = ()

    def find_base(self, row: VariantResult) -> str | None:
        """Return the base model of a variant; an un-tuned one has that of what was made from it."""
        if row.name in self.trainings:
            return self.trainings[row.name].base
        return next(
            (
                self.trainings[other.name].base
                for other in self.results.variants
                if other.untuned == row.name and other.name in self.trainings
            ),
            None,
        )
