"""The stages of a run and what each one needs: a pure function of the spec.

Every config names its inputs by their digests, and a digest follows from a config, so the whole
graph is known before anything runs. Two stages depend on how others ended: serve (which adapters
exist) and score (which variants have verdicts); the planner builds these with what it observes.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from tunebench_api.contract import (
    AnyStageConfig,
    Base,
    BaselineConfig,
    ControlConfig,
    DataConfig,
    GenerateConfig,
    JudgeConfig,
    JudgingScale,
    PreflightBase,
    PreflightConfig,
    PreflightGitHub,
    PreflightLlm,
    PreflightSecret,
    Quantization,
    ServeConfig,
    ServedVariant,
    StageKind,
    TrainConfig,
    TrainTracking,
    VariantKind,
    build_config_digest,
)
from tunebench_api.v1alpha1 import (
    BenchmarkRun,
    BenchmarkRunSpec,
    EvaluateUntuned,
    ModelSpec,
    PromptsSpec,
    TuningMethod,
)
from tunebench_operator import names


@dataclass(frozen=True)
class Node:
    """One stage with its config and the keys of the stages that must have succeeded."""

    key: str
    kind: StageKind
    config: AnyStageConfig
    needs: tuple[str, ...] = ()
    # The model whose failure this stage's failure is; absent: the whole run's.
    model: str | None = None

    @cached_property
    def digest(self) -> str:
        """Name of the stage's result."""
        return build_config_digest(self.config)

    @property
    def output(self) -> str:
        """Folder of the stage's result in the store."""
        return f"{self.kind}/{self.digest}"


@dataclass(frozen=True)
class Variant:
    """One row of the leaderboard and the stages that lead to it."""

    name: str
    kind: VariantKind
    # Model in the spec; for an un-tuned base, the group; for a control, its name.
    model: str
    completions: Node
    judge: Node
    train: Node | None = None
    size_billions: str | None = None
    untuned: str | None = None
    family: str | None = None


@dataclass(frozen=True)
class ServeGroup:
    """One server: a base with its adapters, or one fully tuned checkpoint."""

    key: str
    base: Base
    variants: tuple[Variant, ...]
    batch_size: int
    seed: int

    def build_node(self, served: Iterable[Variant]) -> Node:
        """Build the serve stage for the variants whose checkpoints exist."""
        config = ServeConfig(
            base=self.base,
            variants=tuple(
                ServedVariant(name=each.name, checkpoint=each.train.output if each.train else None)
                for each in served
            ),
            batch_size=self.batch_size,
            seed=self.seed,
        )
        return Node(self.key, StageKind.SERVE, config)


@dataclass(frozen=True)
class Graph:
    """All stages of a run."""

    preflight: Node
    data: Node
    baseline: Node
    trains: tuple[Node, ...]
    groups: tuple[ServeGroup, ...]
    variants: tuple[Variant, ...]

    @property
    def nodes(self) -> tuple[Node, ...]:
        """Every stage whose config is known beforehand, in the order of the flow."""
        return (
            self.preflight,
            self.data,
            self.baseline,
            *self.trains,
            *(variant.completions for variant in self.variants),
            *(variant.judge for variant in self.variants),
        )


def git_source_key(repository: str, ref: str) -> str:
    """Return what a repository, or a list of them, is known by: one may serve two sets."""
    return f"{repository}@{ref}"


def prompts_source_key(prompts: PromptsSpec) -> str:
    """Return what a prompt set is known by."""
    if prompts.config_map_ref:
        return f"configmap:{prompts.config_map_ref.name}"
    return prompts.uri or f"builtin:{prompts.builtin}"


def build_graph(run: BenchmarkRun, sources: Mapping[str, str]) -> Graph:
    """Build the stages of a run; `sources` are digests of what the spec points to, by URI.

    What is read over the network has none: its address in the spec is all that tells it apart.
    """
    spec = run.spec
    data = _data_node(spec, sources)
    baseline = _baseline_node(spec, data, sources)
    trains = {model.name: _train_node(run, model, data, sources) for model in spec.models}
    groups: list[ServeGroup] = []
    for name, base, models in _group_by_base(spec.models, sources):
        groups += _serve_groups(spec, name, base, models, (data, baseline), trains)
    controls = tuple(
        _control_variant(spec, control, data, baseline) for control in spec.judging.controls
    )
    served = tuple(variant for group in groups for variant in group.variants)
    variants = (*served, *controls)
    return Graph(
        preflight=_preflight_node(spec, sources, _build_scale(spec, len(variants))),
        data=data,
        baseline=baseline,
        trains=tuple(trains.values()),
        groups=tuple(groups),
        variants=variants,
    )


