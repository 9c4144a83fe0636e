"""One worker's training session: model and data in, checkpoint and summary out."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from tunebench_api.contract import TrainConfig
from tunebench_api.sizing.memory import MemoryNeed
from tunebench_api.v1alpha1 import (
    ActivationCheckpointing,
    Precision,
    TuningMethod,
    TuningSpec,
)
from tunebench_jobs.canaries import CANARY_FILE, CanaryFile, save_canaries
from tunebench_jobs.checkpoints import (
    MANIFEST_FILE,
    CheckpointFacts,
    build_fingerprint,
    check_full_weights,
)
from tunebench_jobs.context import StageContext
from tunebench_jobs.files import disk_errors, save_text
from tunebench_jobs.models import build_base_digest, load_tokenizer, resolve_base
from tunebench_jobs.records import dump_jsonl
from tunebench_jobs.storage.mirror import Mirror
from tunebench_jobs.tracking.training.files import list_tracker_files
from tunebench_jobs.tracking.training.trackers import Training, open_trackers
from tunebench_jobs.train.curve import CURVE_FILE
from tunebench_jobs.train.engine import Engine, build_engine
from tunebench_jobs.train.examples import TRAIN_FILE, TrainSet, find_window
from tunebench_jobs.train.export import save_checkpoint
from tunebench_jobs.train.flops import build_cost
from tunebench_jobs.train.gauges import Gauges
from tunebench_jobs.train.layout import CHECKPOINT_FOLDER, SUMMARY_FILE, WORK_FOLDER, Position
from tunebench_jobs.train.loop import Hooks, Work, build_mean, compute_canaries, run_loop
from tunebench_jobs.train.loss import AnswerLoss
from tunebench_jobs.train.memory import (
    MemoryWatch,
    build_memory_summary,
    estimate_need,
    find_recomputing,
    recompute_activations,
)
from tunebench_jobs.train.place import Place
from tunebench_jobs.train.prepare import find_precision, prepare_model
from tunebench_jobs.train.prepared import PREPARED_FOLDER, Source, open_train_set
from tunebench_jobs.train.shelves import BucketShelf
from tunebench_jobs.train.shortcuts import Shortcuts, take_shortcuts
from tunebench_jobs.train.verify import Saved, build_canary_file, check_saved, free_memory
from tunebench_jobs.train.watch import check_below_start, check_vocabulary


@dataclass(frozen=True)
class Session:
    """What a worker has loaded."""

    config: TrainConfig
    context: StageContext
    place: Place
    base_folder: Path
    base_digest: str
    tokenizer: Any
    model: Any
    train_set: TrainSet
    precision: Precision
    gauges: Gauges
    shortcuts: Shortcuts


def run_session(config: TrainConfig, context: StageContext, place: Place, hooks: Hooks) -> None:
    """Train with all workers; the first one leaves the checkpoint and the summary."""
    watch = MemoryWatch(place.device)
    with disk_errors(context.store):
        session = _open(config, context, place)
        tuning, need = _settle_memory(session)
        work = Work(
            train_set=session.train_set,
            tuning=config.tuning,
            seed=config.seed,
            padding=int(session.tokenizer.pad_token_id),
            folder=context.output / WORK_FOLDER,
            bucket=_open_shelf(context, place),
            unpadded=session.shortcuts.unpadded,
            identity=f"{session.base_digest}:{session.train_set.digest}",
            cost=build_cost(session.model, _count, answer_rows=session.shortcuts.answer_rows),
        )
        saved_dtype = _find_saved_dtype(session.model)
        before = _build_fingerprints(session.model, saved_dtype)
        half = torch.bfloat16 if session.precision is Precision.BFLOAT16 else None
        loss = AnswerLoss(
            session.model.train(), autocast=half, answer_rows=session.shortcuts.answer_rows
        )
        engine = build_engine(loss, config.tuning, place.device)
        hooks.on_ready(session.gauges)
        with open_trackers(_describe_training(session), os.environ) as trackers:

            def tell(position: Position, total: int) -> None:
                trackers.log(position)
                hooks.on_step(position, total)

            position = run_loop(engine, work, place, replace(hooks, on_step=tell))
        peak = watch.find_peak()
        canaries = _describe_canaries(engine, session, work, position)
        trained = _gather(engine, session, saved_dtype)
        if place.rank > 0:
            return
        summary = _save(session, trained, before, position) | trackers.build_summary()
        summary |= build_memory_summary(tuning, context.runtime.sizing, need, peak)
        saved = _build_saved(session)
        # What is loaded for comparison takes the place of what was trained.
        del session, engine, loss, trained
        _publish(saved, canaries, summary, context)


def _describe_training(session: Session) -> Training | None:
    """Return what trackers are told; the first worker alone tells them."""
    tracking = session.config.tracking
    if tracking is None or session.place.rank > 0:
        return None
    config, tuning = session.config, session.config.tuning
    settings = {
        "base": config.base.base,
        "revision": config.base.revision or "",
        "data": config.data,
        "seed": str(config.seed),
        "device": session.gauges.name,
        **{name: str(value) for name, value in tuning.to_wire().items()},
    }
    return Training(tracking, session.context.output, settings, session.gauges)


def _settle_memory(session: Session) -> tuple[TuningSpec, MemoryNeed | None]:
    """Decide whether activations are computed again, and estimate what training takes."""
    parameters = sum(map(_count, session.model.parameters()))
    half = session.precision is Precision.BFLOAT16
    tuning, rows = session.config.tuning, session.train_set
    need = estimate_need(session.model, parameters, tuning, rows, half=half)
    kind = find_recomputing(tuning, need, session.place.device)
    tuning = tuning.model_copy(update={"activation_checkpointing": kind})
    if kind is ActivationCheckpointing.ENABLED:
        recompute_activations(session.model)
        need = estimate_need(session.model, parameters, tuning, rows, half=half)
    return tuning, need


def _describe_canaries(
    engine: Engine, session: Session, work: Work, position: Position
) -> CanaryFile:
    """Build the canaries with all workers, and check that the model has learnt."""
    losses = compute_canaries(engine, work, session.place)
    check_below_start(position.start_loss, build_mean(losses), position.step)
    method = session.config.tuning.method
    kept = _find_saved_dtype(session.model)
    # Kernels for weights in 4 bits round each in its own way, too.
    rough = method is TuningMethod.QLORA or (
        method is TuningMethod.FULL and kept is not torch.float32
    )
    return build_canary_file(
        session.train_set,
        session.tokenizer,
        losses,
        session.precision,
        Precision.BFLOAT16 if rough else Precision.FLOAT32,
    )


def _build_saved(session: Session) -> Saved:
    return Saved(
        checkpoint=session.context.output / CHECKPOINT_FOLDER,
        base=session.base_folder,
        method=session.config.tuning.method,
        precision=session.precision,
        device=session.place.device,
    )


def _publish(
    saved: Saved, canaries: CanaryFile, summary: Mapping[str, Any], context: StageContext
) -> None:
    """Check what was saved, and only then leave the summary, which says that it is there."""
    free_memory()
    check_saved(saved, canaries)
    save_canaries(context.output / CANARY_FILE, canaries)
    save_text(context.output / SUMMARY_FILE, json.dumps(summary, indent=1))
    if context.mirror is not None:
        send_checkpoint(context.mirror, context.runtime.output)


def _open_shelf(context: StageContext, place: Place) -> BucketShelf | None:
    if context.mirror is None:
        return None
    return BucketShelf(context.mirror, context.runtime.output, place.rank)


def _open(config: TrainConfig, context: StageContext, place: Place) -> Session:
    """Load everything; the first worker first, so that the others find what it converted."""
    data = context.path(f"{config.data}/{TRAIN_FILE}")
    if place.rank > 0:
        place.meet()
    folder = resolve_base(config.base, context.store)
    digest = build_base_digest(folder, context.store)
    if place.rank == 0:
        place.meet()
    tokenizer = load_tokenizer(folder)
    precision = find_precision(config.tuning.precision, place.device)
    model = prepare_model(folder, config.tuning, precision, config.seed, place.device)
    half = precision is Precision.BFLOAT16
    shortcuts = take_shortcuts(model, config.tuning, place.device, half=half)
    length = min(config.tuning.max_length, find_window(model) or config.tuning.max_length)
    source = Source(data, tokenizer, length, config.tuning.overflow)
    train_set = open_train_set(source, context.output / WORK_FOLDER / PREPARED_FOLDER)
    check_vocabulary(train_set.table.highest, int(model.get_input_embeddings().weight.shape[0]))
    return Session(
        config,
        context,
        place,
        folder,
        digest,
        tokenizer,
        model,
        train_set,
        precision=precision,
        gauges=Gauges(place.device, place.workers, precision),
        shortcuts=shortcuts,
    )


def _gather(engine: Engine, session: Session, dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """Collect what was trained; all workers take part, the first one keeps it."""
    full = session.config.tuning.method is TuningMethod.FULL
    return {
        name: tensor.to(dtype) if full else tensor
        for name, tensor in engine.trained()
        if session.place.rank == 0
    }


def _save(
    session: Session,
    trained: Mapping[str, torch.Tensor],
    before: Mapping[str, float],
    position: Position,
) -> dict[str, Any]:
    """Write curve and checkpoint, and return the summary."""
    if session.config.tuning.method is TuningMethod.FULL:
        check_full_weights(trained, before)
    facts = _build_facts(session, position)
    output = session.context.output
    save_text(output / CURVE_FILE, dump_jsonl(position.curve))
    save_checkpoint(output / CHECKPOINT_FOLDER, session.model, session.tokenizer, trained, facts)
    return _build_summary(session, facts, position)


def send_checkpoint(mirror: Mirror, output: str) -> None:
    """Send the checkpoint, its manifest after its files, and last the summary."""
    if mirror.load_result(output) is not None:
        # Another machine was first: what its result lists must stay.
        return
    folder = f"{output}/{CHECKPOINT_FOLDER}"
    mirror.bucket.remove_folder(folder)
    names = {path.name for path in (mirror.folder / folder).iterdir()}
    mirror.send(f"{folder}/{name}" for name in sorted(names - {MANIFEST_FILE}))
    mirror.send([f"{folder}/{MANIFEST_FILE}"])
    beside = [CURVE_FILE, CANARY_FILE, *list_tracker_files(mirror.folder / output)]
    keys = (f"{output}/{name}" for name in beside)
    mirror.send(key for key in keys if (mirror.folder / key).is_file())
    mirror.send([f"{output}/{SUMMARY_FILE}"])


def _build_facts(session: Session, position: Position) -> CheckpointFacts:
    base = session.config.base
    parameters = list(session.model.parameters())
    return CheckpointFacts(
        method=session.config.tuning.method,
        base=base.base,
        revision=base.revision,
        gguf_file=base.gguf_file,
        base_digest=session.base_digest,
        seed=session.config.seed,
        steps=position.step,
        examples=len(session.train_set.examples),
        dropped=session.train_set.dropped,
        precision=str(session.precision),
        train_loss=_mean(position.last_losses),
        parameters_total=sum(_count(part) for part in parameters),
        parameters_trained=sum(_count(part) for part in parameters if part.requires_grad),
    )


def _build_summary(session: Session, facts: CheckpointFacts, position: Position) -> dict[str, Any]:
    gauges = session.gauges
    seconds = max(position.seconds, 1e-9)
    mfu = gauges.compute_mfu(Position(), position)
    busy = gauges.mean_utilization
    return {
        "steps": facts.steps,
        "examples": facts.examples,
        "dropped": facts.dropped,
        "tokens": position.tokens,
        "answer_tokens": position.answer_tokens,
        "train_loss": {
            "first": round(position.first_loss or 0.0, 4),
            "last": round(facts.train_loss, 4),
        },
        "tokens_per_second": round(position.tokens / seconds, 1),
        "seconds": round(position.seconds, 1),
        "parameters": {"total": facts.parameters_total, "trained": facts.parameters_trained},
        "precision": facts.precision,
        "shortcuts": asdict(session.shortcuts),
        "workers": session.place.workers,
        "device": gauges.name,
        # One of each worker.
        "gpus": session.place.workers if session.place.device.type == "cuda" else 0,
        "checkpoint": CHECKPOINT_FOLDER,
        # Of the first worker's process, or of its GPU.
        "peak_memory_bytes": gauges.read_peak_memory(),
        "data_wait_pct": round(100 * position.waited_seconds / seconds, 2),
        "padding_pct": round(100 * (1 - position.tokens / max(position.computed_tokens, 1)), 1),
        **({} if mfu is None else {"mfu_pct": round(100 * mfu, 1)}),
        **({} if busy is None else {"gpu_utilization_pct": round(busy)}),
    }


def _find_saved_dtype(model: Any) -> torch.dtype:
    """Return the number format of the base model's files, which a full checkpoint keeps."""
    dtype = getattr(model.config, "dtype", None)
    return dtype if isinstance(dtype, torch.dtype) else torch.float32


def _build_fingerprints(model: Any, dtype: torch.dtype) -> dict[str, float]:
    return {
        name: build_fingerprint(parameter.detach().to(dtype))
        for name, parameter in model.named_parameters()
        if parameter.requires_grad
    }


def _count(parameter: Any) -> int:
    """Count the numbers of a parameter, also where ZeRO-3 spread them or NF4 packed them."""
    if (packed := getattr(parameter, "quant_state", None)) is not None:
        return math.prod(packed.shape)
    return int(getattr(parameter, "ds_numel", parameter.numel()))


def _mean(values: tuple[float, ...]) -> float:
    return sum(values) / max(len(values), 1)
