"""Scores imported verdicts with the same statistics as those of a run; pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from tunebench_jobs.imports.arrange import Filed, ImportedBoard, ImportedEntry, arrange_boards
from tunebench_jobs.imports.figures import build_figures
from tunebench_jobs.imports.length import build_length
from tunebench_jobs.imports.results import (
    BoardResult,
    ImportedGroup,
    ImportedJudge,
    ImportedJudged,
    ImportedResults,
    ImportedVariant,
    ScoredSet,
)
from tunebench_jobs.judge.comparisons import Order
from tunebench_jobs.score.agreement import code_levels, compare_judges
from tunebench_jobs.score.board import to_pct
from tunebench_jobs.score.judges import MAX_MISSING_PCT
from tunebench_jobs.score.outcomes import TIE
from tunebench_jobs.score.pairs import Compared, build_pairs, find_ranks, order_variants
from tunebench_jobs.score.results import Agreement, Bounds, Method, Warned
from tunebench_jobs.score.series import Rates, Series
from tunebench_jobs.score.statistics import CONFIDENCE, Bootstrap, Floats, average_values

# Of more models, each is compared with the best alone: all pairs would be too much for memory.
MAX_ALL_PAIRS = 40
_INTERVALS = (
    "A task counts once every order that its source asked for has a verdict. Intervals are 95% "
    "intervals from {resamples} bootstrap resamples of whole questions, the same for all models."
)
_RATES = (
    "`preference` counts a tie as half and a grade as it is, `win rate` counts neither a tie nor a "
    "grade of one half, and models are compared and ranked by `preference`."
)
_FIGURES = "Figures under a source's own names follow its own program, over all that it counts."
_NOT_SHOWN = (
    "AlpacaEval shuffles the completions and does not write down how, so nothing can be said of "
    "order consistency and of the first position."
)


def score_imports(
    sets: Sequence[ScoredSet],
    filed: Sequence[Filed],
    *,
    resamples: int,
    seed: int,
    versions: Mapping[str, str],
) -> ImportedResults:
    """Score all that the sets hold, a table for each tool and baseline."""
    arranged = arrange_boards(filed)
    boards = tuple(_score_board(board, filed, resamples, seed) for board in arranged)
    notes = [_INTERVALS.format(resamples=resamples), _RATES, _FIGURES]
    if any(None in board.orders for board in arranged):
        notes.append(_NOT_SHOWN)
    return ImportedResults(
        sets=tuple(sets),
        boards=boards,
        method=Method(
            resamples=resamples,
            seed=seed,
            confidence=CONFIDENCE,
            interval="expanded percentile bootstrap over questions",
        ),
        warnings=tuple(warning for board in boards for warning in _warn(board)),
        notes=tuple(notes),
        versions=versions,
    )


def _score_board(
    board: ImportedBoard, filed: Sequence[Filed], resamples: int, seed: int
) -> BoardResult:
    bootstrap = Bootstrap(board.design, resamples, seed)
    pairs = tuple(build_pairs(_compare(board), bootstrap, most=MAX_ALL_PAIRS))
    names = [entry.name for entry in board.entries]
    rates = _collect_rates(board).estimate_rates(bootstrap)
    variants = [
        _build_variant(entry, board, bootstrap, rates, find_ranks(entry.name, names, pairs))
        for entry in board.entries
    ]
    return BoardResult(
        source=board.source,
        baseline=board.baseline,
        tasks=len(board.tasks),
        questions=len(set(board.questions)),
        variants=tuple(sorted(variants, key=_order)),
        judges=tuple(_build_judges(board, filed)),
        agreement=_build_agreement(board),
        pairs=pairs,
    )


def _order(row: ImportedVariant) -> tuple[float, str]:
    return (-row.preference.pct if row.preference else 1.0, row.name)


def _compare(board: ImportedBoard) -> Compared:
    everyone = range(len(board.judges))
    rows = (
        (
            entry.name,
            entry.outcomes.tie_adjusted(everyone),
            entry.decided.strict_rates(everyone),
        )
        for entry in board.entries
    )
    return order_variants(rows, board.design)


def _collect_rates(board: ImportedBoard) -> Series:
    series = Series()
    everyone = range(len(board.judges))
    of_group = {
        group: np.array([each == group for each in board.groups])
        for group in sorted(set(board.groups))
    }
    for entry in board.entries:
        name, outcomes = entry.name, entry.outcomes
        preference, wins = outcomes.tie_adjusted(everyone), outcomes.win_rates(everyone)
        series.add(preference, name, "preference")
        series.add(wins, name, "win")
        series.add(entry.decided.tie_adjusted(everyone), name, "adjusted")
        for index, judge in enumerate(board.judges):
            series.add(outcomes.tie_adjusted([index]), name, "preference by", judge)
            series.add(outcomes.win_rates([index]), name, "win by", judge)
        for group, chosen in of_group.items():
            series.add(np.where(chosen, preference, np.nan), name, "preference in", group)
            series.add(np.where(chosen, wins, np.nan), name, "win in", group)
    return series


def _build_variant(
    entry: ImportedEntry,
    board: ImportedBoard,
    bootstrap: Bootstrap,
    rates: Rates,
    ranks: tuple[int, int],
) -> ImportedVariant:
    everyone = range(len(board.judges))
    known = np.asarray(entry.outcomes.expected.any(axis=(0, 2, 3)))
    low, high = (
        to_pct(float(average_values(values, board.design)))
        for values in entry.outcomes.bounds(everyone)
    )
    return ImportedVariant(
        name=entry.name,
        tasks=int(known.sum()),
        judged=int((~np.isnan(entry.outcomes.win_rates(everyone))).sum()),
        missing=entry.outcomes.missing,
        preference=rates[entry.name, "preference"],
        win_rate=rates[entry.name, "win"],
        tie_adjusted=rates[entry.name, "adjusted"],
        bounds=Bounds(lo=low, hi=high),
        by_judge=tuple(
            ImportedJudged(
                name=judge,
                preference=rates[entry.name, "preference by", judge],
                win_rate=rates[entry.name, "win by", judge],
                figures=build_figures(board.source, entry, index),
            )
            for index, judge in enumerate(board.judges)
        ),
        by_group=tuple(_build_groups(entry.name, board, known, rates)),
        length=build_length(entry, board, bootstrap),
        rank_low=ranks[0],
        rank_high=ranks[1],
    )


def _build_groups(
    name: str,
    board: ImportedBoard,
    known: NDArray[np.bool_],
    rates: Rates,
) -> Iterator[ImportedGroup]:
    groups = sorted(set(board.groups))
    if len(groups) == 1:
        return
    for group in groups:
        chosen = np.array([each == group for each in board.groups])
        yield ImportedGroup(
            name=group,
            tasks=int((known & chosen).sum()),
            preference=rates[name, "preference in", group],
            win_rate=rates[name, "win in", group],
        )


def _build_judges(board: ImportedBoard, filed: Sequence[Filed]) -> Iterator[ImportedJudge]:
    causes: dict[str, Counter[str]] = {judge: Counter() for judge in board.judges}
    for each in filed:
        ours = (each.source, each.row.baseline) == (board.source, board.baseline)
        if ours and each.entry.missing is not None:
            causes[each.row.judge][str(each.entry.missing)] += 1
    shown = None not in board.orders
    for index, judge in enumerate(board.judges):
        # By variant, in the axes of their outcomes without the judge's.
        points = [entry.decided.points[index] for entry in board.entries]
        given = np.concatenate([each[~np.isnan(each)] for each in points])
        yield ImportedJudge(
            name=judge,
            verdicts=len(given),
            missing=dict(sorted(causes[judge].items())),
            ties_pct=_share(given == TIE),
            order_consistency_pct=_share(_list_consistent(points)) if shown else None,
            first_slot_pct=_share(_list_first_wins(points, board)) if shown else None,
        )


def _list_consistent(points: Sequence[Floats]) -> NDArray[np.bool_]:
    """Return for each pair of orders with both verdicts whether they are the same."""
    pairs = np.concatenate([np.moveaxis(each, 1, -1).reshape(-1, each.shape[1]) for each in points])
    pairs = pairs[~np.isnan(pairs).any(axis=-1)]
    same: NDArray[np.bool_] = pairs.min(axis=-1) == pairs.max(axis=-1)
    return same


def _list_first_wins(points: Sequence[Floats], board: ImportedBoard) -> NDArray[np.bool_]:
    """Return for each decided verdict whether the completion shown first has won."""
    first = np.array([1.0 if order is Order.MODEL_FIRST else 0.0 for order in board.orders])
    won = [(each == first[None, :, None])[(each == 0.0) | (each == 1.0)] for each in points]
    return np.concatenate(won)


def _share(outcomes: NDArray[np.bool_]) -> float | None:
    return to_pct(float(outcomes.mean())) if len(outcomes) else None


def _build_agreement(board: ImportedBoard) -> tuple[Agreement, ...]:
    """Compare judges on the first verdict of each; sources seldom have more."""
    levels = [code_levels(entry.outcomes.points[:, :, :, 0]) for entry in board.entries]
    return tuple(compare_judges(board.judges, np.stack(levels, axis=1)))


def _warn(board: BoardResult) -> Iterator[Warned]:
    for row in board.variants:
        asked = sum(judge.verdicts + sum(judge.missing.values()) for judge in board.judges)
        share = 100 * row.missing / max(asked / len(board.variants), 1)
        if share > MAX_MISSING_PCT:
            message = (
                f"`{row.name}` lacks {row.missing} verdicts; its win rate lies between "
                f"{row.bounds.lo:.1f}% and {row.bounds.hi:.1f}%"
            )
            yield Warned(reason="MissingVerdicts", message=message)
        if row.tasks < board.tasks:
            message = (
                f"`{row.name}` was asked {row.tasks} of {board.tasks} tasks; what it is compared "
                "with was partly asked others"
            )
            yield Warned(reason="OtherTasks", message=message)
