"""The score stage: verdicts in, results, leaderboard, every comparison and report out."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version

from tunebench_api.contamination import SUMMARY_KEY, Contamination
from tunebench_api.contract import RESULT_FILE, ScoreConfig, ScoredVariant, VariantKind
from tunebench_api.v1alpha1 import Control
from tunebench_jobs.context import Outcome, StageContext
from tunebench_jobs.data.layout import EVAL_FILE, MANIFEST_FILE
from tunebench_jobs.errors import InputError
from tunebench_jobs.files import build_file_digest
from tunebench_jobs.judge.records import VERDICTS_FILE, VerdictRow
from tunebench_jobs.judge.stage import load_completions
from tunebench_jobs.records import COMPLETIONS_FILE, Completion, Task, load_jsonl
from tunebench_jobs.report.save import save_report
from tunebench_jobs.score.build import build_results, build_summary
from tunebench_jobs.score.outcomes import JudgedVariant
from tunebench_jobs.score.outputs import Scored, save_outputs
from tunebench_jobs.score.results import FunnelStep, Setting
from tunebench_jobs.stage import load_result
from tunebench_jobs.tracking.scored import track

_PACKAGES = ("tunebench", "litellm", "numpy", "pydantic", "pyyaml", "scipy", "tiktoken")
_BILLION = 1e9

Amend = Callable[[Sequence[JudgedVariant]], Sequence[JudgedVariant]]


def run_score(config: ScoreConfig, context: StageContext) -> Outcome:
    """Score every variant, write the report, and log it where the run asks for that.

    Raises:
        InputError: There is no task, or an artefact of an earlier stage is absent or broken.
    """
    scored = build_scored(config, context)
    report = save_report(scored, context, context.output)
    files = (*save_outputs(scored, context.output), report)
    tracked = track(scored, context, os.environ)
    return Outcome(
        message="; ".join([f"{len(scored.variants)} variants scored", *tracked.messages]),
        artefacts=files,
        summary={**build_summary(scored.results), **tracked.summary},
    )


def build_scored(config: ScoreConfig, context: StageContext, amend: Amend = list) -> Scored:
    """Compute the results of everything that a config names; nobody is asked.

    `amend` may put other verdicts in the place of those that the judge stages left.

    Raises:
        InputError: There is no task, or an artefact of an earlier stage is absent or broken.
    """
    tasks = list(load_jsonl(context.path(f"{config.data}/{EVAL_FILE}"), Task))
    if not tasks:
        msg = f"`{config.data}/{EVAL_FILE}` must have at least one task, got none"
        raise InputError(msg, reason="EmptyDataset")
    completions = load_completions(context.path(config.baseline))
    variants = amend(load_variants(config, context, tasks, completions))
    baseline = _select(completions, tasks, "the baseline")
    results = build_results(
        config,
        tasks,
        variants,
        baseline,
        inputs=digest_inputs(config, context),
        prompts=load_prompts(config, context),
        versions=list_versions(),
        shortfalls=load_shortfalls(config, context),
        contamination=load_contamination(config, context),
        funnel=load_funnel(config, context),
        sent=load_sent(config, context),
    )
    return Scored(config, tasks, variants, baseline, results)


def load_variants(
    config: ScoreConfig,
    context: StageContext,
    tasks: Sequence[Task],
    baseline: Mapping[str, Completion],
) -> list[JudgedVariant]:
    """Load each variant's completions and verdicts.

    Raises:
        InputError: A file, or the completion of a task, is absent or broken.
    """
    sizes = load_sizes(config, context)
    variants = []
    for spec in config.variants:
        completions = load_completions(context.path(spec.completions))
        verdicts = load_jsonl(context.path(f"{spec.judge}/{VERDICTS_FILE}"), VerdictRow)
        variants.append(
            JudgedVariant(
                spec=spec.model_copy(update={"size_billions": sizes.get(spec.name)}),
                completions=_select(completions, tasks, f"variant `{spec.name}`"),
                verdicts=list(verdicts),
                control=find_control(spec, completions, baseline, load_control(spec, context)),
            )
        )
    return variants


def find_control(
    spec: ScoredVariant,
    ours: Mapping[str, Completion],
    baseline: Mapping[str, Completion],
    written_as: Control | None = None,
) -> Control | None:
    """Return which control a variant is: the self control gives the baseline's own completions."""
    if spec.kind is not VariantKind.CONTROL or written_as is not None:
        return written_as
    same = all(
        task in baseline and row.completion == baseline[task].completion
        for task, row in ours.items()
    )
    return Control.SELF if same else Control.NULL


