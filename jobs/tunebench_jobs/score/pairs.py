"""Every two variants against each other, task by task."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from tunebench_jobs.score.board import build_rate
from tunebench_jobs.score.paired import build_mcnemar_p, build_sign_flip_p, correct_holm
from tunebench_jobs.score.results import PairResult
from tunebench_jobs.score.statistics import Bootstrap, Design, Floats, average_values

# Most probability of any false difference over all pairs.
LEVEL = 0.05
_DIGITS = 6


@dataclass(frozen=True)
class Compared:
    """Variants, the best first, with a row of each: what they are compared by, and strict wins."""

    names: Sequence[str]
    rates: Floats
    strict: Floats


def order_variants(rows: Iterable[tuple[str, Floats, Floats]], design: Design) -> Compared:
    """Put variants in order, from a name, the rates and the strict win rates of each by task.

    Those without any rate are left out.
    """
    known = [
        (-point, name, rates, strict)
        for name, rates, strict in rows
        if not np.isnan(point := float(average_values(rates, design)))
    ]
    known.sort(key=lambda row: row[:2])
    empty = np.zeros((0, len(design.tools)))
    return Compared(
        names=[row[1] for row in known],
        rates=np.stack([row[2] for row in known]) if known else empty,
        strict=np.stack([row[3] for row in known]) if known else empty,
    )


def build_pairs(
    compared: Compared, bootstrap: Bootstrap, *, most: int | None = None
) -> Iterator[PairResult]:
    """Yield every two variants that have tasks in common, with Holm's correction over all of them.

    Of more than `most` variants, each is compared with the best alone.
    """
    couples = [
        (left, right)
        for left, right in _list_couples(len(compared.names), most)
        if not np.isnan(compared.rates[left] - compared.rates[right]).all()
    ]
    if not couples:
        return
    left, right = (np.array(side) for side in zip(*couples, strict=True))
    differences = compared.rates[left] - compared.rates[right]
    rates = [build_rate(each) for each in bootstrap.estimate_differences(differences)]
    flipped = build_sign_flip_p(differences, bootstrap.design, bootstrap.resamples, bootstrap.seed)
    corrected = correct_holm(flipped)
    exact = build_mcnemar_p(compared.strict[left], compared.strict[right])
    for number, (first, second) in enumerate(couples):
        rate = rates[number]
        if rate is not None:
            yield PairResult(
                better=compared.names[first],
                worse=compared.names[second],
                tasks=int((~np.isnan(differences[number])).sum()),
                difference=rate,
                p=round(float(flipped[number]), _DIGITS),
                p_holm=round(float(corrected[number]), _DIGITS),
                p_mcnemar=None if np.isnan(exact[number]) else round(float(exact[number]), _DIGITS),
                significant=bool(corrected[number] < LEVEL),
            )


def find_ranks(name: str, among: Sequence[str], pairs: Iterable[PairResult]) -> tuple[int, int]:
    """Return the best and the worst rank of a variant that the significant pairs allow."""
    others = set(among)
    sure = [pair for pair in pairs if pair.significant]
    beaten_by = sum(pair.worse == name and pair.better in others for pair in sure)
    beats = sum(pair.better == name and pair.worse in others for pair in sure)
    return 1 + beaten_by, len(among) - beats


def _list_couples(count: int, most: int | None) -> Iterable[tuple[int, int]]:
    if most is None or count <= most:
        return combinations(range(count), 2)
    return ((0, other) for other in range(1, count))
