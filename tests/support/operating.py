"""The operator in this process, and what tests ask of the runs that it drives."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

from fake_kubelet import WORK
from kubernetes.dynamic import DynamicClient
from make_installation import make_installation
from make_run import make_body

from tunebench_api.v1alpha1 import API_VERSION, KIND
from tunebench_operator import names
from tunebench_operator.installation import Installation
from tunebench_operator.operate import OperatorOptions, operate

SPEC: dict[str, Any] = {
    "tools": ["Describe"],
    "dataset": {"train": {"uri": "pvc://bench/train.jsonl"}, "eval": {"uri": "sample://e.jsonl"}},
    "baseline": {"name": "stored", "completions": {"uri": "pvc://bench/baseline.jsonl"}},
    "models": [{"name": "one", "base": "acme/one"}, {"name": "two", "base": "acme/one"}],
}


@asynccontextmanager
async def operating(
    namespace: str | None, installation: Installation | None = None, **more: Any
) -> AsyncIterator[None]:
    """Run the operator, with the credentials that KUBECONFIG names, while the block runs."""
    stop, ready = asyncio.Event(), asyncio.Event()
    options = OperatorOptions(namespace=namespace, **{"port": 0, **more})
    installation = installation or make_installation()
    task = asyncio.create_task(operate(installation, options, stop=stop, ready=ready))
    waiting = asyncio.create_task(ready.wait())
    try:
        await asyncio.wait({task, waiting}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            await task
        yield
    finally:
        waiting.cancel()
        stop.set()
        await asyncio.wait_for(task, 30)


@asynccontextmanager
async def background(work: Awaitable[None]) -> AsyncIterator[None]:
    """Run something while the block runs."""
    task = asyncio.ensure_future(work)
    try:
        yield
        if task.done():
            await task
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def create_run(client: DynamicClient, namespace: str, **spec: Any) -> None:
    """Create a run named `test`, with some of the spec replaced."""
    runs = client.resources.get(api_version=API_VERSION, kind=KIND)
    runs.create(body=make_body(**{**SPEC, **spec}), namespace=namespace)


def load_run(client: DynamicClient, namespace: str) -> dict[str, Any]:
    """Return the run as it is now."""
    runs = client.resources.get(api_version=API_VERSION, kind=KIND)
    found: dict[str, Any] = runs.get(name="test", namespace=namespace).to_dict()
    return found


def find_reason(run: dict[str, Any]) -> str:
    """Return the reason of the condition that sums up."""
    conditions = (run.get("status") or {}).get("conditions") or ()
    return next((each["reason"] for each in conditions if each["type"] == "Succeeded"), "")


def list_work(client: DynamicClient, namespace: str, stage: str | None = None) -> list[str]:
    """Return the names of what does work, of one stage or of all."""
    selector = f"{names.STAGE_LABEL}={stage}" if stage else None
    return [
        each["metadata"]["name"]
        for api_version, kind in WORK
        for each in client.resources.get(api_version=api_version, kind=kind)
        .get(namespace=namespace, label_selector=selector)
        .to_dict()["items"]
    ]


async def eventually(condition: Callable[[], bool], awaited: str, seconds: float = 60) -> None:
    """Wait for a condition; fail with what was awaited."""
    async with asyncio.timeout(seconds):
        while not await asyncio.to_thread(condition):  # noqa: ASYNC110 - the state is a server's
            await asyncio.sleep(0.1)
    assert awaited
