"""The funnel: what each step took in, left out and gave out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class StepName(StrEnum):
    """The steps of the data stage, in their order."""

    READ = "read"
    CLEAN = "clean"
    DUPLICATES = "duplicates"
    SPLIT = "split"
    SELECT = "select"
    GATE = "gate"
    LIMIT = "limit"
    ANSWERS = "answers"
    LENGTH = "length"


# Answers to what is asked, where the data has them.
REFERENCES = "references"


@dataclass
class Step:
    """The counts of one step for one set; `unit` is what is counted."""

    name: StepName
    dataset: str
    unit: str = "rows"
    taken: int = 0
    # To the other set.
    moved: int = 0
    dropped: Counter[str] = field(default_factory=Counter)

    @property
    def given(self) -> int:
        """What is left."""
        return self.taken - self.moved - self.dropped.total()

    def to_plain(self) -> dict[str, Any]:
        """Return the step as the manifest has it."""
        moved = {"moved": self.moved} if self.moved else {}
        return {
            "step": str(self.name),
            "set": self.dataset,
            "unit": self.unit,
            "in": self.taken,
            "out": self.given,
            **moved,
            "dropped": dict(sorted(self.dropped.items())),
        }


class Funnel:
    """The steps of a pass, in the order in which they were begun."""

    def __init__(self) -> None:
        """Begin without steps."""
        self._steps: dict[tuple[StepName, str], Step] = {}

    def step(self, name: StepName, dataset: str, unit: str = "rows") -> Step:
        """Return the step of a set, which begins with the first call."""
        return self._steps.setdefault((name, dataset), Step(name, dataset, unit))

    @property
    def steps(self) -> list[Step]:
        """All steps, in the order of their names and then of their beginning."""
        order = list(StepName)
        return sorted(self._steps.values(), key=lambda step: order.index(step.name))

    def count_dropped(self, dataset: str | None = None) -> dict[str, int]:
        """Return how often each reason occurs, in one set or in both."""
        total: Counter[str] = Counter()
        for step in self._steps.values():
            # A question without a reference is asked all the same.
            if dataset in {None, step.dataset} and step.unit != REFERENCES:
                total += step.dropped
        return dict(sorted(total.items()))

    def to_plain(self) -> list[dict[str, Any]]:
        """Return the steps as the manifest has them; those that took nothing in are left out."""
        return [step.to_plain() for step in self.steps if step.taken]


def render_funnel(steps: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the lines of a table for a terminal."""
    head = ("step", "set", "of", "in", "out", "dropped")
    rows = [head, *(_list_cells(step) for step in steps)]
    widths = [max(len(row[place]) for row in rows) for place in range(len(head) - 1)]
    return [
        "  ".join(
            [
                *(cell.ljust(width) for cell, width in zip(row[:3], widths, strict=False)),
                *(cell.rjust(width) for cell, width in zip(row[3:5], widths[3:], strict=True)),
                row[5],
            ]
        ).rstrip()
        for row in rows
    ]


def describe_dropped(step: Mapping[str, Any]) -> str:
    """Say why a step gave out less than it took in."""
    moved = [f"{step['moved']:,} to the other set"] if "moved" in step else []
    reasons = [f"{reason} {count:,}" for reason, count in step["dropped"].items()]
    return ", ".join([*moved, *reasons])


def _list_cells(step: Mapping[str, Any]) -> tuple[str, ...]:
    counts = (f"{step[name]:,}" for name in ("in", "out"))
    return (step["step"], step["set"], step["unit"], *counts, describe_dropped(step))
