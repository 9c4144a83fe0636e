"""What a scored run reports: the results, and the part of them that the status shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tunebench_api.contamination import Contamination
from tunebench_api.contract import ScoreConfig, VariantKind
from tunebench_api.reliability import SUMMARY_KEY as RELIABILITY_KEY
from tunebench_api.v1alpha1 import Interval, JudgeStatus, LeaderboardRow, ToolRate
from tunebench_jobs.records import Completion, Task
from tunebench_jobs.score.agreement import build_agreements, build_panel_agreement
from tunebench_jobs.score.benchmark_2024 import find_panel_replication
from tunebench_jobs.score.board import Board, build_board
from tunebench_jobs.score.cells import NOT_AN_LLM, NOTHING, format_compact_rate, format_rank
from tunebench_jobs.score.doubts import build_reliability
from tunebench_jobs.score.judges import build_judge_results, build_warnings
from tunebench_jobs.score.kinship import build_kinship
from tunebench_jobs.score.leaderboard import build_variant_results
from tunebench_jobs.score.outcomes import JudgedVariant, build_validity
from tunebench_jobs.score.power import build_power
from tunebench_jobs.score.ranking import build_ranking, build_standings
from tunebench_jobs.score.results import (
    Agreement,
    Baseline,
    FunnelStep,
    JudgeResult,
    Method,
    Power,
    Rate,
    Results,
    Setting,
    VariantResult,
    Warned,
)
from tunebench_jobs.score.statistics import CONFIDENCE, FEW_CLUSTERS, MIN_CLUSTERS_RATE

_INTERVALS = (
    "Intervals are 95% intervals from {resamples} bootstrap resamples of whole pull requests, so "
    "that the tasks of one pull request stay together; the same resamples serve all variants. The "
    "change by fine-tuning is paired task by task."
)
_NOT_COVERED = (
    "Intervals cover the choice of pull requests only. They do not cover another training seed, "
    "another sampling of the judges' replies or of the completions, or another wording of the "
    "prompts: each was done once."
)
_REPEATED = (
    "Intervals cover the choice of pull requests, and with {repeats} replies to each question much "
    "of the chance in the judges' replies. They do not cover another training seed, another "
    "sampling of the completions, or another wording of the prompts: each was done once."
)
_MISSING = (
    "A task counts once both of its orders have a verdict. `results.json` holds the bounds of each "
    "rate if all missing verdicts were lost or won, the rates with the judges' own word on answers "
    "that cannot be read, and the SHA-256 of every input."
)


def build_results(  # noqa: PLR0913 - the parts of a report, each by its name
    config: ScoreConfig,
    tasks: Sequence[Task],
    variants: Sequence[JudgedVariant],
    baseline: Sequence[Completion],
    *,
    inputs: Mapping[str, str],
    prompts: Mapping[str, str],
    versions: Mapping[str, str],
    shortfalls: Sequence[str] = (),
    contamination: Contamination | None = None,
    funnel: Sequence[FunnelStep] = (),
    sent: Mapping[str, Mapping[str, Setting]] | None = None,
) -> Results:
    """Build everything that is reported; pure."""
    board = build_board(config, tasks, variants, baseline)
    ranking = build_ranking(board)
    rows = build_variant_results(board, build_standings(board, ranking))
    judges = build_judge_results(board, sent or {})
    agreement = tuple(build_agreements(board))
    panel_agreement = build_panel_agreement(board)
    shown = build_baseline(board, baseline)
    unreadable, power = shown.validity.invalid_pct, build_power(board)
    return Results(
        run=config.run,
        baseline=shown,
        tools=tuple(board.tools),
        tasks=len(tasks),
        pull_requests=len({task.pr for task in tasks}),
        judging=config.judging,
        method=Method(
            resamples=config.statistics.resamples, seed=config.seed, confidence=CONFIDENCE
        ),
        variants=tuple(rows),
        judges=tuple(judges),
        agreement=agreement,
        failed=config.failed,
        warnings=(
            *(Warned(reason="FewerPullRequests", message=each) for each in shortfalls),
            *build_warnings(config, shown, rows, agreement, ranking),
        ),
        notes=tuple(build_notes(config, tasks, judges, power)),
        contamination=contamination,
        funnel=tuple(funnel),
        inputs=inputs,
        prompts=prompts,
        versions=versions,
        ranking=ranking,
        panel_agreement=panel_agreement,
        kinship=build_kinship(board),
        power=power,
        reliability=build_reliability(board, judges, rows, panel_agreement, unreadable),
        replication=find_panel_replication([config.judges[judge] for judge in board.panel]),
    )


def build_baseline(board: Board, completions: Sequence[Completion]) -> Baseline:
    """Say what everything is compared with, and how well it reads itself."""
    rows = list(zip(board.tasks, board.baseline, completions, strict=True))
    by_tool = [
        [(reading, row) for task, reading, row in rows if task.tool is tool] for tool in board.tools
    ]
    spec = board.config.baseline_spec
    return Baseline(
        name=spec.name,
        family=spec.family,
        validity=build_validity(board.baseline, completions),
        valid_pct_by_tool=tuple(
            build_validity([reading for reading, _ in part], [row for _, row in part]).valid_pct
            for part in by_tool
        ),
    )


def build_notes(
    config: ScoreConfig,
    tasks: Sequence[Task],
    judges: Sequence[JudgeResult],
    power: Power | None = None,
) -> list[str]:
    """Say what the numbers do not say."""
    prs = len({task.pr for task in tasks})
    repeats = config.judging.repeats
    covered = _REPEATED.format(repeats=repeats) if repeats > 1 else _NOT_COVERED
    notes = [_INTERVALS.format(resamples=config.statistics.resamples), covered, _MISSING]
    if power:
        notes.append(
            f"This run finds a difference of {power.points:.1f} points in four cases of five "
            f"({power.basis}); of {power.points_holm:.1f} points after Holm's correction, "
            f"with {power.comparisons} comparisons."
        )
    if prs < MIN_CLUSTERS_RATE:
        notes.append("One pull request says nothing about others, so there are no intervals.")
    elif prs < FEW_CLUSTERS:
        notes.append(f"{prs} pull requests are few: do not rank models whose intervals overlap.")
    if any(judge.llm for judge in judges) and not all(judge.llm for judge in judges):
        notes.append(f"The headline leaves out the {NOT_AN_LLM}; its rates stand beside it.")
    return notes


def build_summary(results: Results) -> dict[str, object]:
    """Build what the status shows."""
    contestants = [row for row in results.variants if row.kind is not VariantKind.CONTROL]
    best = next((row for row in contestants if row.win_rate is not None), None)
    return {
        "leaderboard": [build_row(row).to_wire() for row in results.variants],
        "judges": [build_judge_status(judge).to_wire() for judge in results.judges],
        "agreement": format_agreement(results.agreement),
        "best": best.name if best else "",
        "winRate": format_compact_rate(best.win_rate) if best else "",
        **_summarise_judges(results),
    }


def _summarise_judges(results: Results) -> dict[str, object]:
    alpha = results.panel_agreement.alpha if results.panel_agreement else None
    return {
        "alpha": "" if alpha is None else f"{alpha.value:.2f}",
        "replication": results.replication or "",
        RELIABILITY_KEY: results.reliability.to_wire() if results.reliability else None,
    }


def format_agreement(pairs: Sequence[Agreement]) -> str:
    """Return how often two judges agree, over all comparisons of all pairs, in percent."""
    comparisons = sum(pair.comparisons for pair in pairs)
    if not comparisons:
        return ""
    return f"{sum(pair.raw_pct * pair.comparisons for pair in pairs) / comparisons:.1f}"


def build_row(row: VariantResult) -> LeaderboardRow:
    """Build a variant's row in the status."""
    return LeaderboardRow(
        name=row.name,
        model=row.model,
        kind=row.kind,
        tasks=row.tasks,
        win_rate=build_interval(row.win_rate),
        tie_adjusted=build_interval(row.tie_adjusted),
        by_tool=tuple(
            ToolRate(name=tool.name, win_rate=build_interval(tool.win_rate)) for tool in row.by_tool
        ),
        schema_valid_pct=f"{row.validity.valid_pct:.1f}",
        missing=row.missing,
        delta=build_interval(row.delta) if row.delta else None,
        strict=build_interval(row.strict) if row.strict else None,
        length_controlled=(
            build_interval(row.length_controlled.rate) if row.length_controlled else None
        ),
        rank=format_rank(row.rank),
    )


