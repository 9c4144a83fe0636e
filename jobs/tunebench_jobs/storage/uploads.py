"""Files that grow while a stage works, sent to a bucket within seconds of each change."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path

from tunebench_jobs.errors import InputError, JobError, RetryableError

logger = logging.getLogger(__name__)

_SPACING_SECONDS = 0.5
_LONGEST_WAIT_SECONDS = 15.0
# A server that is away for longer stops the stage, before more is bought that it cannot keep.
_PATIENCE_SECONDS = 120.0

Put = Callable[[str, bytes], None]


class Uploads:
    """Sends files of whole lines from a thread of its own; each object is the file as it was."""

    def __init__(
        self,
        put: Put,
        *,
        clock: Callable[[], float] = time.monotonic,
        spacing: float = _SPACING_SECONDS,
        patience: float = _PATIENCE_SECONDS,
    ) -> None:
        """Send with `put`, which raises JobError; nothing starts before there is a file."""
        self._put = put
        self._clock = clock
        self._spacing = spacing
        self._patience = patience
        self._changed = threading.Condition()
        self._waiting: dict[str, Path] = {}
        # One sender at a time, or an older state of a file could overtake a newer one.
        self._sending = threading.Lock()
        self._failed_since: float | None = None
        self._failure: JobError | None = None
        self._thread: threading.Thread | None = None
        self._closed = False

    def touch(self, path: Path, key: str) -> None:
        """Note that a file has grown.

        Raises:
            JobError: Earlier changes cannot be sent, so this stage must not go on.
        """
        with self._changed:
            self._waiting[key] = path
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="uploads", daemon=True)
                self._thread.start()
            self._changed.notify()
            failure = self._failure
            since = self._failed_since
        if failure is not None and (
            isinstance(failure, InputError)
            or (since is not None and self._clock() - since > self._patience)
        ):
            raise failure

    def flush(self) -> None:
        """Send what has not been sent.

        Raises:
            JobError: The bucket does not take it.
        """
        self._send_all()

    def close(self) -> None:
        """End the thread, and send what has not been sent."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        if self._thread is not None:
            self._thread.join()
        self._send_all()

    def _work(self) -> None:
        wait = self._spacing
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._closed)
                if self._closed:
                    return
            try:
                self._send_all()
            except JobError as error:
                logger.warning("sending again in %.0f s: %s", wait, error)
                wait = min(2 * wait, _LONGEST_WAIT_SECONDS)
            else:
                wait = self._spacing
            with self._changed:
                self._changed.wait_for(lambda: self._closed, timeout=wait)

    def _send_all(self) -> None:
        with self._sending:
            while True:
                with self._changed:
                    if not self._waiting:
                        return
                    # The oldest first, so that one that cannot be sent keeps none waiting.
                    key = next(iter(self._waiting))
                    path = self._waiting.pop(key)
                try:
                    self._put(key, _load_whole_lines(path))
                except JobError as error:
                    with self._changed:
                        self._waiting.setdefault(key, path)
                        self._failure = error
                        if self._failed_since is None:
                            self._failed_since = self._clock()
                    raise
                with self._changed:
                    self._failure = self._failed_since = None


def _load_whole_lines(path: Path) -> bytes:
    """Return what a file holds up to its last line break.

    Raises:
        RetryableError: It cannot be read any more.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        msg = f"`{path}` must stay until it has been sent: {error}; start again"
        raise RetryableError(msg, reason="CopyLost") from error
    return content[: content.rfind(b"\n") + 1]
