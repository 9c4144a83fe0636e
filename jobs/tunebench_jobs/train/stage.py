"""The train stage: steer Ray Train, and leave a checkpoint or a clear error."""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from tunebench_api.contract import NODE_LOST, OUT_OF_MEMORY, Artefact, Progress, TrainConfig
from tunebench_api.sizing.settled import Sizing
from tunebench_api.v1alpha1 import DeepSpeed
from tunebench_jobs.canaries import CANARY_FILE
from tunebench_jobs.checkpoints import MANIFEST_FILE, load_manifest, load_unchecked_manifest
from tunebench_jobs.context import Outcome, StageContext
from tunebench_jobs.errors import JobError, RetryableError
from tunebench_jobs.files import DISK_FULL_WORDS, build_store_full
from tunebench_jobs.local_ray import local_ray
from tunebench_jobs.storage.bucket import build_filesystem
from tunebench_jobs.storage.mirror import Mirror
from tunebench_jobs.tracking.training.files import choose_tracker_files, list_tracker_files
from tunebench_jobs.train.curve import CURVE_FILE
from tunebench_jobs.train.layout import CHECKPOINT_FOLDER, SUMMARY_FILE, WORK_FOLDER
from tunebench_jobs.train.room import fit_in_memory
from tunebench_jobs.train.worker import run_worker

logger = logging.getLogger(__name__)

_MESSAGE_CHARACTERS = 1500
# Ray says first what happened, and then lists processes.
_DEATH_CHARACTERS = 300
_NODE_DIED = "its node has died"
_MEMORY_USED = re.compile(r"[\d.]+ ?GB used / [\d.]+ ?GB limit")
_BESIDE = (CURVE_FILE, CANARY_FILE)
_SNAPSHOT_FILE = "checkpoint_manager_snapshot.json"


def run_train(config: TrainConfig, context: StageContext) -> Outcome:
    """Fine-tune one model, from the newest resume point where an earlier attempt left one.

    Raises:
        InputError: The data, the base model or the settings must change.
        RetryableError: A worker died, or the store is full; what was reached is kept.
    """
    summary_file = context.output / SUMMARY_FILE
    if not _is_trained(context):
        context.report(Progress(percent=0, message="starting Ray"))
        fit_in_memory(config, context, partial(_fit, context))
    if context.mirror is not None:
        return _collect_sent(context, context.mirror)
    manifest = load_manifest(context.output / CHECKPOINT_FOLDER)
    shutil.rmtree(context.output / WORK_FOLDER, ignore_errors=True)
    summary: dict[str, Any] = json.loads(summary_file.read_bytes())
    return Outcome(
        message=_describe(summary),
        artefacts=[
            *(f"{CHECKPOINT_FOLDER}/{name}" for name in (*manifest.files, MANIFEST_FILE)),
            *_list_beside(context.output),
        ],
        summary=summary,
    )


def _is_trained(context: StageContext) -> bool:
    """Whether an earlier attempt left the summary, which comes after the checkpoint."""
    if context.mirror is None:
        return (context.output / SUMMARY_FILE).is_file()
    return context.mirror.fetch_file(f"{context.runtime.output}/{SUMMARY_FILE}") is not None


def _collect_sent(context: StageContext, mirror: Mirror) -> Outcome:
    """Describe the checkpoint that a worker, perhaps on another machine, sent to the bucket."""
    output = context.runtime.output
    summary_file = mirror.fetch_file(f"{output}/{SUMMARY_FILE}")
    manifest_file = mirror.fetch_file(f"{output}/{CHECKPOINT_FOLDER}/{MANIFEST_FILE}")
    if summary_file is None or manifest_file is None:
        msg = f"training ended without a checkpoint in `{mirror.bucket.uri}/{output}`"
        raise RetryableError(msg, reason="TrainFailed")
    manifest = load_unchecked_manifest(manifest_file.parent)
    for name in (*_BESIDE, *choose_tracker_files(mirror.bucket.list(output))):
        mirror.fetch_file(f"{output}/{name}")
    mirror.bucket.remove_folder(f"{output}/{WORK_FOLDER}")
    shutil.rmtree(context.output / WORK_FOLDER, ignore_errors=True)
    summary: dict[str, Any] = json.loads(summary_file.read_bytes())
    return Outcome(
        message=_describe(summary),
        artefacts=[f"{CHECKPOINT_FOLDER}/{MANIFEST_FILE}", *_list_beside(context.output)],
        summary=summary,
        sent=[
            Artefact(path=f"{CHECKPOINT_FOLDER}/{name}", sha256=file.sha256, bytes=file.bytes)
            for name, file in manifest.files.items()
        ],
    )


def _list_beside(output: Path) -> list[str]:
    """Return what lies beside a checkpoint: an attempt of an earlier version has left less."""
    here = [name for name in _BESIDE if (output / name).is_file()]
    return [*here, *list_tracker_files(output)]


def build_job_error(failures: Mapping[int, Exception], store: Path) -> JobError:
    """Return the error of a stage whose workers failed: their own word, where one has it."""
    for failure in failures.values():
        if isinstance(failure, JobError):
            return failure
    if any(DISK_FULL_WORDS in str(failure) for failure in failures.values()):
        return build_store_full(store)
    # Ray hands on what a worker raised as it is; its own words for a death are not all public.
    dead = [failure for failure in failures.values() if type(failure).__module__.startswith("ray.")]
    if dead:
        return _build_death(dead[0])
    return RetryableError(f"training failed: {_shorten(*failures.values())}", reason="TrainFailed")


