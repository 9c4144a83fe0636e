"""How the operator bears many runs: `make scale` prints the figures of docs/performance.md.

On a real API server without nodes: so many BenchmarkRuns are created at once; each is accepted when
its first status is there. The same is done by kopf's change handlers that only write one field, and
the operator is started again on all runs, when it must have nothing to write.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import kopf
import kubernetes
import psutil
import urllib3
from control_plane import TOOLS, apply_crd, make_api_client, running_control_plane
from kubernetes.dynamic import DynamicClient
from make_installation import make_installation
from make_run import make_body
from operating import SPEC

from tunebench_api.crd import PLURAL
from tunebench_api.v1alpha1 import API_GROUP, API_VERSION, KIND
from tunebench_operator.yaml_text import build_yaml

REPOSITORY = Path(__file__).parents[2]
CREATORS = 8
PATIENCE_SECONDS = 900
KOPF = "--as-kopf-handlers"


@dataclass
class Figures:
    """What one operator did with one namespace full of runs."""

    created: dict[str, float] = field(default_factory=dict)
    accepted: dict[str, float] = field(default_factory=dict)
    peak_bytes: int = 0

    def describe(self) -> dict[str, Any]:
        """Return the figures in seconds and MB."""
        waits = sorted(self.accepted[name] - self.created[name] for name in self.created)
        return {
            "runs": len(waits),
            "created in [s]": round(max(self.created.values()) - min(self.created.values()), 1),
            "all accepted after the last creation [s]": round(self.tail_seconds, 1),
            "p50 [s]": round(statistics.median(waits), 2),
            "p99 [s]": round(waits[int(0.99 * (len(waits) - 1))], 2),
            "peak RSS [MB]": round(self.peak_bytes / 1e6),
        }

    @property
    def tail_seconds(self) -> float:
        """Seconds from the last creation to the last acceptance."""
        return max(self.accepted.values()) - max(self.created.values())


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument(KOPF, dest="namespace", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.namespace:
        asyncio.run(run_kopf_handlers(arguments.namespace))
        return
    with tempfile.TemporaryDirectory() as folder, running_control_plane(Path(folder)) as plane:
        os.environ["KUBECONFIG"] = str(plane.kubeconfig)
        for source in (REPOSITORY / "manifests" / "crds", TOOLS / "kuberay-crds"):
            for path in sorted(source.glob("*.yaml")):
                apply_crd(plane, path.read_text(encoding="utf-8"))
        client = DynamicClient(make_api_client(plane))
        theirs = measure(client, "theirs", build_kopf_command("theirs"), arguments.runs)
        print("kopf change handlers:", json.dumps(theirs.describe()), flush=True)
        port = find_free_port()
        command = build_operator_command(Path(folder), "ours", port)
        ours = measure(client, "ours", command, arguments.runs, port)
        print("tunebench operator:", json.dumps(ours.describe()), flush=True)
        ratio = theirs.tail_seconds / max(ours.tail_seconds, 0.01)
        print(f"kopf change handlers take {ratio:.1f} times as long after the last creation")
        print("restart:", json.dumps(measure_restart(command, port)), flush=True)


def measure(
    client: DynamicClient, namespace: str, command: list[str], runs: int, port: int = 0
) -> Figures:
    """Start an operator, create runs at once, and wait until all are accepted."""
    spaces = client.resources.get(api_version="v1", kind="Namespace")
    spaces.create(body={"metadata": {"name": namespace}})
    figures = Figures()
    with running(command) as process, watching(client, namespace, figures):
        wait_until(lambda: is_ready(process, port), "the operator")
        kind = client.resources.get(api_version=API_VERSION, kind=KIND)
        with ThreadPoolExecutor(CREATORS) as pool:
            list(pool.map(lambda number: create(kind, namespace, number, figures), range(runs)))

        def is_accepted() -> bool:
            resident = psutil.Process(process.pid).memory_info().rss
            figures.peak_bytes = max(figures.peak_bytes, resident)
            return len(figures.accepted) >= runs

        wait_until(is_accepted, "all runs to be accepted")
        if port:
            wait_until(lambda: is_idle(process, port, figures), "the operator to be done")
    return figures


def measure_restart(command: list[str], port: int) -> dict[str, Any]:
    """Start the operator on what it left, and count what it writes."""
    begin = time.monotonic()
    figures = Figures()
    with running(command) as process:
        wait_until(lambda: is_ready(process, port), "the operator")
        ready = time.monotonic() - begin
        wait_until(lambda: is_idle(process, port, figures), "the operator to be done")
        writes = sum(
            value
            for name, value in load_metrics(port)
            if name.startswith("tunebench_api_requests_total") and 'verb="list"' not in name
        )
        return {
            "ready after [s]": round(ready, 1),
            "writes": writes,
            "CPU [s]": round(sum(psutil.Process(process.pid).cpu_times()[:2]), 1),
            "peak RSS [MB]": round(figures.peak_bytes / 1e6),
        }


def is_idle(process: subprocess.Popen[bytes], port: int, figures: Figures) -> bool:
    """Return whether no step was taken for some seconds; keep the memory that was seen."""
    before = count_steps(port)
    for _ in range(10):
        time.sleep(0.5)
        resident = psutil.Process(process.pid).memory_info().rss
        figures.peak_bytes = max(figures.peak_bytes, resident)
    return count_steps(port) == before > 0


def count_steps(port: int) -> float:
    """Return how many steps the operator has taken."""
    metrics = load_metrics(port)
    return sum(value for name, value in metrics if name.startswith("tunebench_reconciles_total"))


def load_metrics(port: int) -> list[tuple[str, float]]:
    """Return the samples of the operator's metrics."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
        lines = answer.read().decode().splitlines()
    samples = (line.rpartition(" ") for line in lines if not line.startswith("#"))
    return [(name, float(value)) for name, _, value in samples]


