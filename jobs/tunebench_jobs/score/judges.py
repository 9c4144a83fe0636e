"""What is to be said about the judges, and what a reader must know before trusting them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from tunebench_api.contract import ScoreConfig, VariantKind
from tunebench_api.v1alpha1 import REFERENCE_JUDGE, Control, JudgeSpec
from tunebench_jobs.judge.health import build_judge_health
from tunebench_jobs.judge.ledger import MissingCause
from tunebench_jobs.judge.records import VerdictRow
from tunebench_jobs.score.benchmark_2024 import find_replication
from tunebench_jobs.score.board import Board, find_panel, to_pct
from tunebench_jobs.score.doubts import MAX_CONTROL_LEAN
from tunebench_jobs.score.kinship import is_same_family
from tunebench_jobs.score.length_liking import build_length_liking
from tunebench_jobs.score.outcomes import JudgedVariant
from tunebench_jobs.score.results import (
    Agreement,
    Baseline,
    JudgeResult,
    Ranking,
    Setting,
    VariantResult,
    Warned,
)

# Above these, a warning. Judgement, not law.
MAX_MISSING_PCT = 2.0
_MAX_CUT_OFF_PCT = 5.0
_MIN_KAPPA = 0.4
_MAX_LENGTH_SHIFT = 10.0


def build_judge_results(
    board: Board, sent: Mapping[str, Mapping[str, Setting]]
) -> list[JudgeResult]:
    """Summarise each judge's verdicts; `sent` has the parameters that judges were sent, by name."""
    return [_build_judge(board, number, sent) for number in range(len(board.judges))]


def build_settings(judge: JudgeSpec, sent: Mapping[str, Setting] | None) -> dict[str, Setting]:
    """Return the parameters that a judge was sent, by its vendor's names; null is for not at all.

    Judge stages of earlier versions did not say; then it is what the run asks for.
    """
    if judge.model == REFERENCE_JUDGE:
        return {}
    if not sent:
        return {"temperature": judge.temperature, "maxTokens": judge.max_tokens}
    return {"temperature": None, **sent}


def build_warnings(
    config: ScoreConfig,
    baseline: Baseline,
    results: Sequence[VariantResult],
    agreements: Iterable[Agreement],
    ranking: Ranking,
) -> list[Warned]:
    """Return all that speaks against taking the numbers at face value."""
    return [
        *_warn_of_kinship(config),
        *_warn_of_controls(results, baseline.validity.invalid_pct),
        *_warn_of_gaps(results),
        *_warn_of_ranking(ranking),
        *_warn_of_length(results),
        *(_warn_of_disagreement(each) for each in agreements if _disagree(each, config)),
    ]


def _build_judge(
    board: Board, number: int, sent: Mapping[str, Mapping[str, Setting]]
) -> JudgeResult:
    judge = board.config.judges[number]
    groups = [_rows_of(entry.variant, judge.name) for entry in board.entries]
    everything = build_judge_health(groups)
    behaviour = build_judge_health(
        rows
        for rows, entry in zip(groups, board.entries, strict=True)
        if entry.kind is not VariantKind.CONTROL
    )
    liking = build_length_liking(board, number)
    missing = {str(cause): count for cause, count in sorted(everything.missing.items())}
    asked = everything.verdicts + sum(missing.values())
    unreadable = missing.get(MissingCause.UNREADABLE, 0)
    llm = judge.model != REFERENCE_JUDGE
    return JudgeResult(
        name=judge.name,
        model=judge.model,
        family=judge.family,
        llm=llm,
        in_panel=number in board.panel,
        verdicts=everything.verdicts,
        missing=missing,
        order_consistency_pct=_to_pct(behaviour.order_consistency),
        first_slot_pct=_to_pct(behaviour.first_slot),
        ties_pct=_to_pct(behaviour.ties),
        score_mismatch_pct=_to_pct(behaviour.score_mismatch),
        re_asks=everything.re_asks,
        cost_usd=everything.cost_usd if llm else 0.0,
        settings=build_settings(judge, sent.get(judge.name)),
        missing_pct=_to_pct(sum(missing.values()) / asked) if asked else None,
        parse_failures_pct=_to_pct(unreadable / asked) if asked else None,
        longer_wins_pct=_to_pct(liking.longer_wins),
        longer_wins_balanced_pct=_to_pct(liking.balanced),
        repeat_flips_pct=_to_pct(behaviour.repeat_flips),
        replication=find_replication(judge),
    )


def _rows_of(variant: JudgedVariant, judge: str) -> list[VerdictRow]:
    return [row for row in variant.verdicts if row.judge == judge]