def _build_death(failure: Exception) -> RetryableError:
    """Return the error for a worker that Ray stopped, or that is gone."""
    text = " ".join(str(failure).split())
    if type(failure).__name__ == "OutOfMemoryError":
        found = _MEMORY_USED.search(text)
        used = f" ({found[0]})" if found else ""
        msg = (
            f"a training worker needed more memory than there was{used}; give"
            " `tuning` a smaller `microBatchSize` or `maxLength`, or the workers of "
            "`resources.pool` more memory; training goes on from its last resume point"
        )
        return RetryableError(msg, reason=OUT_OF_MEMORY)
    if _NODE_DIED in text:
        return _build_node_lost(text)
    msg = (
        f"a training worker died, perhaps for lack of memory: {text[:_DEATH_CHARACTERS]}; "
        "training goes on from its last resume point"
    )
    return RetryableError(msg, reason="WorkerDied")


def _build_node_lost(text: str) -> RetryableError:
    """Return the error for workers whose node was taken, or went without a word."""
    msg = (
        f"the node of a training worker is gone: {text[:_DEATH_CHARACTERS]}; training goes on from "
        "its last resume point"
    )
    return RetryableError(msg, reason=NODE_LOST)


def _fit(context: StageContext, config: TrainConfig, sizing: Sizing) -> None:
    workers = config.tuning.workers
    # Resume points are found by our own manifest: Ray's snapshot may be half written.
    if context.mirror is None:
        (context.output / WORK_FOLDER / _SNAPSHOT_FILE).unlink(missing_ok=True)
    else:
        context.mirror.bucket.remove(f"{context.runtime.output}/{WORK_FOLDER}/{_SNAPSHOT_FILE}")
    with local_ray(context, cpus=workers + 1):
        import ray  # noqa: PLC0415 - takes a second to import
        import ray.train  # noqa: PLC0415 - likewise

        gpus = bool(context.runtime.gpus)
        if context.runtime.gpus is None:
            gpus = ray.cluster_resources().get("GPU", 0) >= workers
        scaling = ray.train.ScalingConfig(
            num_workers=workers, use_gpu=gpus, resources_per_worker={"CPU": 1, "GPU": int(gpus)}
        )
        running = ray.train.RunConfig(
            name=WORK_FOLDER,
            # The planner counts attempts, and knows why pods went; Ray would go on for ever.
            failure_config=ray.train.FailureConfig(max_failures=0, max_preemption_failures=0),
            **_find_storage(context),
        )
        trainer = _build_trainer(
            config,
            train_loop_config={
                "config": config.model_dump_json(),
                "runtime": context.runtime.model_copy(update={"sizing": sizing}).model_dump_json(),
            },
            scaling_config=scaling,
            run_config=running,
        )
        try:
            trainer.fit()
        except ray.train.WorkerGroupError as error:
            logger.error("workers failed: %s", error)  # noqa: TRY400 - has the workers' tracebacks
            raise build_job_error(error.worker_failures, context.store) from error
        except ray.train.PreemptionError as error:
            raise _build_node_lost(" ".join(str(error).split())) from error
        except ray.train.TrainingFailedError as error:
            raise RetryableError(f"training failed: {error}", reason="TrainFailed") from error


def _find_storage(context: StageContext) -> dict[str, Any]:
    """Return where Ray Train keeps its checkpoints."""
    if context.mirror is None:
        return {"storage_path": str(context.output.resolve())}
    bucket = context.mirror.bucket
    return {
        "storage_path": f"{bucket.root}/{context.runtime.output}",
        # Holds no key: each process of Ray reads its own environment.
        "storage_filesystem": build_filesystem(bucket.name, os.environ, at_once=True),
    }


def _build_trainer(config: TrainConfig, **arguments: Any) -> Any:
    """Return a Ray Train trainer; `TorchTrainer` where workers need a process group.

    A worker that is alone needs none, and then neither this process nor Ray's controller has to
    import torch: that is 20 s and 0.9 GiB on two cores.
    """
    tuning = config.tuning
    if tuning.workers == 1 and tuning.deepspeed in {DeepSpeed.NONE, DeepSpeed.AUTO}:
        from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer  # noqa: PLC0415

        return DataParallelTrainer(run_worker, **arguments)
    from ray.train.torch import TorchTrainer  # noqa: PLC0415 - imports torch

    return TorchTrainer(run_worker, **arguments)


def _describe(summary: Mapping[str, Any]) -> str:
    loss = summary["train_loss"]
    trackers: Mapping[str, Mapping[str, str]] = summary.get("tracking", {})
    done = (
        f"{summary['steps']} steps over {summary['examples']} examples "
        f"({summary['dropped']} dropped), loss {loss['first']:.2f} to {loss['last']:.2f}"
    )
    warnings = [
        f"warning: not logged to {kind}: {each['warning']}"
        for kind, each in trackers.items()
        if "warning" in each
    ]
    return "; ".join([done, *warnings])


def _shorten(*failures: Exception) -> str:
    """Return the end of a failure's text, where a traceback says what happened."""
    return str(failures[0]).strip()[-_MESSAGE_CHARACTERS:]