def create(runs: Any, namespace: str, number: int, figures: Figures) -> None:
    """Create one run."""
    body = make_body(**SPEC)
    name = f"run-{number}"
    runs.create(body={**body, "metadata": {"name": name}}, namespace=namespace)
    figures.created[name] = time.monotonic()


@contextmanager
def watching(client: DynamicClient, namespace: str, figures: Figures) -> Iterator[None]:
    """Keep the time of each run's first status while the block runs."""
    api = kubernetes.client.CustomObjectsApi(client.client)
    watch = kubernetes.watch.Watch()

    def follow() -> None:
        stream = watch.stream(
            api.list_namespaced_custom_object, API_GROUP, "v1alpha1", namespace, PLURAL
        )
        # The server is taken away at the end, in the middle of it.
        with suppress(urllib3.exceptions.ProtocolError):
            for event in stream:
                body = event["object"]
                if body.get("status"):
                    figures.accepted.setdefault(body["metadata"]["name"], time.monotonic())

    thread = threading.Thread(target=follow, daemon=True)
    thread.start()
    try:
        yield
    finally:
        watch.stop()


@contextmanager
def running(command: list[str]) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program while the block runs."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(60)


def is_ready(process: subprocess.Popen[bytes], port: int) -> bool:
    """Return whether an operator watches; kopf's own has no page that says so."""
    if process.poll() is not None:
        msg = f"the operator ended with {process.returncode}"
        raise RuntimeError(msg)
    if not port:
        time.sleep(8)
        return True
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz") as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def wait_until(condition: Any, awaited: str) -> None:
    """Wait for a condition; fail with what was awaited."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(awaited)
        time.sleep(0.05)


def build_operator_command(folder: Path, namespace: str, port: int) -> list[str]:
    """Return the command that the chart starts."""
    installation = folder / "installation.yaml"
    installation.write_text(build_yaml(make_installation().to_wire()), encoding="utf-8")
    options = (f"--installation={installation}", f"--namespace={namespace}", f"--port={port}")
    return [sys.executable, "-m", "tunebench_operator", "operator", *options]


def build_kopf_command(namespace: str) -> list[str]:
    """Return the command of the operator to compare with."""
    return [sys.executable, __file__, KOPF, namespace]


async def run_kopf_handlers(namespace: str) -> None:
    """Do the least that kopf's change handlers can do: write one field of the status."""
    registry = kopf.OperatorRegistry()

    @kopf.on.login(registry=registry)
    def log_in(**kwargs: Any) -> kopf.ConnectionInfo | None:
        return kopf.login_with_kubeconfig(**kwargs)

    @kopf.on.create(API_GROUP, "v1alpha1", PLURAL, registry=registry)
    async def accept(patch: kopf.Patch, **_: Any) -> None:
        patch.status["startTime"] = "2026-01-01T00:00:00Z"

    settings = kopf.OperatorSettings()
    settings.posting.enabled = False
    settings.scanning.disabled = True
    await kopf.operator(
        registry=registry, settings=settings, standalone=True, namespaces=[namespace]
    )


def find_free_port() -> int:
    """Return a port that nobody has."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


if __name__ == "__main__":
    main()
