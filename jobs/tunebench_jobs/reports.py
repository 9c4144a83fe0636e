"""Where a stage reports to: a file on this machine, or a ConfigMap of the cluster it runs in."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from tunebench_api.contract import REPORT_KEY, Report, parse_report_address
from tunebench_jobs.errors import RetryableError
from tunebench_jobs.files import save_text

logger = logging.getLogger(__name__)

# Each report wakes the operator, which writes the run's status.
_PACE_SECONDS = 5.0
_TIMEOUT_SECONDS = 10
_FIRST_DELAY_SECONDS = 1.0
_MAX_DELAY_SECONDS = 30.0
# An API server that is upgraded is away for some minutes; a result waits for it.
_PATIENCE_SECONDS = 900.0
_GONE = frozenset({401, 403, 404, 410})

Patch = Callable[[str], None]


class Sink(Protocol):
    """Receives the reports of one stage."""

    def save(self, report: Report) -> None:
        """Keep a report in place of the one before."""
        ...


class ReportFile:
    """A report that the planner's side reads from a file."""

    def __init__(self, path: Path) -> None:
        """Begin with whatever the file holds."""
        self._path = path

    def save(self, report: Report) -> None:
        """Write the file."""
        save_text(self._path, report.model_dump_json(by_alias=True))


class UnreachableError(Exception):
    """The API server did not take a report; `lasting`: it never will."""

    def __init__(self, message: str, *, lasting: bool) -> None:
        """Keep whether to try again."""
        super().__init__(message)
        self.lasting = lasting


class ReportConfigMap:
    """A report that the operator reads from a ConfigMap.

    Progress is paced, and is lost rather than in the way; a result is sent until it is taken.
    """

    def __init__(
        self,
        patch: Patch,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Send with `patch`, which raises UnreachableError."""
        self._patch = patch
        self._clock = clock
        self._sleep = sleep
        self._sent_at = float("-inf")
        self._sent: tuple[object, ...] = ()

    def save(self, report: Report) -> None:
        """Send a report.

        Raises:
            RetryableError: It holds the result, and the API server does not take it.
        """
        text = report.model_dump_json(by_alias=True)
        if report.result is not None:
            self._insist(text)
            return
        progress = report.progress
        news = (progress.message, progress.endpoint, progress.checkpoint)
        now = self._clock()
        if news == self._sent and now - self._sent_at < _PACE_SECONDS:
            return
        self._sent, self._sent_at = news, now
        try:
            self._patch(text)
        except UnreachableError as error:
            logger.warning("progress was not reported: %s", error)

    def _insist(self, text: str) -> None:
        deadline, delay = self._clock() + _PATIENCE_SECONDS, _FIRST_DELAY_SECONDS
        while True:
            try:
                return self._patch(text)
            except UnreachableError as error:
                if error.lasting or self._clock() + delay > deadline:
                    msg = f"the result could not be reported: {error}"
                    raise RetryableError(msg, reason="ReportNotTaken") from error
                logger.warning("reporting again in %.0f s: %s", delay, error)
            self._sleep(delay)
            delay = min(2 * delay, _MAX_DELAY_SECONDS)


def open_sink(address: str) -> Sink:
    """Return what takes the reports of the stage whose document names `address`."""
    place = parse_report_address(address)
    if place is None:
        return ReportFile(Path(address))
    import kubernetes  # noqa: PLC0415 - a second to import, and in a cluster only

    # With the pod's own token, which is renewed before it runs out.
    kubernetes.config.load_incluster_config()
    return ReportConfigMap(build_patch(kubernetes.client.CoreV1Api(), *place))


def build_patch(api: Any, namespace: str, name: str) -> Patch:
    """Return a function that replaces the text in a ConfigMap; `api` is a `CoreV1Api`."""
    from kubernetes.client import ApiException  # noqa: PLC0415 - in a cluster only
    from urllib3.exceptions import HTTPError  # noqa: PLC0415 - likewise

    def patch(text: str) -> None:
        body: dict[str, Any] = {"data": {REPORT_KEY: text}}
        try:
            api.patch_namespaced_config_map(
                name, namespace, body, _request_timeout=_TIMEOUT_SECONDS
            )
        except ApiException as error:
            message = f"ConfigMap {namespace}/{name}: {error.status} {error.reason}"
            raise UnreachableError(message, lasting=error.status in _GONE) from error
        except (HTTPError, OSError) as error:
            message = f"the API server does not answer: {error}"
            raise UnreachableError(message, lasting=False) from error

    return patch
