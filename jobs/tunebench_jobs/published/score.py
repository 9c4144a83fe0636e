"""Scores imported verdicts with the same statistics as those of a run; pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from tunebench_jobs.judge.comparisons import Order
from tunebench_jobs.published.arrange import Filed, ImportedBoard, ImportedEntry, arrange_boards
from tunebench_jobs.published.compare import build_pairs, rank_variants
from tunebench_jobs.published.figures import build_figures
from tunebench_jobs.published.length import build_length
from tunebench_jobs.published.results import (
    BoardResult,
    ImportedGroup,
    ImportedJudge,
    ImportedJudged,
    ImportedResults,
    ImportedVariant,
    ScoredSet,
)
from tunebench_jobs.score.board import build_rate, to_pct
from tunebench_jobs.score.results import Agreement, Bounds, Method, Rate, Warned
from tunebench_jobs.score.statistics import (
    CONFIDENCE,
    Bootstrap,
    Floats,
    average_values,
    build_agreement,
)

# Above this, a warning, as in a run.
_MAX_MISSING_PCT = 2.0
_TIE = 0.5
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
    pairs = tuple(build_pairs(board, bootstrap))
    ranks = rank_variants(board, pairs)
    rates = _estimate(board, bootstrap)
    variants = [
        _build_variant(entry, board, bootstrap, rates[entry.name], ranks[entry.name])
        for entry in board.entries
    ]
    return BoardResult(
        source=board.source,
        baseline=board.baseline,
        tasks=len(board.tasks),
        questions=len(set(board.questions)),
        variants=tuple(sorted(variants, key=_order)),
        judges=tuple(_build_judges(board, filed)),
        agreement=tuple(_build_agreements(board)),
        pairs=pairs,
    )


def _order(row: ImportedVariant) -> tuple[float, str]:
    return (-row.preference.pct if row.preference else 1.0, row.name)


def _estimate(
    board: ImportedBoard, bootstrap: Bootstrap
) -> dict[str, dict[tuple[str, ...], Rate | None]]:
    """Estimate every rate of every model with the same resamples."""
    names: list[tuple[str, tuple[str, ...]]] = []
    values: list[Floats] = []
    for entry in board.entries:
        for name, row in _list_rows(entry, board):
            names.append((entry.name, name))
            values.append(row)
    rates: dict[str, dict[tuple[str, ...], Rate | None]] = {}
    estimates = bootstrap.estimate_rates(np.stack(values))
    for (variant, name), estimate in zip(names, estimates, strict=True):
        rates.setdefault(variant, {})[name] = build_rate(estimate)
    return rates


def _list_rows(
    entry: ImportedEntry, board: ImportedBoard
) -> Iterator[tuple[tuple[str, ...], Floats]]:
    everyone = range(len(board.judges))
    preference = entry.outcomes.tie_adjusted(everyone)
    wins = entry.outcomes.win_rates(everyone)
    yield ("preference",), preference
    yield ("win",), wins
    yield ("adjusted",), entry.decided.tie_adjusted(everyone)
    for index, judge in enumerate(board.judges):
        yield ("preference by", judge), entry.outcomes.tie_adjusted([index])
        yield ("win by", judge), entry.outcomes.win_rates([index])
    for group in sorted(set(board.groups)):
        chosen = np.array([each == group for each in board.groups])
        yield ("preference in", group), np.where(chosen, preference, np.nan)
        yield ("win in", group), np.where(chosen, wins, np.nan)


def _build_variant(
    entry: ImportedEntry,
    board: ImportedBoard,
    bootstrap: Bootstrap,
    rates: Mapping[tuple[str, ...], Rate | None],
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
        preference=rates["preference",],
        win_rate=rates["win",],
        tie_adjusted=rates["adjusted",],
        bounds=Bounds(lo=low, hi=high),
        by_judge=tuple(
            ImportedJudged(
                name=judge,
                preference=rates["preference by", judge],
                win_rate=rates["win by", judge],
                figures=build_figures(board.source, entry, index),
            )
            for index, judge in enumerate(board.judges)
        ),
        by_group=tuple(_build_groups(board, known, rates)),
        length=build_length(entry, board, bootstrap),
        rank_low=ranks[0],
        rank_high=ranks[1],
    )


def _build_groups(
    board: ImportedBoard,
    known: NDArray[np.bool_],
    rates: Mapping[tuple[str, ...], Rate | None],
) -> Iterator[ImportedGroup]:
    groups = sorted(set(board.groups))
    if len(groups) == 1:
        return
    for group in groups:
        chosen = np.array([each == group for each in board.groups])
        yield ImportedGroup(
            name=group,
            tasks=int((known & chosen).sum()),
            preference=rates["preference in", group],
            win_rate=rates["win in", group],
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
            ties_pct=_share(given == _TIE),
            order_consistency_pct=_share(_list_consistent(points)) if shown else None,
            first_slot_pct=_share(_list_first_wins(points, board)) if shown else None,
        )


def _list_consistent(
    points: Sequence[Floats],
) -> NDArray[np.bool_]:
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


def _build_agreements(board: ImportedBoard) -> Iterator[Agreement]:
    for left, right in combinations(range(len(board.judges)), 2):
        sides: tuple[list[str], list[str]] = ([], [])
        for entry in board.entries:
            ours, theirs = (entry.decided.points[judge, :, :, 0] for judge in (left, right))
            both = ~np.isnan(ours) & ~np.isnan(theirs)
            for side, points in zip(sides, (ours, theirs), strict=True):
                side += [str(point) for point in points[both]]
        if sides[0]:
            raw, kappa = build_agreement(*sides)
            yield Agreement(
                judges=(board.judges[left], board.judges[right]),
                comparisons=len(sides[0]),
                raw_pct=to_pct(raw),
                kappa=None if kappa is None else round(kappa, 4),
            )


def _warn(board: BoardResult) -> Iterator[Warned]:
    for row in board.variants:
        asked = sum(judge.verdicts + sum(judge.missing.values()) for judge in board.judges)
        share = 100 * row.missing / max(asked / len(board.variants), 1)
        if share > _MAX_MISSING_PCT:
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
