"""The operator's process: one of several leads, and drives all runs until told to stop."""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
import uuid
from dataclasses import dataclass
from typing import Any

import kopf
from kubernetes.leaderelection import electionconfig, leaderelection
from kubernetes.leaderelection.resourcelock.leaselock import LeaseLock

from tunebench_operator import names
from tunebench_operator.cluster import Cluster, load_client
from tunebench_operator.errors import ClusterError
from tunebench_operator.handlers import Operator, build_settings
from tunebench_operator.health import serving
from tunebench_operator.installation import Installation
from tunebench_operator.metrics import Metrics

logger = logging.getLogger(__name__)

_LEASE_SECONDS = 15
_RENEW_SECONDS = 10
_RETRY_SECONDS = 2


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
    client, metrics = load_client(), Metrics()
    cluster = await asyncio.to_thread(Cluster, client, metrics)
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
        lost = await _lead(options.lease_namespace)
        operator.health.lead()
        stop = stop or asyncio.Event()
        driving = asyncio.create_task(operator.run_forever())
        watching = asyncio.create_task(_watch(operator, options, stop))
        losing = asyncio.create_task(lost.wait())
        await asyncio.wait({driving, watching, losing}, return_when=asyncio.FIRST_COMPLETED)
        stop.set()
        was_lost = losing.done()
        losing.cancel()
        driving.cancel()
        await watching
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


async def _lead(namespace: str | None) -> asyncio.Event:
    """Wait until this process leads; the event that is returned says that it does no more."""
    lost, leading = asyncio.Event(), asyncio.Event()
    if namespace is None:
        return lost
    loop = asyncio.get_running_loop()

    def lead_until_lost() -> None:
        loop.call_soon_threadsafe(leading.set)
        # The lease is renewed for as long as this function does not return.
        threading.Event().wait()

    config = electionconfig.Config(
        # Not the host's name alone: a process must not take itself for one that was before it.
        LeaseLock(names.FIELD_MANAGER, namespace, f"{socket.gethostname()}_{uuid.uuid4()}"),
        lease_duration=_LEASE_SECONDS,
        renew_deadline=_RENEW_SECONDS,
        retry_period=_RETRY_SECONDS,
        onstarted_leading=lead_until_lost,
        onstopped_leading=lambda: loop.call_soon_threadsafe(lost.set),
    )
    election = leaderelection.LeaderElection(config)
    threading.Thread(target=election.run, name="lease", daemon=True).start()
    logger.info("waiting for the lease in %s", namespace)
    await leading.wait()
    return lost
