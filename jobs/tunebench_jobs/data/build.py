"""Carry out a dataset: from sources to two sets, what was left out, and the manifest."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from tunebench_api.contract import DataConfig, Progress
from tunebench_api.v1alpha1 import Answers, EvalSource, Tool, TrainSource
from tunebench_jobs.data.answering import Answering
from tunebench_jobs.data.bench import Bench, Report, open_bench
from tunebench_jobs.data.card import CARD_FILES, write_card
from tunebench_jobs.data.choose import CANDIDATES_FILE
from tunebench_jobs.data.finish import Form
from tunebench_jobs.data.funnel import StepName
from tunebench_jobs.data.github import GitHubPlace
from tunebench_jobs.data.intake import take_in
from tunebench_jobs.data.layout import DROPPED_FILE, EVAL, MANIFEST_FILE, TRAIN
from tunebench_jobs.data.manifest import Prepared, build_manifest, build_summary, build_warnings
from tunebench_jobs.data.opened import OpenedSource
from tunebench_jobs.data.outputs import list_files, write_candidates, write_sets
from tunebench_jobs.data.parallel import count_workers
from tunebench_jobs.data.parcels import Key
from tunebench_jobs.data.render import Renderer
from tunebench_jobs.data.sets import make_sets
from tunebench_jobs.data.sources import open_source
from tunebench_jobs.data.teacher.makers import open_makers
from tunebench_jobs.data.teacher.replies import Shelf
from tunebench_jobs.errors import InputError
from tunebench_jobs.files import build_file_digest, save_text
from tunebench_jobs.prompt_source import ConfiguredPrompts, load_configured_prompts


@dataclass(frozen=True)
class Place:
    """Where a dataset is built."""

    output: Path
    # For clones and collections, which outlive the build.
    sources: Path
    prompts_dir: Path | None
    report: Report
    # For the replies of those who make answers, which all builds share.
    shelf: Shelf
    # For what GitHub tells, likewise.
    collections: GitHubPlace
    # Of the machine; absent: all that are there.
    cpus: int | None = None


@dataclass(frozen=True)
class Built:
    """What a build left in the output folder, with its counts."""

    files: Sequence[str]
    message: str
    summary: Mapping[str, Any]


def build_dataset(config: DataConfig, place: Place, form: Form) -> Built:
    """Read, clean, split, write, and say in the manifest what was done.

    Raises:
        InputError: The sources, the prompt set or what they hold cannot be used.
        RetryableError: A server does not answer, or a process was killed.
    """
    check_tools(config)
    prompts = load_configured_prompts(config.prompts, place.prompts_dir)
    workers = count_workers(place.cpus)
    with open_bench(place.output, workers=workers, report=place.report) as bench:
        prepared = _prepare(config, prompts, place, bench, form)
    place.report(Progress(percent=90, message="saving"))
    names = (*list_files(form).values(), CANDIDATES_FILE, DROPPED_FILE)
    files = {name: build_file_digest(place.output / name) for name in names}
    save_text(place.output / MANIFEST_FILE, build_manifest(config, prompts, prepared, files))
    card = _write_card(place.output, form)
    warnings = build_warnings(config.dataset, prepared)
    train, evaluation = (prepared.made[name] for name in (TRAIN, EVAL))
    counts = {
        Form.PROMPTS: f"{train.total} training examples, {evaluation.total} tasks",
        Form.ROWS: f"{train.prs} pull requests to train on, {evaluation.prs} to ask about",
    }
    return Built(
        files=(*names, MANIFEST_FILE, *card),
        message="; ".join([counts[form], *warnings]),
        summary=build_summary(prompts, prepared, warnings),
    )


def check_tools(config: DataConfig) -> None:
    """Refuse tools whose answers nobody wrote.

    Raises:
        InputError: People's words answer Describe only.
    """
    others = [str(tool) for tool in config.tools if tool is not Tool.DESCRIBE]
    if config.dataset.answers is Answers.HUMAN and others:
        msg = (
            "`spec.tools` must be [Describe] where `spec.dataset.answers` is Human, got also "
            f"{', '.join(others)}; remove them, or give rows with answers"
        )
        raise InputError(msg, reason="UnsupportedTools")


def open_sources(config: DataConfig, place: Place) -> Iterator[OpenedSource]:
    """Open the source of each set, one after the other; with a holdout there is one."""
    dataset = config.dataset
    sources: dict[str, TrainSource | EvalSource] = {TRAIN: dataset.train, EVAL: dataset.eval}
    for name in (TRAIN, EVAL) if dataset.eval.holdout is None else (TRAIN,):
        yield open_source(
            sources[name],
            name,
            answers=dataset.answers,
            clones=place.sources / "git",
            collections=place.collections,
            cleaning=dataset.cleaning,
        )


def check_filled(prepared: Prepared) -> None:
    """Refuse to go on with nothing to train on or nothing to ask.

    Raises:
        InputError: Names the empty set and why its rows were dropped.
    """
    for dataset in (TRAIN, EVAL):
        if prepared.made[dataset].total:
            continue
        read = "; ".join(
            f"{step.dataset} has {step.taken} {step.unit}"
            for step in prepared.funnel.steps
            if step.name is StepName.READ
        )
        reasons = prepared.funnel.count_dropped(dataset)
        why = ", ".join(f"{reason}: {count}" for reason, count in reasons.items())
        msg = (
            f"`spec.dataset.{dataset}` must have at least one pull request that can be used, got "
            f"none ({read}; dropped {why or 'nothing'}); add rows, or lower "
            "`spec.dataset.eval.perTool` if the holdout took them all"
        )
        raise InputError(msg, reason="EmptyDataset")


def _write_card(folder: Path, form: Form) -> tuple[str, ...]:
    """Write the card of what people read, and return its files."""
    if form is Form.PROMPTS:
        return ()
    write_card(folder)
    return CARD_FILES


def _prepare(
    config: DataConfig, prompts: ConfiguredPrompts, place: Place, bench: Bench, form: Form
) -> Prepared:
    """Take rows in, make the sets, and write them."""
    bench.teller.tell(0, "reading the sources")
    sources: list[OpenedSource] = []
    keys: dict[str, list[Key]] = {}
    for source in open_sources(config, place):
        sources.append(source)
        keys[source.dataset] = take_in(config, source, bench)
    bench.teller.tell(40, "splitting")
    sets = make_sets(config, keys, bench)
    write_candidates(config, prompts, sets, bench)
    dataset, tell = config.dataset, partial(bench.teller.tell, 40)
    with open_makers(dataset, prompts.prompt_set, place.shelf, tell=tell) as makers:
        answering = Answering(config, Renderer(prompts, dataset.answers), makers)
        answering.check_budgets(map(bench.load, sets.train))
        made = write_sets(config, sets, bench, place.prompts_dir, form, answering.answer)
    chosen = {TRAIN: len(sets.train), EVAL: len(sets.evaluation)}
    prepared = Prepared(
        sources,
        bench.funnel,
        made,
        chosen,
        sets.contamination,
        selected=sets.chosen,
        makers=makers.build_facts(),
        paid=makers.build_summary(),
        spent=makers.build_warnings(),
    )
    check_filled(prepared)
    return prepared
