"""What every part of the report is computed from: all variants with their verdicts, arranged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tunebench_api.contract import ScoreConfig, VariantKind
from tunebench_api.v1alpha1 import REFERENCE_JUDGE, Tool
from tunebench_jobs.records import Completion, Task
from tunebench_jobs.score.outcomes import (
    JudgedVariant,
    Outcomes,
    Reading,
    build_design,
    build_outcomes,
    read_completions,
)
from tunebench_jobs.score.results import Rate
from tunebench_jobs.score.statistics import Bootstrap, Design, Estimate, Floats

_DIGITS = 4


@dataclass(frozen=True)
class Entry:
    """A variant with what was read off its verdicts and completions, in the order of the tasks."""

    variant: JudgedVariant
    outcomes: Outcomes
    readings: Sequence[Reading]

    @property
    def name(self) -> str:
        """Name of the variant."""
        return self.variant.spec.name

    @property
    def kind(self) -> VariantKind:
        """Whether it is fine-tuned, un-tuned or a control."""
        return self.variant.spec.kind


@dataclass(frozen=True)
class Board:
    """All variants over the same tasks; `panel` numbers the judges that make the headline."""

    config: ScoreConfig
    tasks: Sequence[Task]
    judges: Sequence[str]
    panel: Sequence[int]
    design: Design
    bootstrap: Bootstrap
    entries: Sequence[Entry]
    baseline: Sequence[Reading]

    @property
    def tools(self) -> list[Tool]:
        """The tools that there are tasks of, in the order of the API."""
        present = {task.tool for task in self.tasks}
        return [tool for tool in Tool if tool in present]

    @property
    def contestants(self) -> list[Entry]:
        """All but the controls."""
        return [entry for entry in self.entries if entry.kind is not VariantKind.CONTROL]

    @property
    def ranked(self) -> list[Entry]:
        """The variants that are ranked: the fine-tuned ones, or all where there is none."""
        tuned = [entry for entry in self.entries if entry.kind is VariantKind.FINE_TUNED]
        return tuned or self.contestants

    @property
    def tokens(self) -> Floats:
        """Tokens of the baseline's answers."""
        return np.array([reading.tokens for reading in self.baseline], dtype=np.float64)


def find_panel(config: ScoreConfig) -> list[int]:
    """Return which judges make the headline: the LLMs, or the reference judge where it is alone."""
    llms = [i for i, judge in enumerate(config.judges) if judge.model != REFERENCE_JUDGE]
    return llms or list(range(len(config.judges)))


def build_board(
    config: ScoreConfig,
    tasks: Sequence[Task],
    variants: Sequence[JudgedVariant],
    baseline: Sequence[Completion],
) -> Board:
    """Read all completions and arrange all verdicts.

    Raises:
        InputError: A verdict's row is absent.
    """
    judges = [judge.name for judge in config.judges]
    design = build_design(tasks)
    return Board(
        config=config,
        tasks=tasks,
        judges=judges,
        panel=find_panel(config),
        design=design,
        bootstrap=Bootstrap(design, config.statistics.resamples, config.seed),
        entries=[_build_entry(variant, tasks, judges) for variant in variants],
        baseline=read_completions(tasks, baseline),
    )


def build_rate(estimate: Estimate | None) -> Rate | None:
    """Return an estimate in percent."""
    if estimate is None:
        return None
    low, high = (None if end is None else to_pct(end) for end in (estimate.low, estimate.high))
    return Rate(pct=to_pct(estimate.point), lo=low, hi=high)


def to_pct(share: float) -> float:
    """Return a share in percent."""
    return round(100 * share, _DIGITS)


def _build_entry(variant: JudgedVariant, tasks: Sequence[Task], judges: Sequence[str]) -> Entry:
    readings = read_completions(tasks, variant.completions)
    outcomes = build_outcomes(variant, tasks, judges, [reading.valid for reading in readings])
    return Entry(variant, outcomes, readings)
