"""What a scored run reports: the results, and the part of them that the status shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tunebench_api.contamination import Contamination
from tunebench_api.contract import ScoreConfig, VariantKind
from tunebench_api.v1alpha1 import Interval, JudgeStatus, LeaderboardRow, Tool, ToolRate
from tunebench_jobs.records import Completion, Task
from tunebench_jobs.score.judges import (
    NOT_AN_LLM,
    build_agreements,
    build_judge_results,
    build_warnings,
)
from tunebench_jobs.score.leaderboard import build_variant_results
from tunebench_jobs.score.markdown import NOTHING, format_compact_rate
from tunebench_jobs.score.outcomes import JudgedVariant, build_validity, list_levels
from tunebench_jobs.score.results import (
    Agreement,
    Baseline,
    FunnelStep,
    JudgeResult,
    Method,
    Rate,
    Results,
    VariantResult,
    Warned,
)
from tunebench_jobs.score.statistics import CONFIDENCE, MIN_CLUSTERS_RATE

# Below this, the intervals are wide whatever happens.
_FEW_PULL_REQUESTS = 30
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
) -> Results:
    """Build everything that is reported; pure."""
    rows = build_variant_results(config, tasks, variants)
    judges = build_judge_results(config, variants)
    agreement = tuple(build_agreements(config, variants))
    present = {task.tool for task in tasks}
    tools = tuple(tool for tool in Tool if tool in present)
    shown = build_baseline(config, tasks, tools, baseline)
    return Results(
        run=config.run,
        baseline=shown,
        tools=tools,
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
            *build_warnings(config, shown, rows, agreement),
        ),
        notes=tuple(build_notes(config, tasks, judges)),
        contamination=contamination,
        funnel=tuple(funnel),
        inputs=inputs,
        prompts=prompts,
        versions=versions,
    )


def build_baseline(
    config: ScoreConfig,
    tasks: Sequence[Task],
    tools: Sequence[Tool],
    completions: Sequence[Completion],
) -> Baseline:
    """Say what everything is compared with, and how well it reads itself."""
    levels = list_levels(tasks, completions)
    rows = list(zip(tasks, levels, completions, strict=True))
    by_tool = [[(level, row) for task, level, row in rows if task.tool is tool] for tool in tools]
    return Baseline(
        name=config.baseline_spec.name,
        family=config.baseline_spec.family,
        validity=build_validity(levels, completions),
        valid_pct_by_tool=tuple(
            build_validity([level for level, _ in part], [row for _, row in part]).valid_pct
            for part in by_tool
        ),
    )


def build_notes(
    config: ScoreConfig, tasks: Sequence[Task], judges: Sequence[JudgeResult]
) -> list[str]:
    """Say what the numbers do not say."""
    prs = len({task.pr for task in tasks})
    notes = [_INTERVALS.format(resamples=config.statistics.resamples), _NOT_COVERED, _MISSING]
    if prs < MIN_CLUSTERS_RATE:
        notes.append("One pull request says nothing about others, so there are no intervals.")
    elif prs < _FEW_PULL_REQUESTS:
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
    )


def build_interval(rate: Rate | None) -> Interval:
    """Build a rate as the status shows it."""
    numbers = (None,) * 3 if rate is None else (rate.pct, rate.lo, rate.hi)
    pct, low, high = (NOTHING if number is None else f"{number:.1f}" for number in numbers)
    return Interval(pct=pct, lo=low, hi=high)


def build_judge_status(judge: JudgeResult) -> JudgeStatus:
    """Build a judge's line in the status."""
    consistency, first = (
        "" if share is None else f"{share:.1f}"
        for share in (judge.order_consistency_pct, judge.first_slot_pct)
    )
    return JudgeStatus(
        name=judge.name,
        verdicts=judge.verdicts,
        missing=sum(judge.missing.values()),
        order_consistency_pct=consistency,
        first_slot_pct=first,
        cost_usd="" if judge.cost_usd is None else f"{judge.cost_usd:.2f}",
        llm=judge.llm,
    )