def _build_scale(spec: BenchmarkRunSpec, variants: int) -> JudgingScale:
    """Say how much judges will be asked; nothing of the data is known yet."""
    limit = spec.dataset.cleaning.max_tokens if spec.dataset.cleaning else None
    stored = spec.baseline.completions is not None
    completion_tokens = spec.generation.max_tokens
    return JudgingScale(
        tasks=spec.dataset.eval.per_tool * len(spec.tools),
        variants=variants,
        task_tokens=limit or max(model.tuning.max_length for model in spec.models),
        exact=limit is not None,
        completion_tokens=completion_tokens,
        # Stored ones are taken to be as long as those that are asked for.
        baseline_tokens=completion_tokens if stored else spec.baseline.max_tokens,
        repeats=spec.judging.repeats,
    )


def _preflight_node(
    spec: BenchmarkRunSpec, sources: Mapping[str, str], scale: JudgingScale
) -> Node:
    users: dict[Base, list[str]] = {}
    for model in spec.models:
        users.setdefault(_base_of(model, sources), []).append(model.name)
    config = PreflightConfig(
        bases=tuple(PreflightBase(base=base, models=tuple(by)) for base, by in users.items()),
        judges=spec.judges,
        baseline=spec.baseline,
        prompts=spec.prompts,
        tools=spec.tools,
        git_hub=tuple(
            PreflightGitHub(field=f"spec.dataset.{name}.gitHub", source=source.git_hub)
            for name, source in (("train", spec.dataset.train), ("eval", spec.dataset.eval))
            if source.git_hub is not None
        ),
        makers=tuple(PreflightLlm(field=field, llm=llm) for field, llm in spec.dataset.makers),
        scores=bool(spec.dataset.cleaning and spec.dataset.cleaning.quality),
        secrets=tuple(
            PreflightSecret(field=field, secret_ref=ref)
            for field, ref in (*spec.dataset.source_secrets, *spec.tracking_secrets)
            # The preflight of GitHub asks with its token.
            if not field.endswith(".gitHub")
        ),
        judging=spec.judging,
        scale=scale,
    )
    return Node(names.stage_key(StageKind.PREFLIGHT), StageKind.PREFLIGHT, config)


def _data_node(spec: BenchmarkRunSpec, sources: Mapping[str, str]) -> Node:
    places = [prompts_source_key(spec.prompts)]
    for source in (spec.dataset.train, spec.dataset.eval):
        git, hub = source.git, source.hugging_face
        places += [source.uri] if source.uri else []
        places += [git_source_key(git.repository or git.list or "", git.ref)] if git else []
        places += [hub.path] if hub else []
    places += [spec.dataset.eval.decisions] if spec.dataset.eval.decisions else []
    config = DataConfig(
        tools=spec.tools,
        dataset=spec.dataset,
        prompts=spec.prompts,
        seed=spec.seed,
        sources=_pick(sources, places),
    )
    # Otherwise both begin at once; nothing is paid for before the preflight has found no fault.
    needs = (names.stage_key(StageKind.PREFLIGHT),) if spec.dataset.makers else ()
    return Node(names.stage_key(StageKind.DATA), StageKind.DATA, config, needs)


def _baseline_node(spec: BenchmarkRunSpec, data: Node, sources: Mapping[str, str]) -> Node:
    stored = spec.baseline.completions
    config = BaselineConfig(
        data=data.output,
        baseline=spec.baseline,
        sources=_pick(sources, [stored.uri] if stored else []),
    )
    needs = (names.stage_key(StageKind.PREFLIGHT), data.key)
    return Node(names.stage_key(StageKind.BASELINE), StageKind.BASELINE, config, needs)


def _train_node(
    run: BenchmarkRun, model: ModelSpec, data: Node, sources: Mapping[str, str]
) -> Node:
    config = TrainConfig(
        data=data.output,
        base=_base_of(model, sources),
        tuning=model.tuning,
        seed=run.spec.seed,
        tracking=_track_training(run, model),
    )
    # The baseline comes first: it is cheap, and a broken one must show before a model is trained.
    needs = tuple(
        names.stage_key(kind) for kind in (StageKind.PREFLIGHT, StageKind.DATA, StageKind.BASELINE)
    )
    key = names.stage_key(StageKind.TRAIN, model.name)
    return Node(key, StageKind.TRAIN, config, needs, model.name)


def _track_training(run: BenchmarkRun, model: ModelSpec) -> TrainTracking | None:
    tracking = run.spec.tracking
    if tracking is None or not tracking.tracks_training:
        return None
    return TrainTracking(run=run.metadata.name, model=model.name, tracking=tracking)


def _serve_groups(  # noqa: PLR0913, PLR0917 - one call, each argument a part of the graph
    spec: BenchmarkRunSpec,
    name: str,
    base: Base,
    models: Sequence[ModelSpec],
    inputs: tuple[Node, Node],
    trains: Mapping[str, Node],
) -> list[ServeGroup]:
    """Return the servers of one base: adapters beside the base, each full checkpoint alone."""
    untuned = names.untuned_variant(name)
    with_base = any(model.evaluate_untuned is EvaluateUntuned.ENABLED for model in models)

    def variant(model: ModelSpec) -> Variant:
        return _model_variant(
            spec, model, base, inputs, trains[model.name], untuned if with_base else None
        )

    adapters = [variant(each) for each in models if each.tuning.method is not TuningMethod.FULL]
    beside = [*adapters]
    if with_base:
        beside.insert(0, _untuned_variant(spec, name, base, inputs, models[0]))
    groups = [(name, beside)] if beside else []
    groups += [
        (each.name, [variant(each)]) for each in models if each.tuning.method is TuningMethod.FULL
    ]
    return [
        ServeGroup(
            key=names.stage_key(StageKind.SERVE, group),
            base=base,
            variants=tuple(variants),
            batch_size=spec.generation.batch_size,
            seed=spec.seed,
        )
        for group, variants in groups
    ]


