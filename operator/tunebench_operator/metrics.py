"""What the operator counts about itself, for Prometheus."""

from __future__ import annotations

import time
from collections import Counter as Tally
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.gc_collector import GCCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from tunebench_operator import names

# From a step that changes nothing to one that writes all children of a large run.
_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
# Of a run that has no status yet.
_NEW = "New"


class Metrics:
    """Counters of one operator, and the registry that `/metrics` shows."""

    def __init__(self) -> None:
        """Begin at zero, with what Prometheus knows of any process beside it."""
        self.registry = CollectorRegistry()
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=self.registry)
        self._reconciles = Counter(
            "tunebench_reconciles",
            "Steps of runs, by how they ended.",
            ["outcome"],
            registry=self.registry,
        )
        self._seconds = Histogram(
            "tunebench_reconcile_seconds",
            "Time of a step.",
            buckets=_BUCKETS,
            registry=self.registry,
        )
        self._requests = Counter(
            "tunebench_api_requests",
            "Requests to the API server, beside kopf's watches, by kind, verb and HTTP status.",
            ["kind", "verb", "status"],
            registry=self.registry,
        )
        self._heard = Gauge(
            "tunebench_watch_last_event_timestamp_seconds",
            "When a watch told anything last.",
            registry=self.registry,
        )
        self._swept = Gauge(
            "tunebench_sweep_last_timestamp_seconds",
            "When all objects were listed anew last.",
            registry=self.registry,
        )
        self._unseen = Gauge(
            "tunebench_sweep_unseen_runs",
            "Runs of which the watches had not told all at the last sweep.",
            registry=self.registry,
        )
        self._deaf = Gauge(
            "tunebench_watch_deaf",
            "1 if two sweeps found the same that no watch had told; liveness fails then.",
            registry=self.registry,
        )

    @contextmanager
    def measure_step(self) -> Iterator[None]:
        """Count a step and its time; an error is another outcome."""
        begin = time.perf_counter()
        outcome = "error"
        try:
            yield
            outcome = "success"
        finally:
            self._seconds.observe(time.perf_counter() - begin)
            self._reconciles.labels(outcome).inc()

    def count_request(self, kind: str, verb: str, status: int | None) -> None:
        """Count an answered request; without a status, nobody answered."""
        self._requests.labels(kind, verb, str(status or "none")).inc()

    def note_event(self) -> None:
        """Keep the time of a watch's last word."""
        self._heard.set_to_current_time()

    def note_sweep(self, *, unseen: int, deaf: bool) -> None:
        """Keep what a sweep found."""
        self._swept.set_to_current_time()
        self._unseen.set(unseen)
        self._deaf.set(deaf)

    def show_runs(self, list_runs: Callable[[], Iterable[Mapping[str, Any]]]) -> None:
        """Count the runs that there are by reason, each time that somebody asks."""
        self.registry.register(_Runs(list_runs))


class _Runs(Collector):
    """Counted anew for each scrape, so that a run that goes leaves no line behind."""

    def __init__(self, list_runs: Callable[[], Iterable[Mapping[str, Any]]]) -> None:
        self._list_runs = list_runs

    def collect(self) -> Iterator[Metric]:
        family = GaugeMetricFamily(
            "tunebench_runs", "Runs by the reason of their condition Succeeded.", labels=["reason"]
        )
        for reason, count in sorted(Tally(map(find_reason, self._list_runs())).items()):
            family.add_metric([reason], count)
        yield family


def find_reason(body: Mapping[str, Any]) -> str:
    """Return the reason that sums up a run."""
    conditions = (body.get("status") or {}).get("conditions") or ()
    return next((each["reason"] for each in conditions if each["type"] == names.SUCCEEDED), _NEW)
