"""The operator's process: one of several leads, and drives all runs until told to stop."""

from __future__ import annotations

import asyncio
import contextlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import kopf

from tunebench_operator.cluster import CONNECTIONS, Cluster, load_client
from tunebench_operator.errors import ClusterError
from tunebench_operator.handlers import Operator, build_settings
from tunebench_operator.health import serving
from tunebench_operator.installation import Installation
from tunebench_operator.lease import lead
from tunebench_operator.metrics import Metrics


@dataclass(frozen=True)
class OperatorOptions:
    """How the process is run, as its command line says."""

    # Watch this namespace only; absent: all.
    namespace: str | None = None
    # Where the lease lies; absent: this process is alone.
    lease_namespace: str | None = None
    # For probes and metrics; 0: the system chooses.
    port: int = 8080
    # Between two listings of everything; kopf itself never lists again.
    sweep_seconds: float = 300.0


async def operate(
    installation: Installation,
    options: OperatorOptions,
    *,
    stop: asyncio.Event | None = None,
    ready: asyncio.Event | None = None,
) -> None:
    """Drive all runs until `stop` is set or a signal comes.

    Raises:
        ClusterError: Another process leads now, or the API server does not answer at the start.
    """
    # asyncio's own pool has six threads on two cores, and requests only wait in theirs.
    threads = ThreadPoolExecutor(CONNECTIONS, thread_name_prefix="request")
    asyncio.get_running_loop().set_default_executor(threads)
    client, metrics = load_client(), Metrics()
    cluster = await asyncio.to_thread(Cluster, client, metrics)
    with contextlib.closing(cluster):
        await _operate(cluster, installation, options, metrics, stop=stop, ready=ready)


async def _operate(  # noqa: PLR0913 - the parts of a process
    cluster: Cluster,
    installation: Installation,
    options: OperatorOptions,
    metrics: Metrics,
    *,
    stop: asyncio.Event | None,
    ready: asyncio.Event | None,
) -> None:
    operator = Operator(
        cluster,
        installation,
        options.namespace,
        metrics,
        sweep_seconds=options.sweep_seconds,
    )
    if ready is not None:
        operator.health.ready = ready
    async with serving(operator.health, metrics.registry, options.port):
        operator.health.following = options.lease_namespace is not None
        lease = await lead(options.lease_namespace) if options.lease_namespace else None
        operator.health.lead()
        stop = stop or asyncio.Event()
        driving = asyncio.create_task(operator.run_forever())
        watching = asyncio.create_task(_watch(operator, options, stop))
        # Who is alone never loses a lease.
        losing = asyncio.create_task((lease.lost if lease else asyncio.Event()).wait())
        await asyncio.wait({driving, watching, losing}, return_when=asyncio.FIRST_COMPLETED)
        stop.set()
        was_lost = losing.done()
        losing.cancel()
        driving.cancel()
        await watching
        if lease is not None and not was_lost:
            await asyncio.to_thread(lease.release)
        if not driving.cancelled() and driving.done() and driving.exception():
            await driving
        if was_lost:
            msg = "another process leads now; this one must start again as a follower"
            raise ClusterError(msg)


async def _watch(operator: Operator, options: OperatorOptions, stop: asyncio.Event) -> None:
    registry = operator.build_registry()
    kopf.on.login(registry=registry)(_log_in)
    await kopf.operator(
        registry=registry,
        settings=build_settings(options.namespace),
        standalone=True,
        clusterwide=options.namespace is None,
        namespaces=[options.namespace] if options.namespace else [],
        stop_flag=stop,
        ready_flag=operator.health.ready,
    )


def _log_in(**kwargs: Any) -> kopf.ConnectionInfo | None:
    """Return a pod's own credentials, or those of a kubeconfig."""
    return kopf.login_with_service_account(**kwargs) or kopf.login_with_kubeconfig(**kwargs)