def _model_variant(  # noqa: PLR0913, PLR0917 - one call, each argument a part of the graph
    spec: BenchmarkRunSpec,
    model: ModelSpec,
    base: Base,
    inputs: tuple[Node, Node],
    train: Node,
    untuned: str | None,
) -> Variant:
    completions = _generate_node(spec, model.name, base, inputs[0], train)
    return Variant(
        name=model.name,
        kind=VariantKind.FINE_TUNED,
        model=model.name,
        completions=completions,
        judge=_judge_node(spec, model.name, inputs, completions),
        train=train,
        size_billions=model.size_billions,
        untuned=untuned,
        family=model.family,
    )


def _untuned_variant(
    spec: BenchmarkRunSpec,
    group: str,
    base: Base,
    inputs: tuple[Node, Node],
    model: ModelSpec,
) -> Variant:
    name = names.untuned_variant(group)
    completions = _generate_node(spec, name, base, inputs[0], None)
    judge = _judge_node(spec, name, inputs, completions)
    return Variant(
        name=name,
        kind=VariantKind.UNTUNED,
        model=group,
        completions=completions,
        judge=judge,
        size_billions=model.size_billions,
        family=model.family,
    )


def _control_variant(spec: BenchmarkRunSpec, control: str, data: Node, baseline: Node) -> Variant:
    name = names.control_variant(control)
    config = ControlConfig.model_validate(
        {"data": data.output, "baseline": baseline.output, "control": control}
    )
    key = names.stage_key(StageKind.CONTROL, name)
    completions = Node(key, StageKind.CONTROL, config, (data.key, baseline.key))
    judge = _judge_node(spec, name, (data, baseline), completions)
    return Variant(name, VariantKind.CONTROL, name, completions, judge)


def _generate_node(
    spec: BenchmarkRunSpec, variant: str, base: Base, data: Node, train: Node | None
) -> Node:
    config = GenerateConfig(
        data=data.output,
        base=base,
        checkpoint=train.output if train else None,
        generation=spec.generation,
        seed=spec.seed,
    )
    needs = (names.stage_key(StageKind.PREFLIGHT), data.key, *((train.key,) if train else ()))
    key = names.stage_key(StageKind.GENERATE, variant)
    return Node(key, StageKind.GENERATE, config, needs, variant)


def _judge_node(
    spec: BenchmarkRunSpec, variant: str, inputs: tuple[Node, Node], completions: Node
) -> Node:
    data, baseline = inputs
    config = JudgeConfig(
        data=data.output,
        baseline=baseline.output,
        completions=completions.output,
        prompts=spec.prompts,
        judges=spec.judges,
        judging=spec.judging,
    )
    needs = (names.stage_key(StageKind.PREFLIGHT), baseline.key, completions.key)
    key = names.stage_key(StageKind.JUDGE, variant)
    model = variant if completions.kind is StageKind.GENERATE else None
    return Node(key, StageKind.JUDGE, config, needs, model)


def _base_of(model: ModelSpec, sources: Mapping[str, str]) -> Base:
    return Base(
        base=model.base,
        revision=model.revision,
        gguf_file=model.gguf_file,
        quantization=Quantization.NF4 if model.tuning.method is TuningMethod.QLORA else None,
        fingerprint=sources.get(model.base),
    )


def _group_by_base(
    models: Sequence[ModelSpec], sources: Mapping[str, str]
) -> list[tuple[str, Base, list[ModelSpec]]]:
    """Group models by base, each group with a readable name of its own."""
    groups: dict[Base, list[ModelSpec]] = {}
    for model in models:
        groups.setdefault(_base_of(model, sources), []).append(model)
    # A fully tuned model has a server of its own name, and every model is a variant.
    servers = {model.name for model in models if model.tuning.method is TuningMethod.FULL}
    variants = {model.name for model in models}
    named: list[tuple[str, Base, list[ModelSpec]]] = []
    for base, members in groups.items():
        stem = names.base_slug(base.gguf_file or base.base)
        name = next(
            candidate
            for candidate in itertools.chain(
                [stem], (f"{stem}-{number}" for number in itertools.count(2))
            )
            if candidate not in servers and names.untuned_variant(candidate) not in variants
        )
        servers.add(name)
        named.append((name, base, members))
    return named


def _pick(sources: Mapping[str, str], places: Iterable[str]) -> dict[str, str]:
    return {place: sources[place] for place in places if place in sources}
