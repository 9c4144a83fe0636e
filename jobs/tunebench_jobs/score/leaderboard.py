"""The leaderboard: every variant's rates with their intervals, from verdicts and completions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from tunebench_api.contract import ScoreConfig, VariantKind
from tunebench_api.v1alpha1 import REFERENCE_JUDGE, Tool
from tunebench_jobs.records import Task
from tunebench_jobs.score.outcomes import (
    JudgedVariant,
    Outcomes,
    build_design,
    build_outcomes,
    build_validity,
    list_levels,
)
from tunebench_jobs.score.results import (
    Bounds,
    JudgedResult,
    Rate,
    ToolResult,
    VariantResult,
)
from tunebench_jobs.score.statistics import Bootstrap, Design, Estimate, Floats

_DIGITS = 4

_Rates = Mapping[tuple[str, ...], Rate | None]


@dataclass
class _Series:
    """Rows of values that are estimated together, each found again by its name."""

    names: list[tuple[str, ...]] = field(default_factory=list)
    values: list[Floats] = field(default_factory=list)

    def add(self, values: Floats, *name: str) -> None:
        self.names.append(name)
        self.values.append(values)

    def estimate_rates(self, bootstrap: Bootstrap) -> _Rates:
        estimates = bootstrap.estimate_rates(np.stack(self.values)) if self.values else []
        return dict(zip(self.names, map(build_rate, estimates), strict=True))

    def estimate_differences(self, bootstrap: Bootstrap) -> _Rates:
        estimates = bootstrap.estimate_differences(np.stack(self.values)) if self.values else []
        return dict(zip(self.names, map(build_rate, estimates), strict=True))


@dataclass(frozen=True)
class _Entry:
    """A variant with what was read off its verdicts and completions."""

    variant: JudgedVariant
    outcomes: Outcomes
    levels: Sequence[str]


@dataclass(frozen=True)
class _Board:
    """What all variants share; `panel` numbers the judges that make the headline."""

    tasks: Sequence[Task]
    judges: Sequence[str]
    panel: Sequence[int]
    design: Design

    @property
    def tools(self) -> list[Tool]:
        present = {task.tool for task in self.tasks}
        return [tool for tool in Tool if tool in present]


def find_panel(config: ScoreConfig) -> list[int]:
    """Return which judges make the headline: the LLMs, or the reference judge where it is alone."""
    llms = [i for i, judge in enumerate(config.judges) if judge.model != REFERENCE_JUDGE]
    return llms or list(range(len(config.judges)))


def build_variant_results(
    config: ScoreConfig, tasks: Sequence[Task], variants: Sequence[JudgedVariant]
) -> list[VariantResult]:
    """Score all variants with the same resamples: the best first, controls last.

    Raises:
        InputError: A verdict's row is absent.
    """
    judges = [judge.name for judge in config.judges]
    board = _Board(tasks, judges, find_panel(config), build_design(tasks))
    bootstrap = Bootstrap(board.design, config.statistics.resamples, config.seed)
    entries = [
        _Entry(
            variant,
            build_outcomes(variant, tasks, judges),
            list_levels(tasks, variant.completions),
        )
        for variant in variants
    ]
    rates = _collect_rates(entries, board).estimate_rates(bootstrap)
    deltas = _collect_deltas(entries, board).estimate_differences(bootstrap)
    return sorted((_build_result(entry, board, rates, deltas) for entry in entries), key=_rank)


def build_rate(estimate: Estimate | None) -> Rate | None:
    """Return an estimate in percent."""
    if estimate is None:
        return None
    ends = (None if share is None else _to_pct(share) for share in (estimate.low, estimate.high))
    low, high = ends
    return Rate(pct=_to_pct(estimate.point), lo=low, hi=high)


def _rank(result: VariantResult) -> tuple[bool, float, str]:
    rate = result.win_rate.pct if result.win_rate else -1.0
    return result.kind is VariantKind.CONTROL, -rate, result.name


def _collect_rates(entries: Sequence[_Entry], board: _Board) -> _Series:
    series = _Series()
    of_tool = {tool: np.array([task.tool is tool for task in board.tasks]) for tool in board.tools}
    for entry in entries:
        name, outcomes = entry.variant.spec.name, entry.outcomes
        wins, adjusted = outcomes.win_rates(board.panel), outcomes.tie_adjusted(board.panel)
        series.add(wins, name, "win")
        series.add(adjusted, name, "adjusted")
        series.add(outcomes.win_rates(board.panel, as_judged=True), name, "as judged")
        for tool, chosen in of_tool.items():
            series.add(np.where(chosen, wins, np.nan), name, "win", tool)
            series.add(np.where(chosen, adjusted, np.nan), name, "adjusted", tool)
        for index, judge in enumerate(board.judges):
            series.add(outcomes.win_rates([index]), name, "win by", judge)
            series.add(outcomes.tie_adjusted([index]), name, "adjusted by", judge)
    return series


def _collect_deltas(entries: Sequence[_Entry], board: _Board) -> _Series:
    """Pair each fine-tuned variant with its un-tuned one, task by task."""
    series = _Series()
    wins = {entry.variant.spec.name: entry.outcomes.win_rates(board.panel) for entry in entries}
    for entry in entries:
        name, untuned = entry.variant.spec.name, entry.variant.spec.untuned
        if untuned in wins:
            series.add(wins[name] - wins[untuned], name)
    return series


def _build_result(entry: _Entry, board: _Board, rates: _Rates, deltas: _Rates) -> VariantResult:
    spec, outcomes = entry.variant.spec, entry.outcomes
    wins = outcomes.win_rates(board.panel)
    judged = ~np.isnan(wins)
    low, high = (_average_tools(values, board) for values in outcomes.bounds(board.panel))
    return VariantResult(
        name=spec.name,
        model=spec.model,
        kind=spec.kind,
        control=entry.variant.control,
        size_billions=spec.size_billions,
        tasks=len(board.tasks),
        judged=int(judged.sum()),
        missing=outcomes.missing,
        win_rate=rates[spec.name, "win"],
        tie_adjusted=rates[spec.name, "adjusted"],
        micro_win_rate_pct=_to_pct(float(wins[judged].mean())) if judged.any() else None,
        as_judged=rates[spec.name, "as judged"],
        bounds=Bounds(lo=low, hi=high),
        by_tool=tuple(_build_tool(entry, tool, board, rates) for tool in board.tools),
        by_judge=tuple(
            JudgedResult(
                name=judge,
                win_rate=rates[spec.name, "win by", judge],
                tie_adjusted=rates[spec.name, "adjusted by", judge],
            )
            for judge in board.judges
        ),
        validity=build_validity(entry.levels, entry.variant.completions),
        untuned=spec.untuned,
        delta=deltas.get((spec.name,)),
    )


def _build_tool(entry: _Entry, tool: Tool, board: _Board, rates: _Rates) -> ToolResult:
    name = entry.variant.spec.name
    places = [place for place, task in enumerate(board.tasks) if task.tool is tool]
    return ToolResult(
        name=tool,
        tasks=len(places),
        win_rate=rates[name, "win", tool],
        tie_adjusted=rates[name, "adjusted", tool],
        validity=build_validity(
            [entry.levels[place] for place in places],
            [entry.variant.completions[place] for place in places],
        ),
    )


def _average_tools(values: Floats, board: _Board) -> float:
    """Return the macro-average of complete values in percent."""
    design = board.design
    means = [values[design.tools == tool].mean() for tool in range(design.tool_count)]
    return _to_pct(float(np.mean(means)))


def _to_pct(share: float) -> float:
    return round(100 * share, _DIGITS)
