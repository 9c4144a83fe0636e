"""The leaderboard: every variant's rates with their intervals, from verdicts and completions."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from tunebench_api.contract import VariantKind
from tunebench_api.v1alpha1 import Tool
from tunebench_jobs.score.benchmark_2024 import find_group
from tunebench_jobs.score.board import Board, Entry, build_rate, to_pct
from tunebench_jobs.score.length import LengthFit, build_answer_length, fit_length
from tunebench_jobs.score.outcomes import build_validity
from tunebench_jobs.score.ranking import Standing
from tunebench_jobs.score.results import (
    Bounds,
    JudgedResult,
    ToolResult,
    VariantResult,
)
from tunebench_jobs.score.series import Rates, Series
from tunebench_jobs.score.statistics import (
    FEW_CLUSTERS,
    Estimate,
    average_values,
    build_clustered_errors,
    build_normal_interval,
    build_wilson_interval,
)


def build_variant_results(board: Board, standings: Mapping[str, Standing]) -> list[VariantResult]:
    """Score all variants with the same resamples: the best first, controls last."""
    rates = _collect_rates(board).estimate_rates(board.bootstrap)
    deltas = _collect_deltas(board).estimate_differences(board.bootstrap)
    lengths = fit_length(board)
    rows = [
        _build_result(entry, board, rates, deltas).model_copy(
            update={
                **_build_checks(entry, board),
                **_build_length(entry, board, lengths),
                **_build_standing(entry, standings),
            }
        )
        for entry in board.entries
    ]
    return sorted(rows, key=_rank)


def _rank(result: VariantResult) -> tuple[bool, float, str]:
    rate = result.win_rate.pct if result.win_rate else -1.0
    return result.kind is VariantKind.CONTROL, -rate, result.name


def _collect_rates(board: Board) -> Series:
    series = Series()
    of_tool = {tool: np.array([task.tool is tool for task in board.tasks]) for tool in board.tools}
    for entry in board.entries:
        name, outcomes = entry.name, entry.outcomes
        wins, adjusted = outcomes.win_rates(board.panel), outcomes.tie_adjusted(board.panel)
        series.add(wins, name, "win")
        series.add(adjusted, name, "adjusted")
        series.add(outcomes.win_rates(board.panel, as_judged=True), name, "as judged")
        series.add(outcomes.strict_rates(board.panel), name, "strict")
        for tool, chosen in of_tool.items():
            series.add(np.where(chosen, wins, np.nan), name, "win", tool)
            series.add(np.where(chosen, adjusted, np.nan), name, "adjusted", tool)
        for index, judge in enumerate(board.judges):
            series.add(outcomes.win_rates([index]), name, "win by", judge)
            series.add(outcomes.tie_adjusted([index]), name, "adjusted by", judge)
    return series


def _collect_deltas(board: Board) -> Series:
    """Pair each fine-tuned variant with its un-tuned one, task by task."""
    series = Series()
    wins = {entry.name: entry.outcomes.win_rates(board.panel) for entry in board.entries}
    for entry in board.entries:
        untuned = entry.variant.spec.untuned
        if untuned in wins:
            series.add(wins[entry.name] - wins[untuned], entry.name)
    return series


def _build_result(entry: Entry, board: Board, rates: Rates, deltas: Rates) -> VariantResult:
    spec, outcomes = entry.variant.spec, entry.outcomes
    wins = outcomes.win_rates(board.panel)
    judged = ~np.isnan(wins)
    low, high = (
        to_pct(float(average_values(values, board.design)))
        for values in outcomes.bounds(board.panel)
    )
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
        micro_win_rate_pct=to_pct(float(wins[judged].mean())) if judged.any() else None,
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
        validity=build_validity(entry.readings, entry.variant.completions),
        untuned=spec.untuned,
        delta=deltas.get((spec.name,)),
        strict=rates[spec.name, "strict"],
        group=find_group(spec.size_billions),
        missing_pct=to_pct(outcomes.missing_share),
    )


def _build_checks(entry: Entry, board: Board) -> dict[str, object]:
    """Compute the headline's interval in other ways, for those who doubt the bootstrap."""
    wins = entry.outcomes.win_rates(board.panel)
    if np.isnan(wins).all():
        return {}
    estimate = float(average_values(wins, board.design))
    (error,) = build_clustered_errors(wins[None, :], board.design)
    low, high = build_normal_interval(estimate, float(error))
    checks: dict[str, object] = {"normal_check": build_rate(Estimate(estimate, low, high))}
    prs = len({task.pr for task in board.tasks})
    if len(board.panel) == len(board.tools) == 1 and prs < FEW_CLUSTERS:
        low, high = build_wilson_interval(estimate, int((~np.isnan(wins)).sum()))
        checks["wilson_check"] = build_rate(Estimate(estimate, low, high))
    return checks


def _build_length(
    entry: Entry, board: Board, lengths: Mapping[str, LengthFit]
) -> dict[str, object]:
    fit = lengths.get(entry.name)
    return {
        "length": build_answer_length(entry, board),
        "length_controlled": fit.to_result() if fit else None,
    }


def _build_standing(entry: Entry, standings: Mapping[str, Standing]) -> dict[str, object]:
    standing = standings.get(entry.name)
    if standing is None:
        return {}
    return {"rank": standing.rank, "group_rank": standing.group_rank}


def _build_tool(entry: Entry, tool: Tool, board: Board, rates: Rates) -> ToolResult:
    name = entry.name
    places = [place for place, task in enumerate(board.tasks) if task.tool is tool]
    return ToolResult(
        name=tool,
        tasks=len(places),
        win_rate=rates[name, "win", tool],
        tie_adjusted=rates[name, "adjusted", tool],
        validity=build_validity(
            [entry.readings[place] for place in places],
            [entry.variant.completions[place] for place in places],
        ),
    )