def _to_pct(share: float | None) -> float | None:
    return None if share is None else to_pct(share)


def _warn_of_kinship(config: ScoreConfig) -> Iterator[Warned]:
    relatives = (
        *(
            (family, "PreferenceLeakage", "wrote training answers")
            for family in config.teacher_families
        ),
        (config.baseline_spec.family, "SelfPreference", "made the baseline"),
    )
    for judge in config.judges:
        for family, reason, deed in relatives:
            if is_same_family(judge.family, family):
                message = (
                    f"judge `{judge.name}` is of the family `{judge.family}`, which {deed}; it may "
                    "favour its own, so look at the judges of other families"
                )
                yield Warned(reason=reason, message=message)


def _warn_of_controls(results: Sequence[VariantResult], unreadable_pct: float) -> Iterator[Warned]:
    for result in results:
        for judged in result.by_judge:
            if judged.win_rate is None:
                continue
            wins = judged.win_rate.pct
            lean = (judged.tie_adjusted.pct if judged.tie_adjusted else 50.0) - 50.0
            if result.control is Control.NULL and wins > unreadable_pct + MAX_CONTROL_LEAN:
                message = (
                    f"judge `{judged.name}` prefers a constant answer to the baseline in "
                    f"{wins:.1f}% of comparisons, though only {unreadable_pct:.1f}% of the "
                    "baseline's completions cannot be read; do not trust its verdicts"
                )
                yield Warned(reason="NullControlWins", message=message)
            if result.control is Control.SELF and abs(lean) > MAX_CONTROL_LEAN:
                message = (
                    f"judge `{judged.name}` gives the baseline {lean + 50:.1f}% of the points "
                    "against itself, where 50% is fair"
                )
                yield Warned(reason="SelfControlUneven", message=message)
            if result.control is Control.PADDED and lean > MAX_CONTROL_LEAN:
                message = (
                    f"judge `{judged.name}` gives the baseline's answers {lean + 50:.1f}% of the "
                    "points once they are padded with words that say nothing; look at the "
                    "length-controlled rates"
                )
                yield Warned(reason="PaddedControlWins", message=message)


def _warn_of_gaps(results: Sequence[VariantResult]) -> Iterator[Warned]:
    for result in results:
        share = result.missing_pct or 0.0
        if share > MAX_MISSING_PCT:
            message = (
                f"variant `{result.name}` lacks {share:.1f}% of its verdicts; its win rate lies "
                f"between {result.bounds.lo:.1f}% and {result.bounds.hi:.1f}%"
            )
            yield Warned(reason="MissingVerdicts", message=message)
        cut = result.validity.cut_off_pct
        if cut > _MAX_CUT_OFF_PCT and result.kind is not VariantKind.CONTROL:
            message = (
                f"{cut:.1f}% of the completions of variant `{result.name}` were cut off at the "
                "token limit; raise `spec.generation.maxTokens` if they look reasonable"
            )
            yield Warned(reason="CompletionsCutOff", message=message)


def _warn_of_ranking(ranking: Ranking) -> Iterator[Warned]:
    if ranking.blocked:
        message = (
            f"no ranks are given, because verdicts may be missing for a reason: {ranking.blocked}"
        )
        yield Warned(reason="RankingBlocked", message=message)


def _warn_of_length(results: Sequence[VariantResult]) -> Iterator[Warned]:
    for result in results:
        controlled = result.length_controlled
        if controlled is None or result.win_rate is None:
            continue
        shift = controlled.rate.pct - result.win_rate.pct
        if abs(shift) > _MAX_LENGTH_SHIFT:
            message = (
                f"at the baseline's length, variant `{result.name}` would win "
                f"{controlled.rate.pct:.1f}% and not {result.win_rate.pct:.1f}%: much of its rate "
                "goes with the length of its answers"
            )
            yield Warned(reason="LengthMatters", message=message)


def _disagree(agreement: Agreement, config: ScoreConfig) -> bool:
    """Whether two judges of the headline agree too little; the reference judge may differ."""
    panel = {config.judges[index].name for index in find_panel(config)}
    in_panel = panel.issuperset(agreement.judges)
    return in_panel and agreement.kappa is not None and agreement.kappa < _MIN_KAPPA


def _warn_of_disagreement(agreement: Agreement) -> Warned:
    left, right = agreement.judges
    message = (
        f"judges `{left}` and `{right}` agree little beyond chance (kappa {agreement.kappa:.2f}); "
        "read their columns apart"
    )
    return Warned(reason="JudgesDisagree", message=message)
