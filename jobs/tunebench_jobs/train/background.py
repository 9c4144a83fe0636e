"""One task at a time beside the training thread, whose errors are not lost."""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

logger = logging.getLogger(__name__)


class Background:
    """At most one task runs; each returns a name, and an error surfaces at the next call."""

    def __init__(self) -> None:
        """Start nothing yet."""
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="resume-point")
        self._task: Future[str] | None = None

    def start(self, task: Callable[[], str]) -> None:
        """Run a task; none may be running."""
        assert self._task is None  # noqa: S101 - callers have waited
        self._task = self._pool.submit(task)

    def poll(self) -> str | None:
        """Return what a task has returned meanwhile, once; raise what it has raised."""
        return self.wait() if self._task is not None and self._task.done() else None

    def wait(self) -> str | None:
        """Wait for the task that runs, if one does, and return or raise what it does."""
        task, self._task = self._task, None
        return task.result() if task is not None else None

    def abandon(self) -> None:
        """Let the task that runs come to its end; what it raises is only logged."""
        task, self._task = self._task, None
        error = task.exception() if task is not None else None
        if error is not None:
            logger.warning("resume point was not written", exc_info=error)
