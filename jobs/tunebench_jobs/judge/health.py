"""How a judge behaves, from its verdicts alone."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from tunebench_jobs.judge.comparisons import Order
from tunebench_jobs.judge.ledger import MissingCause
from tunebench_jobs.judge.records import VerdictRow
from tunebench_jobs.judge.verdicts import Winner

_FIRST = {Order.MODEL_FIRST: Winner.MODEL, Order.BASELINE_FIRST: Winner.BASELINE}


@dataclass(frozen=True)
class JudgeHealth:
    """Counts and shares; a share is absent where there is nothing to divide by."""

    verdicts: int
    missing: Mapping[MissingCause, int]
    # Pairs of orders with the same winner, among pairs with both verdicts.
    order_consistency: float | None
    # Decided verdicts for the completion shown first; one half is expected.
    first_slot: float | None
    ties: float | None
    # Questions that were asked several times and got several winners.
    repeat_flips: float | None
    # Verdicts whose winner has the lower of the judge's own scores.
    score_mismatch: float | None
    # Replies that had to be asked for again, because no verdict could be read.
    re_asks: int
    # Absent where no price is known.
    cost_usd: float | None
    prompt_tokens: int = 0
    completion_tokens: int = 0


def build_judge_health(variants: Iterable[Sequence[VerdictRow]]) -> JudgeHealth:
    """Summarise the verdicts that one judge was really asked for, given variant by variant."""
    groups = [[row for row in rows if row.key is not None] for rows in variants]
    asked = [row for rows in groups for row in rows]
    given = [row for row in asked if row.winner is not None]
    decided = [row for row in given if row.winner is not Winner.TIE]
    by_key = {row.key: row for row in asked}
    costs = [row.cost_usd for row in by_key.values() if row.cost_usd is not None]
    return JudgeHealth(
        verdicts=len(given),
        missing=dict(Counter(row.missing for row in asked if row.missing is not None)),
        order_consistency=_share(
            [len(set(pair)) == 1 for rows in groups for pair in _list_pairs(rows)]
        ),
        first_slot=_share([row.winner is _FIRST[row.order] for row in decided]),
        ties=_share([row.winner is Winner.TIE for row in given]),
        repeat_flips=_share(
            [len(set(same)) > 1 for rows in groups for same in _list_repeats(rows)]
        ),
        score_mismatch=_share(_list_mismatches(decided)),
        re_asks=sum(max(row.replies - 1, 0) for row in by_key.values()),
        cost_usd=sum(costs) if costs else None,
        prompt_tokens=sum(row.prompt_tokens for row in by_key.values()),
        completion_tokens=sum(row.completion_tokens for row in by_key.values()),
    )


def _share(outcomes: Sequence[bool]) -> float | None:
    return sum(outcomes) / len(outcomes) if outcomes else None


def _list_pairs(rows: Iterable[VerdictRow]) -> list[list[Winner]]:
    """Return the winners of each asking of a task in both orders, where both are known."""
    winners: dict[tuple[str, int], list[Winner]] = defaultdict(list)
    for row in rows:
        if row.winner is not None:
            winners[row.task, row.repeat].append(row.winner)
    return [pair for pair in winners.values() if len(pair) == len(Order)]


def _list_repeats(rows: Iterable[VerdictRow]) -> list[list[Winner]]:
    """Return the winners of each question that was answered more than once."""
    winners: dict[tuple[str, Order], list[Winner]] = defaultdict(list)
    for row in rows:
        if row.winner is not None:
            winners[row.task, row.order].append(row.winner)
    return [same for same in winners.values() if len(same) > 1]


def _list_mismatches(decided: Iterable[VerdictRow]) -> list[bool]:
    """Return for each verdict with scores whether they contradict it."""
    scored = [
        (row.winner, row.score_model - row.score_baseline)
        for row in decided
        if row.score_model is not None and row.score_baseline is not None
    ]
    return [lead < 0 if winner is Winner.MODEL else lead > 0 for winner, lead in scored]
