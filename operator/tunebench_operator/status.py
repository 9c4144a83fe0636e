"""What users see of a run: built from the planner's decisions, and nothing else."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, TypeVar

from tunebench_api.contamination import SUMMARY_KEY, Contamination
from tunebench_api.contract import Progress, StageKind
from tunebench_api.reliability import SUMMARY_KEY as RELIABILITY_KEY
from tunebench_api.reliability import Reliability
from tunebench_api.sizing.settled import SIZING_KEY, Sizing
from tunebench_api.v1alpha1 import (
    BenchmarkRun,
    BenchmarkRunStatus,
    Condition,
    ConditionStatus,
    JudgeStatus,
    Keep,
    LeaderboardRow,
    ModelStatus,
    ServingStatus,
    StageStatus,
    Summary,
)
from tunebench_operator import names, reasons
from tunebench_operator.graph import Graph, Node, Variant
from tunebench_operator.sizing_text import Misfit
from tunebench_operator.stage_state import StageState, State
from tunebench_operator.status_size import fit_status

MAX_MESSAGE = 1024
# Of these, the stages that failed share what the names of the variants leave over.
MAX_SUMMARY = 800
# There is one of these stages, and it says all that it finds.
_MAX_PREFLIGHT = 4000

# Causes of missing verdicts that the user can do something about.
_SHORTFALLS = (reasons.BUDGET_SPENT, reasons.JUDGE_UNAVAILABLE)

RowT = TypeVar("RowT", LeaderboardRow, JudgeStatus)


@dataclass(frozen=True)
class Decisions:
    """All that the status is built from."""

    run: BenchmarkRun
    graph: Graph
    states: Mapping[str, StageState]
    score: StageState | None
    previous: BenchmarkRunStatus | None
    now: datetime
    # Of all attempts that have ended.
    gpu_hours: float = 0.0
    # On judges, by all attempts, those that run included.
    spent_usd: Decimal = Decimal(0)
    # By the key of the training.
    sizings: Mapping[str, Sizing | Misfit] = field(default_factory=dict)


def build_status(decisions: Decisions) -> BenchmarkRunStatus:
    """Build the whole status; times change only when what they date does."""
    score = decisions.score
    result = score.result if score and score.state is State.SUCCEEDED else None
    facts = result.summary if result else {}
    previous = decisions.previous
    models = tuple(_model_status(model.name, decisions) for model in decisions.run.spec.models)
    done = sum(model.stage == "Done" for model in models)
    status = BenchmarkRunStatus(
        observed_generation=decisions.run.metadata.generation,
        conditions=_conditions(decisions),
        summary=Summary(
            models=f"{done}/{len(models)}",
            best=facts.get("best", ""),
            win_rate=facts.get("winRate", ""),
            judges=", ".join(judge.name for judge in decisions.run.spec.judges)[:256],
            agreement=facts.get("agreement", ""),
            alpha=facts.get("alpha", ""),
            replication=facts.get("replication", ""),
            cost_usd=_sum_cost(facts.get("judges", ())) or _show_spent(decisions.spent_usd),
            gpu_hours=_show_hours(decisions.gpu_hours),
        ),
        stages=tuple(_stage_status(state) for state in decisions.states.values()),
        models=models,
        leaderboard=_parse_rows(LeaderboardRow, facts.get("leaderboard", ())),
        judges=_parse_rows(JudgeStatus, facts.get("judges", ())),
        serving=_serving_status(facts.get("best", ""), decisions.states.get(names.KEPT_KEY)),
        results=score.node.output if score and result else "",
        start_time=(previous and previous.start_time) or _rfc3339(decisions.now),
        completion_time=result.finished_at if result else "",
    )
    return fit_status(status)


def build_halt(  # noqa: PLR0913 - what a condition consists of
    generation: int,
    earlier: BenchmarkRunStatus | None,
    status: ConditionStatus,
    reason: str,
    message: str,
    *,
    now: datetime,
) -> BenchmarkRunStatus:
    """Build the status of a run that cannot go on for now; what it had stays."""
    previous = earlier or BenchmarkRunStatus()
    draft = Condition(
        type=names.SUCCEEDED,
        status=status,
        reason=reason,
        message=message[:MAX_MESSAGE],
        observed_generation=generation,
    )
    conditions = {each.type: each for each in previous.conditions}
    same = conditions.get(names.SUCCEEDED)
    kept = same.last_transition_time if same and same.status == draft.status else _rfc3339(now)
    conditions[names.SUCCEEDED] = draft.model_copy(update={"last_transition_time": kept})
    return previous.model_copy(
        update={"observed_generation": generation, "conditions": tuple(conditions.values())}
    )


def _parse_rows(kind: type[RowT], rows: Iterable[Any]) -> tuple[RowT, ...]:
    """Return rows as the status has them; a scoring of another version may say more of each."""
    return tuple(kind.model_validate(row, extra="ignore") for row in rows)


def _sum_cost(judges: Iterable[Mapping[str, Any]]) -> str:
    """Return what the judges cost in all; nothing where no price is known."""
    asked = [judge.get("costUSD", "") for judge in judges if judge.get("llm", True)]
    known = [Decimal(cost) for cost in asked if cost]
    if not known:
        return ""
    return f"{'≥ ' if len(known) < len(asked) else ''}{sum(known):.2f}"


def _show_spent(spent: Decimal) -> str:
    return f"{spent:.2f}" if spent else ""


def _show_hours(hours: float) -> str:
    return f"{hours:.2f}" if hours else ""


def _serving_status(best: str, kept: StageState | None) -> ServingStatus | None:
    """Say what stays served, and where; nothing of a server that will not come back."""
    if kept is None or kept.state.ended:
        return None
    endpoint = kept.progress.endpoint if kept.state is State.RUNNING else None
    return ServingStatus(variant=best, endpoint=endpoint)


def _stage_status(state: StageState) -> StageStatus:
    shown = State.PENDING if state.state is State.READY else state.state
    limit = _MAX_PREFLIGHT if state.node.kind is StageKind.PREFLIGHT else MAX_MESSAGE
    return StageStatus(
        name=state.node.key,
        state=shown,
        reason=state.reason,
        message=state.message[:limit],
        attempt=state.attempt,
        retryable=bool(state.result and state.result.retryable),
        digest=state.node.digest,
    )


def _model_status(name: str, decisions: Decisions) -> ModelStatus:
    variant = next(each for each in decisions.graph.variants if each.name == name)
    shown = _shown_stage(variant, decisions)
    progress = _carry(name, shown, decisions)
    train = decisions.states[variant.train.key] if variant.train else None
    done = shown.state is State.SUCCEEDED
    failed = shown.state in {State.FAILED, State.SKIPPED}
    checkpoint = progress.checkpoint
    if train and train.state is State.SUCCEEDED:
        checkpoint = f"{train.node.output}/checkpoint"
    return ModelStatus(
        name=name,
        stage="Done" if done else "Failed" if failed else shown.node.kind.capitalize(),
        percent=100 if done else progress.percent,
        loss=progress.loss,
        eta_seconds=progress.eta_seconds,
        tokens_per_second=progress.tokens_per_second,
        gradient_norm=progress.gradient_norm,
        mfu_pct=progress.mfu_pct,
        peak_memory=progress.peak_memory,
        gpu_utilization_pct=progress.gpu_utilization_pct,
        step=progress.step,
        attempt=shown.attempt,
        checkpoint=checkpoint,
        sizing=_describe_sizing(train, decisions)[:MAX_MESSAGE],
        reason=shown.reason,
        message=shown.message[:MAX_MESSAGE],
    )


def _describe_sizing(train: StageState | None, decisions: Decisions) -> str:
    """Say how a training is sized; of one that is done, how it was."""
    if train is None:
        return ""
    if train.result and train.state is State.SUCCEEDED:
        return str(train.result.summary.get(SIZING_KEY, ""))
    found = decisions.sizings.get(train.node.key)
    if found is None:
        return ""
    return found.why if isinstance(found, Sizing) else found.describe(train.node.model or "")


def _carry(name: str, shown: StageState, decisions: Decisions) -> Progress:
    """Keep what an earlier attempt at a training reached, until this one says where it goes on."""
    earlier = decisions.previous.models if decisions.previous else ()
    before = next((model for model in earlier if model.name == name), None)
    progress = shown.progress
    training = shown.node.kind is StageKind.TRAIN
    if not training or before is None or before.step is None or progress.step is not None:
        return progress
    reached = {"step": before.step, "percent": before.percent, "loss": before.loss}
    return progress.model_copy(update={**reached, "checkpoint": before.checkpoint})


def _shown_stage(variant: Variant, decisions: Decisions) -> StageState:
    """Return the stage that tells most about a model: what failed, runs, or comes next."""
    states, graph = decisions.states, decisions.graph
    server = next(group.key for group in graph.groups if variant in group.variants)
    keys = [
        graph.preflight.key,
        graph.data.key,
        graph.baseline.key,
        *(node.key for node in (variant.train, variant.completions, variant.judge) if node),
    ]
    chain = [states[key] for key in keys]
    failed = next((state for state in chain if state.state is State.FAILED), None)
    shown = failed or next(
        (state for state in chain if state.state is not State.SUCCEEDED), chain[-1]
    )
    serving = states.get(server)
    if shown.node.kind is StageKind.GENERATE and shown.state is State.PENDING and serving:
        return serving
    return shown


def _conditions(decisions: Decisions) -> tuple[Condition, ...]:
    graph, states = decisions.graph, decisions.states
    by_stage: dict[str, Iterable[Node | None]] = {
        "DataReady": [graph.data],
        "BaselineReady": [graph.baseline],
        "Trained": graph.trains,
        "Generated": [variant.completions for variant in graph.variants],
        names.JUDGED: [variant.judge for variant in graph.variants],
    }
    drafts = [_summary_condition(decisions)]
    drafts += [
        _stage_condition(kind, [states[node.key] for node in nodes if node])
        for kind, nodes in by_stage.items()
    ]
    judging = [states[variant.judge.key] for variant in graph.variants]
    drafts = [_judged_condition(each, judging) for each in drafts]
    drafts.append(_contamination_condition(states[graph.data.key]))
    drafts.append(_reliability_condition(decisions.score))
    if decisions.run.spec.serving.keep is Keep.WINNER:
        drafts.append(_served_condition(states.get(names.KEPT_KEY), decisions.score))
    return tuple(_date(draft, decisions) for draft in drafts)


def _stage_condition(kind: str, states: list[StageState]) -> Condition:
    failed = [state for state in states if state.state in {State.FAILED, State.SKIPPED}]
    done = sum(state.state is State.SUCCEEDED for state in states)
    counts = f"{done} of {len(states)} done"
    if done == len(states):
        return Condition(
            type=kind, status=ConditionStatus.TRUE, reason=reasons.SUCCEEDED, message=counts
        )
    if failed:
        message = f"{counts}; {failed[0].node.key}: {failed[0].message}"[:MAX_MESSAGE]
        return Condition(
            type=kind, status=ConditionStatus.FALSE, reason=failed[0].reason, message=message
        )
    running = any(state.state is State.RUNNING for state in states)
    reason = reasons.RUNNING if running else reasons.PENDING
    return Condition(type=kind, status=ConditionStatus.UNKNOWN, reason=reason, message=counts)


def _judged_condition(draft: Condition, judging: Sequence[StageState]) -> Condition:
    """Say of the judging, where all of it ended, what of it was left out and why."""
    if draft.type != names.JUDGED or draft.status is not ConditionStatus.TRUE:
        return draft
    shortfall = _find_shortfall(judging)
    if shortfall is None:
        return draft
    reason, message = shortfall
    return draft.model_copy(
        update={
            "status": ConditionStatus.FALSE,
            "reason": reason,
            "message": f"{draft.message}; {message}"[:MAX_MESSAGE],
        }
    )


def _find_shortfall(judging: Iterable[StageState]) -> tuple[str, str] | None:
    """Return why verdicts are missing that could still be had, and where; none are: nothing."""
    by_cause: dict[str, list[StageState]] = {}
    for state in judging:
        found = state.result.summary.get("unasked") if state.result else None
        for cause in found or ():
            by_cause.setdefault(str(cause), []).append(state)
    known = {cause: states for cause, states in by_cause.items() if cause in _SHORTFALLS}
    if not known:
        return None
    # What the user can mend goes first.
    cause = min(known, key=_SHORTFALLS.index)
    counts = sum(
        int(state.result.summary["unasked"][cause]) for state in known[cause] if state.result
    )
    first = known[cause][0]
    message = f"{counts} verdicts are missing; {first.node.key}: {first.message}"
    return cause, message


def _contamination_condition(data: StageState) -> Condition:
    """Say whether training holds what the evaluation asks, and what was compared to know it."""
    status, reason = ConditionStatus.UNKNOWN, data.reason
    message = "the data stage has not compared the two sets yet"
    if data.state is State.FAILED and data.reason == reasons.CONTAMINATED:
        status, message = ConditionStatus.TRUE, data.message
    elif data.state is State.SUCCEEDED:
        facts = data.result.summary.get(SUMMARY_KEY) if data.result else None
        reason, message = reasons.NOT_CHECKED, "the data was made by a version that did not say"
        if facts:
            status, reason = ConditionStatus.FALSE, reasons.CHECKED
            message = Contamination.model_validate(facts).describe()
    return Condition(
        type=names.CONTAMINATED, status=status, reason=reason, message=message[:MAX_MESSAGE]
    )


def _served_condition(kept: StageState | None, score: StageState | None) -> Condition:
    """Say whether the winner answers, or why it does not."""
    status, reason = ConditionStatus.UNKNOWN, reasons.WAITING
    message = "the winner is served once there is a leaderboard"
    if kept is None and score and score.state.ended:
        status, reason, message = ConditionStatus.FALSE, score.reason, "there is no winner"
    elif kept is not None:
        reason, message = kept.reason, kept.message
        if kept.state is State.FAILED:
            status = ConditionStatus.FALSE
        elif kept.state is State.RUNNING and kept.progress.endpoint:
            status, reason = ConditionStatus.TRUE, reasons.SUCCEEDED
            message = f"at {kept.progress.endpoint}"
    return Condition(
        type=names.WINNER_SERVED, status=status, reason=reason, message=message[:MAX_MESSAGE]
    )


def _reliability_condition(score: StageState | None) -> Condition:
    """Say whether the judges can be trusted, and which numbers not to trust otherwise."""
    status, reason = ConditionStatus.UNKNOWN, score.reason if score else reasons.PENDING
    message = "no verdicts are scored yet"
    if score and score.state is State.SUCCEEDED:
        facts = score.result.summary.get(RELIABILITY_KEY) if score.result else None
        reason, message = reasons.NOT_CHECKED, "the verdicts were scored by a version without it"
        if facts:
            status, reason, message = _judge_judges(Reliability.model_validate(facts))
    return Condition(
        type=names.JUDGES_RELIABLE, status=status, reason=reason, message=message[:MAX_MESSAGE]
    )


def _judge_judges(found: Reliability) -> tuple[ConditionStatus, str, str]:
    if found.reliable is None:
        return ConditionStatus.UNKNOWN, reasons.NO_VERDICTS, found.describe()
    if found.reliable:
        return ConditionStatus.TRUE, reasons.NO_DOUBT, found.describe()
    return ConditionStatus.FALSE, found.doubts[0].reason, found.describe()


def _summary_condition(decisions: Decisions) -> Condition:
    status, reason, message = _summarise(decisions)
    return Condition(
        type=names.SUCCEEDED, status=status, reason=reason, message=message[:MAX_MESSAGE]
    )


def _summarise(decisions: Decisions) -> tuple[ConditionStatus, str, str]:
    states = list(decisions.states.values())
    score = decisions.score
    failed = [state for state in states if state.state is State.FAILED]
    if score and score.state is State.SUCCEEDED:
        lacks = _describe_lacks(decisions, failed)
        reason = reasons.PARTIALLY_SUCCEEDED if lacks else reasons.SUCCEEDED
        return ConditionStatus.TRUE, reason, lacks or score.message
    if all(state.state.ended for state in states) and score and failed:
        models = {state.node.model for state in failed}
        reason = reasons.ALL_MODELS_FAILED if None not in models else failed[0].reason
        return ConditionStatus.FALSE, reason, _name_failures(failed)
    if decisions.run.spec.suspend:
        message = "set `spec.suspend` to false to continue"
        return ConditionStatus.UNKNOWN, reasons.SUSPENDED, message
    running = [state for state in states if state.state is State.RUNNING]
    if not running:
        return ConditionStatus.UNKNOWN, reasons.PENDING, "nothing runs yet"
    message = f"running {', '.join(state.node.key for state in running)}"
    stuck = [state for state in running if state.reason != reasons.RUNNING]
    if stuck:
        message = f"{stuck[0].node.key}: {stuck[0].message}"
    # One that waits is no news while others go on.
    reason = stuck[0].reason if len(stuck) == len(running) else reasons.RUNNING
    return ConditionStatus.UNKNOWN, reason, message


def _describe_lacks(decisions: Decisions, failed: Sequence[StageState]) -> str:
    """Say what a leaderboard that there is does not hold; nothing where it holds all."""
    absent = _variants_without_row(decisions)
    shortfall = _find_shortfall(
        decisions.states[variant.judge.key] for variant in decisions.graph.variants
    )
    lacks = [f"no result for {', '.join(absent)}; {_name_failures(failed)}"] if absent else []
    return "; ".join([*lacks, *([shortfall[1]] if shortfall else [])])


def _name_failures(failed: Sequence[StageState]) -> str:
    """Return every failed stage with what it says, cut so that each has its share of room."""
    share = MAX_SUMMARY // max(len(failed), 1)
    lines = (f"{state.node.key}: {state.message}" for state in failed)
    return "; ".join(
        line if len(line) <= share else f"{line[: max(share - 1, 0)]}…" for line in lines
    )


def _variants_without_row(decisions: Decisions) -> list[str]:
    return [
        variant.name
        for variant in decisions.graph.variants
        if decisions.states[variant.judge.key].state is not State.SUCCEEDED
    ]


def _date(draft: Condition, decisions: Decisions) -> Condition:
    """Keep the time of the last transition unless the condition's status changes now."""
    earlier = decisions.previous.conditions if decisions.previous else ()
    same = next(
        (each for each in earlier if each.type == draft.type and each.status == draft.status), None
    )
    return draft.model_copy(
        update={
            "observed_generation": decisions.run.metadata.generation,
            "last_transition_time": same.last_transition_time if same else _rfc3339(decisions.now),
        }
    )


def _rfc3339(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
