"""The training's side of a tracker's process: lines go in without waiting, words come out."""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from queue import SimpleQueue
from typing import IO

from pydantic import BaseModel, ValidationError

from tunebench_jobs.llm import redact
from tunebench_jobs.tracking.training.points import End, Kind, Point, Start, Told

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Address:
    """Where a tracker's process logs, its environment, and what of it must not be shown."""

    start: Start
    environment: Mapping[str, str]
    secrets: Sequence[str] = ()


@dataclass
class Heard:
    """What a tracker's process has said so far."""

    where: str = ""
    # The first one, which is warned about.
    problem: str = ""
    last_step: int = 0
    complete: bool = False

    def to_summary(self) -> dict[str, str]:
        """Return it as plain JSON, without what is absent."""
        warning = ""
        if not self.complete:
            warning = self.problem or "its process ended without a word"
        return {name: text for name, text in (("where", self.where), ("warning", warning)) if text}


class Feed:
    """One tracker's process; nothing that happens to it is raised."""

    def __init__(self, address: Address) -> None:
        """Start the process."""
        self.kind: Kind = address.start.kind
        self.heard = Heard()
        self._secrets = address.secrets
        self._lines: SimpleQueue[BaseModel | None] = SimpleQueue()
        self._lines.put(address.start)
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "tunebench_jobs.tracking.training.process"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                env=dict(address.environment),
            )
        except OSError as error:
            self._complain(f"its process did not start: {error}")
            self._threads: list[threading.Thread] = []
            return
        self._threads = [
            threading.Thread(target=self._pump, args=(self._process.stdin,), daemon=True),
            threading.Thread(target=self._listen, args=(self._process.stdout,), daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    def put(self, point: Point) -> None:
        """Log a point, soon."""
        if self._threads:
            self._lines.put(point)

    def finish(self, *, succeeded: bool) -> None:
        """Say that no more points come."""
        self._lines.put(End(succeeded=succeeded))
        self._lines.put(None)

    def wait(self, seconds: float) -> None:
        """Let the process end in its own time, which is limited."""
        if not self._threads:
            return
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            self._complain(f"not all was logged within {seconds:.0f} s")
        for thread in self._threads:
            thread.join(seconds)

    def _pump(self, pipe: IO[str]) -> None:
        """Write lines as fast as the process takes them; one that is gone takes none."""
        try:
            with pipe:
                while (line := self._lines.get()) is not None:
                    pipe.write(line.model_dump_json() + "\n")
                    pipe.flush()
        except OSError as error:
            self._complain(f"its process is gone: {error}")

    def _listen(self, pipe: IO[str]) -> None:
        with pipe:
            for text in pipe:
                try:
                    self._hear(Told.model_validate_json(text))
                except ValidationError:
                    logger.info("%s says %s", self.kind, text.strip())

    def _hear(self, told: Told) -> None:
        if told.where:
            self.heard.where = redact(told.where, self._secrets)
            logger.info("the training is logged to %s: %s", self.kind, self.heard.where)
        if told.problem:
            self._complain(redact(told.problem, self._secrets))
        self.heard.last_step = max(self.heard.last_step, told.last_step or 0)
        self.heard.complete |= told.complete

    def _complain(self, problem: str) -> None:
        """Warn once; the training goes on."""
        if self.heard.problem:
            return
        self.heard.problem = problem
        logger.warning("the training is not logged to %s for now: %s", self.kind, problem)
