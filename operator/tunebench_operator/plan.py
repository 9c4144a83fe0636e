"""The planner: what should run now, and what users see. Pure; both backends obey it.

`plan` looks at the whole run each time and never at which event came, so a restart at any moment
continues where the attempts and the stored results say it was.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from tunebench_api.contract import (
    AnyStageConfig,
    FailedModel,
    ScoreConfig,
    ScoredVariant,
    StageKind,
    VariantKind,
)
from tunebench_api.sizing.settled import Sizing
from tunebench_api.v1alpha1 import (
    REFERENCE_JUDGE,
    Batch,
    BenchmarkRun,
    BenchmarkRunStatus,
    JudgeSpec,
    Keep,
)
from tunebench_operator import names, reasons
from tunebench_operator.graph import Graph, Node, ServeGroup, Variant, build_graph
from tunebench_operator.observed import Observed
from tunebench_operator.stage_state import Allowed, StageState, State, decide_stage, skip
from tunebench_operator.status import Decisions, build_status
from tunebench_operator.trainings import Sizings, find_sizing, refuse_misfits, size_trainings


@dataclass(frozen=True)
class Child:
    """One attempt of one stage that should be running."""

    name: str
    key: str
    kind: StageKind
    digest: str
    output: str
    attempt: int
    config: AnyStageConfig
    endpoint: str | None = None
    served_name: str | None = None
    # What the run has spent on judges before this attempt.
    spent_usd: str | None = None
    # Judges that were away when they were last asked.
    absent_judges: tuple[str, ...] = ()
    # How a training is carried out; absent: as its settings say.
    sizing: Sizing | None = None


@dataclass(frozen=True)
class Plan:
    """What should run, what users see, and when to look again if nothing happens."""

    desired: tuple[Child, ...]
    status: BenchmarkRunStatus
    # Nothing is left to do, except to serve what stays served.
    finished: bool
    wake_at: datetime | None


def plan(run: BenchmarkRun, observed: Observed, *, now: datetime) -> Plan:
    """Decide what should run now.

    The same arguments give the same plan; a plan carried out twice changes nothing.
    """
    graph = build_graph(run, observed.sources)
    planner = _Planner(run, observed, graph, now)
    states = planner.decide()
    sizings = size_trainings(run, graph, observed, states)
    desired = () if run.spec.suspend else planner.build_desired(states, sizings)
    score = states.get(names.stage_key(StageKind.SCORE))
    hours = sum(each.gpu_hours for attempts in observed.attempts.values() for each in attempts)
    spent = observed.count_spent()
    decisions = Decisions(run, graph, states, score, observed.previous, now, hours, spent, sizings)
    finished = all(
        state.state.ended for key, state in states.items() if key != names.KEPT_KEY
    ) and all(child.key == names.KEPT_KEY for child in desired)
    wakes = [state.wake_at for state in states.values() if state.wake_at and state.wake_at > now]
    return Plan(desired, build_status(decisions), finished, min(wakes, default=None))


@dataclass(frozen=True)
class _Planner:
    run: BenchmarkRun
    observed: Observed
    graph: Graph
    now: datetime

    def decide(self) -> dict[str, StageState]:
        """Decide every stage in the order of the flow."""
        states: dict[str, StageState] = {}
        graph = self.graph
        for node in (graph.preflight, graph.data, graph.baseline, *graph.trains):
            states[node.key] = self._decide(node, states)
        sizings = size_trainings(self.run, graph, self.observed, states)
        states |= refuse_misfits(graph, states, sizings)
        states |= self._limit_training(states)
        for group in graph.groups:
            self._decide_group(group, states)
        for variant in graph.variants:
            if variant.kind is VariantKind.CONTROL:
                states[variant.completions.key] = self._decide(variant.completions, states)
            states[variant.judge.key] = self._decide(variant.judge, states)
        states |= self._limit_judging(states)
        states[graph.preflight.key] = self._spare_preflight(states)
        score = self._decide_score(states)
        states[score.node.key] = score
        kept = self._decide_kept(score)
        return states | ({kept.node.key: kept} if kept else {})

    def build_desired(
        self, states: Mapping[str, StageState], sizings: Sizings
    ) -> tuple[Child, ...]:
        """Build the children of all stages that run or are ready to."""
        wanted = [state for state in states.values() if state.state in {State.READY, State.RUNNING}]
        served = {
            variant.completions.key: (group, variant)
            for group in self.graph.groups
            for variant in group.variants
        }
        return tuple(
            replace(
                _build_child(state, states, served.get(state.node.key)),
                spent_usd=self._count_spent(state),
                absent_judges=self._list_absent_judges(state, states),
                sizing=find_sizing(sizings, state),
            )
            for state in wanted
        )

    def _decide(self, node: Node, states: Mapping[str, StageState]) -> StageState:
        needed = [states[key] for key in node.needs]
        return decide_stage(node, self.observed, needed, allowed=self._allowed, now=self.now)

    @property
    def _allowed(self) -> Allowed:
        return Allowed(self.run.spec.retries, self.run.spec.preemptions)

    def _limit_training(self, states: Mapping[str, StageState]) -> dict[str, StageState]:
        """Hold back trainings that are ready beyond `parallelism`."""
        trains = [states[node.key] for node in self.graph.trains]
        running = sum(state.state is State.RUNNING for state in trains)
        free = self.run.spec.parallelism - running
        ready = [state for state in trains if state.state is State.READY]
        message = f"`spec.parallelism` is {self.run.spec.parallelism}"
        return {
            state.node.key: replace(
                state,
                state=State.PENDING,
                reason=reasons.WAITING_FOR_SLOT,
                message=message,
                attempt=state.attempt - 1,
            )
            for state in ready[max(free, 0) :]
        }

    def _limit_judging(self, states: Mapping[str, StageState]) -> dict[str, StageState]:
        """Let one variant at a time ask the judges, in the order of the run.

        One fills the judges' limits anyway. Two on different machines would exceed them, and could
        not know what the other spends of the budget. The reference judge has neither, and a batch
        has no limits, but a day to wait for.
        """
        budgeted = self.run.spec.judging.budget_usd is not None
        if all(_is_unlimited(judge, budgeted=budgeted) for judge in self.run.spec.judges):
            return {}
        judging = [states[variant.judge.key] for variant in self.graph.variants]
        running = [state for state in judging if state.state is State.RUNNING]
        ready = [state for state in judging if state.state is State.READY]
        held = ready if running else ready[1:]
        first = (running or ready)[:1]
        message = "one variant at a time is judged, so that limits and budget hold"
        return {
            state.node.key: replace(
                state,
                state=State.PENDING,
                reason=reasons.WAITING_FOR_JUDGES,
                message=f"waits for {first[0].node.key}: {message}",
                attempt=state.attempt - 1,
            )
            for state in held
        }

    def _count_spent(self, asked: StageState) -> str | None:
        """Return what all other attempts of the run at judging have spent, if there is a budget."""
        if asked.node.kind is not StageKind.JUDGE or self.run.spec.judging.budget_usd is None:
            return None
        own = (asked.node.key, asked.node.digest, asked.attempt)
        return str(self.observed.count_spent(except_for=own))

    def _list_absent_judges(
        self, asked: StageState, states: Mapping[str, StageState]
    ) -> tuple[str, ...]:
        """Return the judges that the preflight, or the variants judged before, could not have."""
        if asked.node.kind is not StageKind.JUDGE:
            return ()
        preflight = states[self.graph.preflight.key].result
        missed = preflight.summary.get("absent_judges", ()) if preflight else ()
        return find_absent_judges(missed, (states[each.judge.key] for each in self.graph.variants))

    def _decide_group(self, group: ServeGroup, states: dict[str, StageState]) -> None:
        """Decide a server and the generations that ask it.

        The server starts when all trainings of its base have ended, because it is told its
        adapters once, and goes when no generation is left.
        """
        for variant in group.variants:
            states[variant.completions.key] = self._decide(variant.completions, states)
        trains = [states[each.train.key] for each in group.variants if each.train]
        pending = [
            states[variant.completions.key]
            for variant in group.variants
            if not states[variant.completions.key].state.ended
        ]
        training = [state.node.key for state in trains if not state.state.ended]
        if training:
            for state in pending:
                states[state.node.key] = _hold_back(state, training)
            return
        servable = [
            variant
            for variant in group.variants
            if variant.train is None or states[variant.train.key].state is State.SUCCEEDED
        ]
        if not pending:
            return
        server = self._decide(group.build_node(servable), states)
        if any(state.reason != reasons.WAITING for state in pending):
            states[server.node.key] = server
        for state in pending:
            states[state.node.key] = _await_server(state, server)

    def _spare_preflight(self, states: Mapping[str, StageState]) -> StageState:
        """Skip the preflight when everything that it protects is done already."""
        preflight = states[self.graph.preflight.key]
        protected = [
            state for state in states.values() if self.graph.preflight.key in state.node.needs
        ]
        if preflight.state is State.READY and all(
            state.state is State.SUCCEEDED for state in protected
        ):
            return replace(preflight, state=State.SUCCEEDED, reason=reasons.SUCCEEDED, attempt=0)
        return preflight

    def _decide_score(self, states: Mapping[str, StageState]) -> StageState:
        judged = [(variant, states[variant.judge.key]) for variant in self.graph.variants]
        node = Node(names.stage_key(StageKind.SCORE), StageKind.SCORE, self._score_config(states))
        waiting = [state.node.key for _, state in judged if not state.state.ended]
        if waiting:
            message = f"waits for {', '.join(waiting)}"
            return StageState(node, State.PENDING, reasons.WAITING, message)
        models = [state for variant, state in judged if variant.kind is not VariantKind.CONTROL]
        if all(state.state is not State.SUCCEEDED for state in models):
            return skip(node, models[0])
        return decide_stage(node, self.observed, (), allowed=self._allowed, now=self.now)

    def _decide_kept(self, score: StageState) -> StageState | None:
        """Decide the server that stays when the run is over; none if there is none to stay.

        It starts anew: to let one wait for the score would hold its GPUs while judges are asked.
        """
        if self.run.spec.serving.keep is not Keep.WINNER or score.state is not State.SUCCEEDED:
            return None
        best = score.result.summary.get("best") if score.result else None
        for group in self.graph.groups:
            for variant in group.variants:
                if variant.name == best:
                    node = replace(group.build_node([variant]), key=names.KEPT_KEY)
                    return decide_stage(
                        node, self.observed, (), allowed=self._allowed, now=self.now
                    )
        return None

    def _score_config(self, states: Mapping[str, StageState]) -> ScoreConfig:
        spec, graph = self.run.spec, self.graph
        scored = [
            variant
            for variant in graph.variants
            if states[variant.judge.key].state is State.SUCCEEDED
        ]
        present = {variant.name for variant in scored}
        failed = [
            FailedModel(name=variant.name, reason=cause.reason, message=cause.message)
            for variant in graph.variants
            for cause in [find_cause(variant, states)]
            if cause is not None
        ]
        return ScoreConfig(
            run=self.run.metadata.name,
            data=graph.data.output,
            baseline=graph.baseline.output,
            baseline_spec=spec.baseline,
            teacher_families=spec.dataset.teacher_families,
            judges=spec.judges,
            judging=spec.judging,
            statistics=spec.statistics,
            variants=tuple(_build_scored(variant, present) for variant in scored),
            failed=tuple(failed),
            seed=spec.seed,
            tracking=spec.tracking,
        )


def find_cause(variant: Variant, states: Mapping[str, StageState]) -> StageState | None:
    """Return the stage whose failure keeps a variant out of the leaderboard."""
    nodes: Sequence[Node | None] = (variant.train, variant.completions, variant.judge)
    own = [states[node.key] for node in nodes if node]
    failed = [state for state in own if state.state is State.FAILED]
    skipped = [state for state in own if state.state is State.SKIPPED]
    return next(iter(failed or skipped), None)


def find_absent_judges(missed: Iterable[str], judgings: Iterable[StageState]) -> tuple[str, ...]:
    """Return who was away when asked last, as the preflight and the results of judgings say."""
    results = [state.result for state in judgings if state.result]
    absent = dict.fromkeys(missed, True)
    for result in sorted(results, key=lambda each: each.finished_at):
        for judge in result.summary.get("judges", ()):
            # Who was asked nothing, because the ledger has it all, may still be away.
            if judge.get("absence") or judge.get("asked"):
                absent[str(judge["name"])] = bool(judge.get("absence"))
    return tuple(name for name, is_away in absent.items() if is_away)


def _await_server(generate: StageState, server: StageState) -> StageState:
    """Let a generation wait until its server answers, or fail with it."""
    if server.state in {State.FAILED, State.SKIPPED} and generate.state is not State.RUNNING:
        return skip(generate.node, server)
    answers = server.state is State.RUNNING and server.progress.endpoint
    return generate if answers else _hold_back(generate, [server.node.key])


def _is_unlimited(judge: JudgeSpec, *, budgeted: bool) -> bool:
    """Whether any number of stages may ask a judge at once."""
    return judge.model == REFERENCE_JUDGE or (judge.batch is Batch.ENABLED and not budgeted)


def _hold_back(state: StageState, awaited: Sequence[str]) -> StageState:
    """Let a stage that is ready wait for others."""
    if state.state is not State.READY:
        return state
    return replace(
        state,
        state=State.PENDING,
        reason=reasons.WAITING,
        message=f"waits for {', '.join(awaited)}",
        attempt=state.attempt - 1,
    )


def _build_child(
    state: StageState,
    states: Mapping[str, StageState],
    served: tuple[ServeGroup, Variant] | None,
) -> Child:
    node = state.node
    server = states.get(served[0].key) if served else None
    return Child(
        name=names.child_name(node.key, node.digest, state.attempt),
        key=node.key,
        kind=node.kind,
        digest=node.digest,
        output=node.output,
        attempt=state.attempt,
        config=node.config,
        endpoint=server.progress.endpoint if server else None,
        served_name=served[1].name if served else None,
    )


def _build_scored(variant: Variant, present: set[str]) -> ScoredVariant:
    return ScoredVariant(
        name=variant.name,
        model=variant.model,
        kind=variant.kind,
        size_billions=variant.size_billions,
        family=variant.family,
        completions=variant.completions.output,
        judge=variant.judge.output,
        untuned=variant.untuned if variant.untuned in present else None,
        train=variant.train.output if variant.train else None,
    )