def build_interval(rate: Rate | None) -> Interval:
    """Build a rate as the status shows it."""
    numbers = (None,) * 3 if rate is None else (rate.pct, rate.lo, rate.hi)
    pct, low, high = (NOTHING if number is None else f"{number:.1f}" for number in numbers)
    return Interval(pct=pct, lo=low, hi=high)


def build_judge_status(judge: JudgeResult) -> JudgeStatus:
    """Build a judge's line in the status."""
    consistency, first, ties, longer, failures, flips = (
        "" if share is None else f"{share:.1f}"
        for share in (
            judge.order_consistency_pct,
            judge.first_slot_pct,
            judge.ties_pct,
            judge.longer_wins_pct,
            judge.parse_failures_pct,
            judge.repeat_flips_pct,
        )
    )
    return JudgeStatus(
        name=judge.name,
        verdicts=judge.verdicts,
        missing=sum(judge.missing.values()),
        order_consistency_pct=consistency,
        first_slot_pct=first,
        cost_usd="" if judge.cost_usd is None else f"{judge.cost_usd:.2f}",
        llm=judge.llm,
        ties_pct=ties,
        longer_wins_pct=longer,
        parse_failures_pct=failures,
        repeat_flips_pct=flips,
        replication=judge.replication or "",
    )
