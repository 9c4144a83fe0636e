"""`python -m tunebench_jobs.tracking.training.process`: log one training to one tracker.

It reads lines from standard input until the training ends, and says on standard output where it
logs and what goes wrong. What cannot be logged now is tried again later, and once more at the end.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import IO, Protocol

from tunebench_jobs.folder_lock import hold_folder
from tunebench_jobs.tracking.training.journal import append_points, load_points, save_points
from tunebench_jobs.tracking.training.points import (
    End,
    Kind,
    Point,
    Start,
    Told,
    choose_past,
    parse_line,
)

# Points of less than this are sent together.
_GATHER_SECONDS = 1.0
# A server that is away is not asked at once again.
_RETRY_SECONDS = 30.0
_MAX_PROBLEM = 2000

Lines = SimpleQueue[Point | End | None]


class Tracker(Protocol):
    """One tracker, opened; whatever it raises is a problem, and no more."""

    where: str

    def log(self, points: Sequence[Point]) -> None:
        """Send points; those that it has already are left out."""

    def close(self, *, succeeded: bool) -> None:
        """Send what is left, and say how the training ended."""


def open_tracker(start: Start) -> Tracker:
    """Open the tracker that is asked for; each import takes seconds and need not be installed."""
    if start.kind is Kind.TENSORBOARD:
        from tunebench_jobs.tracking.training.tensorboard import TensorBoardTracker  # noqa: PLC0415

        return TensorBoardTracker(start)
    if start.kind is Kind.MLFLOW:
        from tunebench_jobs.tracking.training.mlflow import MlflowTracker  # noqa: PLC0415

        return MlflowTracker(start)
    from tunebench_jobs.tracking.training.wandb import WandbTracker  # noqa: PLC0415

    return WandbTracker(start)


def main() -> int:
    """Log what standard input says."""
    # Trackers print; what they print belongs to the log.
    spoken = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def say(told: Told) -> None:
        # Nobody listens any more where the training was killed; then the lines end, too.
        with suppress(BrokenPipeError):
            spoken.write(told.model_dump_json() + "\n")
            spoken.flush()

    first = parse_line(sys.stdin.readline())
    if not isinstance(first, Start):
        msg = "the first line must say where to log"
        raise TypeError(msg)
    lines: Lines = SimpleQueue()
    threading.Thread(target=_read, args=(sys.stdin, lines), daemon=True).start()
    # That of a killed attempt may still be at work, and must not write beside this one.
    with hold_folder(Path(first.journal).parent):
        Logbook(first, say).keep(lines)
        # Threads of a tracker that still waits for its server end here.
        os._exit(0)


class Logbook:
    """What is to be logged, and how far that is."""

    def __init__(
        self,
        start: Start,
        say: Callable[[Told], None],
        opener: Callable[[Start], Tracker] = open_tracker,
    ) -> None:
        """Begin with what earlier attempts have logged."""
        self._start = start
        self._say = say
        self._opener = opener
        self._journal = Path(start.journal)
        self._pending = choose_past(load_points(self._journal), start)
        self._tracker: Tracker | None = None
        self._next_try = 0.0
        save_points(self._journal, self._pending)

    def keep(self, lines: Lines) -> None:
        """Log until the lines end.

        A training that was killed says no last word. Then a later attempt logs what is left.
        """
        ended, end = False, None
        while not ended:
            points, ended, end = _gather(lines)
            append_points(self._journal, points)
            self._pending += points
            if not ended and time.monotonic() >= self._next_try:
                self._attempt(self._log)
        if end is None:
            return
        if self._attempt(self._log) and self._attempt(partial(self._close, end)):
            self._say(Told(complete=True))

    def _attempt(self, action: Callable[[], None]) -> bool:
        """Do something with the tracker, and say what was wrong."""
        try:
            action()
        except ImportError as error:
            self._complain(f"its package must be installed: {error}")
        except Exception as error:  # noqa: BLE001 - whatever a tracker and its transports raise
            self._complain(f"{type(error).__name__}: {error}")
        else:
            return True
        self._next_try = time.monotonic() + _RETRY_SECONDS
        return False

    def _complain(self, problem: str) -> None:
        self._say(Told(problem=problem[:_MAX_PROBLEM]))

    def _log(self) -> None:
        if self._tracker is None:
            self._tracker = self._opener(self._start)
            self._say(Told(where=self._tracker.where))
        if self._pending:
            self._tracker.log(self._pending)
            self._say(Told(last_step=self._pending[-1].step))
            self._pending = []

    def _close(self, end: End) -> None:
        if self._tracker is not None:
            self._tracker.close(succeeded=end.succeeded)


def _read(lines_in: IO[str], lines: Lines) -> None:
    """Hand on what comes, and at the end nothing."""
    for text in lines_in:
        line = parse_line(text)
        if not isinstance(line, Start):
            lines.put(line)
    lines.put(None)


def _gather(lines: Lines) -> tuple[list[Point], bool, End | None]:
    """Return the points of the next second, whether the lines have ended, and with which word."""
    points: list[Point] = []
    until = time.monotonic() + _GATHER_SECONDS
    while (left := until - time.monotonic()) > 0:
        try:
            line = lines.get(timeout=left)
        except Empty:
            break
        if not isinstance(line, Point):
            return points, True, line
        points.append(line)
    return points, False, None


if __name__ == "__main__":
    sys.exit(main())
