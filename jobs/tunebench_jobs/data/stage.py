"""The data stage: pull requests in; prompts with answers, tasks and a manifest out."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence

from tunebench_api.contract import DataConfig, Progress
from tunebench_api.v1alpha1 import Answers, Tool
from tunebench_jobs.context import Outcome, StageContext
from tunebench_jobs.data.choose import CANDIDATES_FILE, choose_eval, count_pool
from tunebench_jobs.data.decisions import Merged, load_decisions
from tunebench_jobs.data.drops import DroppedRow, RowDrop
from tunebench_jobs.data.gate import check_contamination, check_unique, find_shared
from tunebench_jobs.data.load import Row, parse_local_path
from tunebench_jobs.data.manifest import (
    Prepared,
    build_manifest,
    build_summary,
    build_warnings,
    count_reasons,
)
from tunebench_jobs.data.render import Renderer, build_examples, build_tasks
from tunebench_jobs.data.sources import LoadedSource, load_source
from tunebench_jobs.data.split import split_newest
from tunebench_jobs.errors import InputError
from tunebench_jobs.files import build_file_digest, save_bytes, save_text
from tunebench_jobs.prompt_source import load_configured_prompts
from tunebench_jobs.records import TrainExample, dump_jsonl

TRAIN_FILE = "train.parquet"
EVAL_FILE = "eval.jsonl"
MANIFEST_FILE = "manifest.json"
# Clones of repositories, beside the stages' outputs.
CLONES_FOLDER = "sources/git"


def run_data(config: DataConfig, context: StageContext) -> Outcome:
    """Load, split, render and save.

    Raises:
        InputError: The sources, the prompt set or what they hold cannot be used.
        RetryableError: A repository's server does not answer.
    """
    check_tools(config)
    prompts = load_configured_prompts(config.prompts, context.prompts_dir)
    renderer = Renderer(prompts, config.dataset.answers)
    context.report(Progress(percent=0, message="reading the sources"))
    sources = load_sources(config, context)
    prepared = split_sources(config, sources, load_config_decisions(config))
    context.report(Progress(percent=40, message="rendering training examples"))
    prepared.examples, dropped = build_examples(prepared.train_rows, config.tools, renderer)
    prepared.dropped.extend(dropped)
    context.report(Progress(percent=70, message="rendering tasks"))
    prepared.tasks, prepared.missing_references = build_tasks(
        prepared.eval_rows, config.tools, renderer
    )
    check_filled(prepared)
    context.report(Progress(percent=90, message="saving"))
    save_bytes(context.output / TRAIN_FILE, build_parquet(prepared.examples))
    save_text(context.output / EVAL_FILE, dump_jsonl(prepared.tasks))
    candidates = (renderer.fill_answers(row.pr, config.tools) for row in prepared.pool)
    save_text(context.output / CANDIDATES_FILE, dump_jsonl(candidates))
    names = (TRAIN_FILE, EVAL_FILE, CANDIDATES_FILE)
    files = {name: build_file_digest(context.output / name) for name in names}
    save_text(context.output / MANIFEST_FILE, build_manifest(config, prompts, prepared, files))
    warnings = build_warnings(config.dataset, prepared)
    counts = f"{len(prepared.examples)} training examples, {len(prepared.tasks)} tasks"
    return Outcome(
        message="; ".join([counts, *warnings]),
        artefacts=(*names, MANIFEST_FILE),
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


def load_sources(config: DataConfig, context: StageContext) -> list[LoadedSource]:
    """Read the sources of both sets; with a holdout there is one source."""
    dataset, clones = config.dataset, context.store / CLONES_FOLDER
    train = load_source(dataset.train, "train", answers=dataset.answers, clones=clones)
    if dataset.eval.holdout is not None:
        return [train]
    context.report(Progress(percent=20, message="reading the evaluation source"))
    return [train, load_source(dataset.eval, "eval", answers=dataset.answers, clones=clones)]


def load_config_decisions(config: DataConfig) -> Merged | None:
    """Read what people decided, where the run names a file of it.

    Raises:
        InputError: The file is absent or broken.
    """
    uri, field = config.dataset.eval.decisions, "spec.dataset.eval.decisions"
    return load_decisions([parse_local_path(uri, field)], field) if uri else None


def split_sources(
    config: DataConfig, sources: Sequence[LoadedSource], decisions: Merged | None = None
) -> Prepared:
    """Decide which rows train and which evaluate, so that no row does both.

    Raises:
        InputError: Ids are not unique, or a pull request is in both sources.
    """
    source, limit = config.dataset.eval, config.dataset.train.limit
    for loaded in sources:
        check_unique(loaded.rows, f"spec.dataset.{loaded.dataset}")
    dropped: list[DroppedRow] = []
    if len(sources) == 1:
        pool_size = count_pool(source, decisions, len(sources[0].rows))
        train, held = split_newest(sources[0].rows, pool_size)
        # We drew the line ourselves, so a copy on the wrong side is ours to drop.
        copies = {row.origin: other for row, other in find_shared(train, held)}
        dropped += [
            _drop("train", row, RowDrop.DUPLICATE_OF_EVAL, f"of {copies[row.origin].origin}")
            for row in train
            if row.origin in copies
        ]
        train = [row for row in train if row.origin not in copies]
    else:
        train, held = list(sources[0].rows), list(sources[1].rows)
        check_contamination(train, held)
    limit = len(train) if limit is None else limit
    dropped += [_drop("train", row, RowDrop.OVER_LIMIT) for row in train[limit:]]
    chosen = choose_eval(held, source, decisions, config.seed)
    dropped += chosen.dropped
    return Prepared(sources, train[:limit], chosen.rows, dropped, held, chosen)


def check_filled(prepared: Prepared) -> None:
    """Refuse to go on with nothing to train on or nothing to ask.

    Raises:
        InputError: Names the empty set and why its rows were dropped.
    """
    for dataset, rows in (("train", prepared.examples), ("eval", prepared.tasks)):
        if rows:
            continue
        loaded = "; ".join(_describe_source(source) for source in prepared.sources)
        reasons = count_reasons(drop for drop in prepared.dropped if drop.dataset == dataset)
        why = ", ".join(f"{reason}: {count}" for reason, count in reasons.items())
        msg = (
            f"`spec.dataset.{dataset}` must have at least one pull request that can be used, got "
            f"none ({loaded}; dropped {why or 'nothing'}); add rows, or lower "
            "`spec.dataset.eval.perTool` if the holdout took them all"
        )
        raise InputError(msg, reason="EmptyDataset")


def build_parquet(examples: Iterable[TrainExample]) -> bytes:
    """Return training examples as a Parquet file; the same examples give the same bytes."""
    import pyarrow as pa  # noqa: PLC0415 - half a second that a broken row need not wait for
    from pyarrow import parquet  # noqa: PLC0415

    schema = pa.schema([(name, pa.string()) for name in TrainExample.model_fields])
    table = pa.Table.from_pylist([example.model_dump(mode="json") for example in examples], schema)
    buffer = io.BytesIO()
    parquet.write_table(table, buffer, compression="zstd")
    return buffer.getvalue()


def _drop(dataset: str, row: Row, reason: RowDrop, detail: str = "") -> DroppedRow:
    return DroppedRow(dataset, row.origin, row.pr.id, reason, detail=detail)


def _describe_source(source: LoadedSource) -> str:
    dropped = source.facts.get("commits_dropped", {})
    reasons = ", ".join(f"{reason}: {count}" for reason, count in dropped.items())
    text = f"{source.dataset} has {len(source.rows)} rows"
    return f"{text} of {source.facts['commits_seen']} commits, {reasons}" if dropped else text
