"""Everything that scored imports say, as their `results.json` holds it; percentages are floats."""

from __future__ import annotations

from collections.abc import Mapping

from tunebench_api.contract import VerdictFormat
from tunebench_api.v1alpha1 import Wire
from tunebench_jobs.imports.imported import Source
from tunebench_jobs.score.results import (
    Agreement,
    Bounds,
    Method,
    PairResult,
    Rate,
    Warned,
)


class Figure(Wire):
    """A figure as the source's own program computes it from the same verdicts."""

    name: str
    value: float
    # Verdicts, or pairs of them, that it counts.
    counted: int


class ImportedJudged(Wire):
    """A model as one judge sees it, also by the source's own formulas."""

    name: str
    preference: Rate | None
    win_rate: Rate | None
    figures: tuple[Figure, ...]


class ImportedGroup(Wire):
    """A model on the questions that the source sorts together."""

    name: str
    tasks: int
    preference: Rate | None
    win_rate: Rate | None


class ImportedLength(Wire):
    """How long completions are, in characters, and the preference were all equally long."""

    model_characters: float
    baseline_characters: float
    # By a fit for this model alone; absent where all differences are equal.
    controlled: Rate | None
    # Hardly any completion is as long as the baseline's.
    extrapolated: bool


class ImportedVariant(Wire):
    """One model; rates are absent where no task has all of its verdicts."""

    name: str
    tasks: int
    # Tasks with a verdict in every order, by at least one judge.
    judged: int
    missing: int
    # The mean share that judges give to the model: a tie counts half, a grade as it is.
    preference: Rate | None
    # A tie, or a grade of one half, is no win.
    win_rate: Rate | None
    # A tie counts half, and a grade as the side on which it lies.
    tie_adjusted: Rate | None
    # Of the win rate.
    bounds: Bounds
    by_judge: tuple[ImportedJudged, ...]
    by_group: tuple[ImportedGroup, ...]
    # Absent where the source does not hold all completions.
    length: ImportedLength | None
    # From the best that it may be to the worst; by `preference`.
    rank_low: int
    rank_high: int


class ImportedJudge(Wire):
    """How a judge behaved; absent where the source does not say what it saw first."""

    name: str
    verdicts: int
    missing: Mapping[str, int]
    ties_pct: float | None
    order_consistency_pct: float | None
    first_slot_pct: float | None


class BoardResult(Wire):
    """All that one tool published against one baseline."""

    source: VerdictFormat
    baseline: str
    tasks: int
    questions: int
    variants: tuple[ImportedVariant, ...]
    judges: tuple[ImportedJudge, ...]
    agreement: tuple[Agreement, ...]
    # Of `preference`, task by task.
    pairs: tuple[PairResult, ...]


class ScoredSet(Wire):
    """A set that was scored."""

    name: str
    format: VerdictFormat
    sources: tuple[Source, ...]
    left_out: Mapping[str, int]


class ImportedResults(Wire):
    """Scored imports; the tables are printed from this alone."""

    format: int = 1
    sets: tuple[ScoredSet, ...]
    boards: tuple[BoardResult, ...]
    method: Method
    warnings: tuple[Warned, ...]
    notes: tuple[str, ...]
    versions: Mapping[str, str]