def load_control(spec: ScoredVariant, context: StageContext) -> Control | None:
    """Return which control the control stage says that it wrote."""
    if spec.kind is not VariantKind.CONTROL:
        return None
    result = load_result(context.path(f"{spec.completions}/{RESULT_FILE}").parent)
    written = result.summary.get("control") if result else None
    return Control(written) if written in set(Control) else None


def load_sizes(config: ScoreConfig, context: StageContext) -> dict[str, str]:
    """Return each variant's size in billions: as the run says, or as training counted it."""
    counted = {
        spec.name: size
        for spec in config.variants
        if spec.train and (size := _count_parameters(context, spec.train))
    }
    # An un-tuned variant is as large as those that were made from it.
    counted |= {
        spec.untuned: counted[spec.name]
        for spec in config.variants
        if spec.untuned and spec.name in counted
    }
    given = {spec.name: spec.size_billions for spec in config.variants if spec.size_billions}
    return counted | given


def digest_inputs(config: ScoreConfig, context: StageContext) -> dict[str, str]:
    """Return the SHA-256 of everything that the results were computed from."""
    paths = [f"{config.data}/{name}" for name in (MANIFEST_FILE, EVAL_FILE)]
    paths.append(f"{config.baseline}/{COMPLETIONS_FILE}")
    for spec in config.variants:
        paths += [f"{spec.completions}/{COMPLETIONS_FILE}", f"{spec.judge}/{VERDICTS_FILE}"]
    files = {path: context.path(path) for path in sorted(set(paths))}
    return {path: build_file_digest(file) for path, file in files.items() if file.is_file()}


def load_prompts(config: ScoreConfig, context: StageContext) -> dict[str, str]:
    """Return name and SHA-256 of the prompt set that judges were asked with."""
    for spec in config.variants:
        result = load_result(context.path(f"{spec.judge}/{RESULT_FILE}").parent)
        if result and "prompts" in result.summary:
            return {
                "name": str(result.summary["prompts"]),
                "sha256": str(result.summary["prompts_sha256"]),
            }
    return {}


def load_sent(config: ScoreConfig, context: StageContext) -> dict[str, Mapping[str, Setting]]:
    """Return the parameters that each judge was sent, as the judge stages say."""
    sent: dict[str, Mapping[str, Setting]] = {}
    for spec in config.variants:
        result = load_result(context.path(f"{spec.judge}/{RESULT_FILE}").parent)
        for judge in result.summary.get("judges", ()) if result else ():
            sent.setdefault(str(judge["name"]), judge.get("sent") or {})
    return sent


def load_shortfalls(config: ScoreConfig, context: StageContext) -> list[str]:
    """Return what the data stage warned of."""
    result = load_result(context.path(config.data))
    return [str(each) for each in result.summary.get("warnings", ())] if result else []


def load_contamination(config: ScoreConfig, context: StageContext) -> Contamination | None:
    """Return how the data stage kept training apart from the evaluation, if it says so."""
    result = load_result(context.path(config.data))
    facts = result.summary.get(SUMMARY_KEY) if result else None
    return Contamination.model_validate(facts) if facts else None


def load_funnel(config: ScoreConfig, context: StageContext) -> list[FunnelStep]:
    """Return what each step of the data stage left out, if it says so."""
    result = load_result(context.path(config.data))
    steps = result.summary.get("funnel", ()) if result else ()
    return [FunnelStep.from_wire(step) for step in steps]


def list_versions() -> dict[str, str]:
    """Return the versions of what computed the results."""
    versions = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            # Run from a checkout that is not installed.
            versions[package] = "unknown"
    return versions


def _select(
    completions: Mapping[str, Completion], tasks: Sequence[Task], whose: str
) -> list[Completion]:
    """Return the completions in the order of the tasks."""
    absent = [task.id for task in tasks if task.id not in completions]
    if absent:
        msg = f"{whose} must have a completion of `{absent[0]}`, got none"
        raise InputError(msg, reason="MissingCompletion")
    return [completions[task.id] for task in tasks]


def _count_parameters(context: StageContext, train: str) -> str | None:
    """Return the base's parameters in billions, as the train stage counted them."""
    result = load_result(context.path(f"{train}/{RESULT_FILE}").parent)
    counts = result.summary.get("parameters") if result else None
    if not counts:
        return None
    total, trained = counts["total"], counts["trained"]
    # Adapters are no part of the base; after full fine-tuning everything is trained.
    base = total - trained if trained < total else total
    return f"{base / _BILLION:.2g}"
