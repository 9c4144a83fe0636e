"""Models of an import against each other, task by task; pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations

import numpy as np

from tunebench_jobs.published.arrange import ImportedBoard
from tunebench_jobs.score.board import build_rate
from tunebench_jobs.score.paired import build_mcnemar_p, build_sign_flip_p, correct_holm
from tunebench_jobs.score.ranking import LEVEL
from tunebench_jobs.score.results import PairResult
from tunebench_jobs.score.statistics import Bootstrap, Floats, average_values

# Of more models, each is compared with the best alone: a table of all pairs would be memory's end.
MAX_ALL_PAIRS = 40
_DIGITS = 6


def build_pairs(board: ImportedBoard, bootstrap: Bootstrap) -> Iterator[PairResult]:
    """Yield every two models that have tasks in common, with Holm's correction over all of them."""
    everyone = range(len(board.judges))
    names, values = _order(board)
    strict = {entry.name: entry.decided.strict_rates(everyone) for entry in board.entries}
    couples = [
        couple
        for couple in _list_couples(len(names))
        if not np.isnan(values[couple[0]] - values[couple[1]]).all()
    ]
    if not couples:
        return
    left, right = (np.array(side) for side in zip(*couples, strict=True))
    differences = values[left] - values[right]
    rates = [build_rate(each) for each in bootstrap.estimate_differences(differences)]
    flipped = build_sign_flip_p(differences, board.design, bootstrap.resamples, bootstrap.seed)
    corrected = correct_holm(flipped)
    exact = build_mcnemar_p(
        np.stack([strict[names[place]] for place in left]),
        np.stack([strict[names[place]] for place in right]),
    )
    for number, (first, second) in enumerate(couples):
        rate = rates[number]
        if rate is not None:
            yield PairResult(
                better=names[first],
                worse=names[second],
                tasks=int((~np.isnan(differences[number])).sum()),
                difference=rate,
                p=round(float(flipped[number]), _DIGITS),
                p_holm=round(float(corrected[number]), _DIGITS),
                p_mcnemar=None if np.isnan(exact[number]) else round(float(exact[number]), _DIGITS),
                significant=bool(corrected[number] < LEVEL),
            )


def rank_variants(
    board: ImportedBoard, pairs: Sequence[PairResult]
) -> Mapping[str, tuple[int, int]]:
    """Return for each model the ranks that the significant differences leave it."""
    count = len(board.entries)
    sure = [pair for pair in pairs if pair.significant]
    return {
        entry.name: (
            1 + sum(pair.worse == entry.name for pair in sure),
            count - sum(pair.better == entry.name for pair in sure),
        )
        for entry in board.entries
    }


def _order(
    board: ImportedBoard,
) -> tuple[list[str], Floats]:
    """Return the names of the models, the best first, and each task's preference."""
    everyone = range(len(board.judges))
    rows = []
    for entry in board.entries:
        values = entry.outcomes.tie_adjusted(everyone)
        point = float(average_values(values, board.design))
        if not np.isnan(point):
            rows.append((-point, entry.name, values))
    rows.sort(key=lambda row: row[:2])
    empty = np.zeros((0, len(board.tasks)))
    return [row[1] for row in rows], np.stack([row[2] for row in rows]) if rows else empty


def _list_couples(count: int) -> list[tuple[int, int]]:
    if count <= MAX_ALL_PAIRS:
        return list(combinations(range(count), 2))
    return [(0, other) for other in range(1, count)]
