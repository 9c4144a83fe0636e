"""Whether the judges of the headline can be trusted, and which numbers not to trust otherwise."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tunebench_api.reliability import Doubt, DoubtReason, Reliability
from tunebench_api.v1alpha1 import Control
from tunebench_jobs.score.board import Board
from tunebench_jobs.score.length_liking import build_length_liking
from tunebench_jobs.score.results import JudgeResult, PanelAgreement, Rate, VariantResult

# Judgement, not law. Fewer verdicts than this say nothing about a judge's habits.
_MIN_VERDICTS = 20
_MAX_LEAN_TO_A_PLACE = 25.0
_MIN_CONSISTENT_PCT = 50.0
_MAX_LONGER_WINS = 0.85
_MAX_MISSING_PCT = 5.0
_MIN_ALPHA = 0.4
_FAIR = 50.0
# What a control may win beyond what is fair, in points.
MAX_CONTROL_LEAN = 5.0
# Where there are too few pull requests for an interval.
_MAX_UNSURE_LEAN = 25.0


def build_reliability(
    board: Board,
    judges: Sequence[JudgeResult],
    rows: Sequence[VariantResult],
    agreement: PanelAgreement | None,
    unreadable_pct: float,
) -> Reliability:
    """Look at each judge of the headline, and at all of them together.

    Args:
        board: The verdicts.
        judges: What is known of each judge, in the order of the run.
        rows: The variants, controls among them.
        agreement: How far the judges agree; of one judge there is none.
        unreadable_pct: Of the baseline's completions; a control may win there.
    """
    panel = [judges[number] for number in board.panel]
    doubts = [
        doubt
        for number, judge in zip(board.panel, panel, strict=True)
        for doubt in (
            *_doubt_places(judge, panel),
            *_doubt_length(board, number, judge, panel),
            *_doubt_gaps(judge, panel),
            *_doubt_controls(judge, panel, rows, unreadable_pct),
        )
    ]
    alpha = agreement.alpha if agreement else None
    if alpha is not None and alpha.value < _MIN_ALPHA:
        doubts.append(_doubt_agreement(alpha.value))
    looked_at = any(judge.verdicts or judge.missing for judge in panel)
    return Reliability(
        reliable=not doubts if looked_at else None,
        judges=tuple(judge.name for judge in panel),
        doubts=tuple(doubts),
    )


def _doubt_places(judge: JudgeResult, panel: Sequence[JudgeResult]) -> Iterator[Doubt]:
    if judge.verdicts < _MIN_VERDICTS:
        return
    first, consistent = judge.first_slot_pct, judge.order_consistency_pct
    if first is not None and abs(first - _FAIR) > _MAX_LEAN_TO_A_PLACE:
        place, share = ("first", first) if first > _FAIR else ("second", 100 - first)
        seen = (
            f"gives {share:.1f}% of its decided verdicts to the completion shown {place}, where "
            "50% is fair"
        )
        yield _build_doubt(DoubtReason.POSITION_BIAS, judge, panel, seen)
    elif consistent is not None and consistent < _MIN_CONSISTENT_PCT:
        seen = f"names the same winner in both orders in only {consistent:.1f}% of pairs"
        yield _build_doubt(DoubtReason.ORDERS_CONTRADICT, judge, panel, seen)


def _doubt_length(
    board: Board, number: int, judge: JudgeResult, panel: Sequence[JudgeResult]
) -> Iterator[Doubt]:
    liking = build_length_liking(board, number)
    enough = liking.weight >= _MIN_VERDICTS
    if enough and liking.balanced is not None and liking.balanced > _MAX_LONGER_WINS:
        seen = (
            f"takes the longer of two answers in {100 * liking.balanced:.1f}% of verdicts, "
            "whosever it is, where 50% is fair"
        )
        yield _build_doubt(DoubtReason.PREFERS_LENGTH, judge, panel, seen)


def _doubt_gaps(judge: JudgeResult, panel: Sequence[JudgeResult]) -> Iterator[Doubt]:
    if judge.missing_pct is not None and judge.missing_pct > _MAX_MISSING_PCT:
        causes = ", ".join(f"{cause}: {count}" for cause, count in judge.missing.items())
        seen = f"gave no verdict on {judge.missing_pct:.1f}% of what it was asked ({causes})"
        yield _build_doubt(DoubtReason.VERDICTS_MISSING, judge, panel, seen)


def _doubt_controls(
    judge: JudgeResult,
    panel: Sequence[JudgeResult],
    rows: Sequence[VariantResult],
    unreadable_pct: float,
) -> Iterator[Doubt]:
    for row in rows:
        seen = next(each for each in row.by_judge if each.name == judge.name)
        wins, points = seen.win_rate, seen.tie_adjusted
        if wins is None or points is None:
            continue
        if row.control is Control.NULL and _is_above(wins, unreadable_pct):
            said = f"prefers a constant answer to the baseline in {wins.pct:.1f}% of comparisons"
            yield _build_doubt(DoubtReason.NULL_CONTROL_WINS, judge, panel, said)
        if row.control is Control.PADDED and _is_above(points, _FAIR):
            said = (
                f"gives the baseline's own answers {points.pct:.1f}% of the points once they are "
                "padded with words that say nothing, where at most 50% is fair"
            )
            yield _build_doubt(DoubtReason.PADDED_CONTROL_WINS, judge, panel, said)
        if row.control is Control.SELF and (_is_above(points, _FAIR) or _is_below(points, _FAIR)):
            said = f"gives the baseline {points.pct:.1f}% of the points against itself"
            yield _build_doubt(DoubtReason.SELF_CONTROL_UNEVEN, judge, panel, said)


def _doubt_agreement(alpha: float) -> Doubt:
    return Doubt(
        reason=DoubtReason.JUDGES_DISAGREE,
        message=(
            f"the judges agree too little (Krippendorff's alpha {alpha:.2f}, at least "
            f"{_MIN_ALPHA:.1f} is wanted); do not trust their mean, the headline, but read each "
            "judge's own column"
        ),
        distrust=("win rate",),
    )


def _build_doubt(
    reason: DoubtReason, judge: JudgeResult, panel: Sequence[JudgeResult], seen: str
) -> Doubt:
    others = [f"`{each.name}`" for each in panel if each.name != judge.name]
    rest = f"; look at {', '.join(others)} alone" if others else ""
    return Doubt(
        reason=reason,
        judge=judge.name,
        message=(
            f"judge `{judge.name}` {seen}; do not trust its win rates, nor the headline, which "
            f"they are part of{rest}"
        ),
        distrust=("win rate", f"win rate by {judge.name}"),
    )


def _is_above(rate: Rate, fair: float) -> bool:
    """Whether a control wins more than is fair, and not by chance."""
    lean = rate.pct - fair
    return lean > MAX_CONTROL_LEAN and (
        lean > _MAX_UNSURE_LEAN if rate.lo is None else rate.lo > fair
    )


def _is_below(rate: Rate, fair: float) -> bool:
    lean = fair - rate.pct
    return lean > MAX_CONTROL_LEAN and (
        lean > _MAX_UNSURE_LEAN if rate.hi is None else rate.hi < fair
    )
