"""Ray for one stage: a cluster of this process's own, or the one that RAY_ADDRESS names."""

from __future__ import annotations

import fcntl
import logging
import os
import secrets
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import chdir, contextmanager, suppress
from pathlib import Path

from tunebench_jobs.context import StageContext
from tunebench_jobs.termination import exit_on_sigterm

logger = logging.getLogger(__name__)

_OBJECT_STORE_BYTES = 256 << 20
_FOLDER_PREFIX = "tunebench-"
_LOCK_FILE = "lock"
_YOUNG_SECONDS = 60

# Read by Ray in this process and in every process that it starts.
_SETTINGS = {
    # Usage reports would leave the machine.
    "RAY_USAGE_STATS_ENABLED": "0",
    # `uv run` would make Ray copy the working folder and build an environment for each worker.
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    # Paths of a run may be relative to where it was started.
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    # Ray lowers the priority of its workers, which here do all of the work.
    "RAY_worker_niceness": "0",
    # Each is a process of 200 MiB that a single machine has no use for.
    "RAY_TRAIN_METRICS_ENABLED": "0",
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5",
    "TOKENIZERS_PARALLELISM": "false",
}


@contextmanager
def local_ray(context: StageContext, *, cpus: int) -> Iterator[None]:
    """Run the block with Ray connected, and leave no process of it behind.

    Args:
        context: The stage; its `runtime.cpus` does not limit Ray, which only counts reservations.
        cpus: CPUs that the block's actors reserve together.
    """
    owned = "RAY_ADDRESS" not in os.environ
    if owned:
        # Ray reads some of these when it is imported.
        _set_environment()
    import ray  # noqa: PLC0415 - takes a second to import

    with exit_on_sigterm():
        if not owned:
            ray.init(address="auto", log_to_driver=True)
            try:
                yield
            finally:
                ray.shutdown()
            return
        logger.info("starting Ray with %d CPUs for %s", cpus, context.runtime.output)
        with _own_folder() as folder:
            try:
                # Workers import from the folder in which Ray is started, before all else: a
                # `random.py` of the user's would be run in place of Python's own.
                with chdir(folder):
                    ray.init(
                        num_cpus=cpus,
                        object_store_memory=_OBJECT_STORE_BYTES,
                        # The dashboard takes 1 GiB; without it, an actor of Ray Train complains
                        # every second in the log, and what workers raise reaches this process all
                        # the same.
                        include_dashboard=False,
                        log_to_driver=False,
                        logging_level=logging.WARNING,
                        _temp_dir=str(folder),
                    )
                # Ray has put a handler in place of ours that aborts; a second one takes it back.
                with exit_on_sigterm():
                    yield
            finally:
                ray.shutdown()


@contextmanager
def _own_folder() -> Iterator[Path]:
    """Make a folder for Ray's sockets and logs, and remove those of processes that were killed."""
    place = Path(tempfile.gettempdir())
    for lock_file in place.glob(f"{_FOLDER_PREFIX}*/{_LOCK_FILE}"):
        _remove_abandoned(lock_file)
    # Short, because the paths of Ray's sockets in it may have 107 characters.
    folder = Path(tempfile.mkdtemp(prefix=_FOLDER_PREFIX, dir=place))
    with (folder / _LOCK_FILE).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _remove_abandoned(lock_file: Path) -> None:
    """Remove a folder whose lock nobody holds; a young one may not be locked yet."""
    # Others' folders are not to be opened, and what is removed meanwhile is no matter.
    with suppress(OSError):
        if time.time() - lock_file.stat().st_mtime < _YOUNG_SECONDS:
            return
        with lock_file.open() as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(lock_file.parent, ignore_errors=True)


def _set_environment() -> None:
    for name, value in _SETTINGS.items():
        os.environ.setdefault(name, value)
    # Whoever can talk to Ray can run code as this user, and others may share the machine. Without
    # a token of this cluster's own, Ray would write one into the home folder.
    os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
