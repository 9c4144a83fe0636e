"""How every training of a run is sized, from what is known by now. Pure.

Before the preflight has read the base models' configs, sizes are estimates that stop nothing; what
it has found decides.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from pydantic import ValidationError

from tunebench_api.contract import StageResult
from tunebench_api.errors import Problem
from tunebench_api.sizing.settled import Sizing, build_written
from tunebench_api.sizing.shape import SHAPES_KEY, ModelShape, estimate_shape
from tunebench_api.v1alpha1 import BenchmarkRun, ModelSpec
from tunebench_operator import reasons
from tunebench_operator.graph import Graph, Node
from tunebench_operator.machines import DEFAULT_POOL, Machines
from tunebench_operator.observed import Observed
from tunebench_operator.sizing import size_training
from tunebench_operator.sizing_text import Misfit
from tunebench_operator.stage_state import StageState, State

Sizings = Mapping[str, Sizing | Misfit]


def size_trainings(
    run: BenchmarkRun, graph: Graph, observed: Observed, states: Mapping[str, StageState]
) -> dict[str, Sizing | Misfit]:
    """Size the trainings that the run leaves open, or that ran out of memory, by their keys."""
    shapes = {**observed.shapes, **_parse_shapes(states[graph.preflight.key].result)}
    examples = _count_examples(run, states[graph.data.key].result)
    sizings: dict[str, Sizing | Misfit] = {}
    for model, node in zip(run.spec.models, graph.trains, strict=True):
        shape = shapes.get(model.base) or _estimate_shape(model)
        machines = observed.machines.get(find_pool_name(model))
        sizing = size_training(model, shape, machines, examples)
        sizing = _shrink_after(node, observed, sizing, model)
        if sizing is not None:
            sizings[node.key] = sizing
    return sizings


def find_sizing(sizings: Sizings, state: StageState) -> Sizing | None:
    """Return how a stage is carried out, if it is a training that something says it of."""
    found = sizings.get(state.node.key)
    return found if isinstance(found, Sizing) else None


def refuse_misfits(
    graph: Graph, states: Mapping[str, StageState], sizings: Sizings
) -> dict[str, StageState]:
    """Fail the trainings that no machines hold, once nothing that is still read can change it."""
    known = states[graph.preflight.key].state is State.SUCCEEDED
    refused = {}
    for node, model in ((node, node.model or "") for node in graph.trains):
        found, state = sizings.get(node.key), states[node.key]
        open_still = state.state in {State.PENDING, State.READY}
        if isinstance(found, Misfit) and open_still and (known or found.certain):
            refused[node.key] = replace(
                state,
                state=State.FAILED,
                reason=reasons.DOES_NOT_FIT,
                message=found.describe(model),
                wake_at=None,
            )
    return refused


def find_contradictions(run: BenchmarkRun, machines: Mapping[str, Machines]) -> tuple[Problem, ...]:
    """Return what models ask of machines that these cannot give, whatever the preflight finds."""
    problems = []
    for index, model in enumerate(run.spec.models):
        pool = find_pool_name(model)
        if pool not in machines:
            message = f"must be one of {', '.join(sorted(machines))}, got {pool}"
            problems.append(Problem(f"spec.models[{index}].resources.pool", message))
            continue
        found = size_training(model, _estimate_shape(model), machines[pool], None)
        if isinstance(found, Misfit) and found.certain:
            problems.append(Problem(f"spec.models[{index}].{found.field}", found.message))
    return tuple(problems)


def find_pool_name(model: ModelSpec) -> str:
    """Return the name of the pool that trains a model."""
    return model.resources.pool or DEFAULT_POOL


def _estimate_shape(model: ModelSpec) -> ModelShape | None:
    return estimate_shape(model.gguf_file or model.base, model.size_billions)


def _shrink_after(
    node: Node, observed: Observed, sizing: Sizing | Misfit | None, model: ModelSpec
) -> Sizing | Misfit | None:
    """Halve the micro-batch once an attempt has run out of memory and could not do it itself."""
    attempts = observed.attempts_of(node.key, node.digest)
    died = any(
        attempt.result is not None and attempt.result.reason == reasons.OUT_OF_MEMORY
        for attempt in attempts
    )
    if not died or isinstance(sizing, Misfit):
        return sizing
    smaller = (sizing or build_written(model.tuning)).shrink()
    if smaller is None:
        return sizing
    why = f"{smaller.why} Micro-batch halved to {smaller.micro_batch_size}: memory ran out."
    return smaller.model_copy(update={"why": why.strip()})


def _parse_shapes(preflight: StageResult | None) -> dict[str, ModelShape]:
    """Return the shapes that the preflight has read, by `base`; one of another version has none."""
    found: Any = preflight.summary.get(SHAPES_KEY) if preflight else None
    shapes = {}
    for base, shape in found.items() if isinstance(found, dict) else ():
        try:
            shapes[str(base)] = ModelShape.model_validate(shape, extra="ignore")
        except ValidationError:
            continue
    return shapes


def _count_examples(run: BenchmarkRun, data: StageResult | None) -> int | None:
    """Return how many examples there are, or at most; none where nothing says it."""
    counts: Any = data.summary.get("examples") if data else None
    if isinstance(counts, dict) and counts:
        return sum(int(count) for count in counts.values())
    limit = run.spec.dataset.train.limit
    return limit * len(run.spec.tools) if limit else None
