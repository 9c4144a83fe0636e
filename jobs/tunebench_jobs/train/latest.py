"""A thread that hands on the newest of what it is given, so that a slow taker holds nobody up."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

logger = logging.getLogger(__name__)

ValueT = TypeVar("ValueT")


class Latest(Generic[ValueT]):
    """Values go to a taker in order; one that comes while another waits takes its place."""

    def __init__(self, take: Callable[[ValueT], None]) -> None:
        """Start the thread."""
        self._take = take
        self._changed = threading.Condition()
        self._waiting: list[ValueT] = []
        self._closed = False
        self._error: Exception | None = None
        # A daemon: a process that is done for does not wait for whoever does not answer.
        self._thread = threading.Thread(target=self._run, name="latest", daemon=True)
        self._thread.start()

    def put(self, value: ValueT) -> None:
        """Give a value away; raise what an earlier one ran into."""
        with self._changed:
            self._raise_error()
            self._waiting = [value]
            self._changed.notify()

    def close(self) -> None:
        """Wait until the last value has been taken; raise what it ran into."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()
        self._raise_error()

    def abandon(self) -> None:
        """Wait as `close` does; what the last values ran into is only logged."""
        try:
            self.close()
        except Exception:
            logger.warning("what was said last was not heard", exc_info=True)

    def _raise_error(self) -> None:
        error, self._error = self._error, None
        if error is not None:
            raise error

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._closed)
                if not self._waiting:
                    return
                value = self._waiting.pop()
            try:
                self._take(value)
            except Exception as error:  # noqa: BLE001 - it is raised where the next value comes from
                self._error = error
