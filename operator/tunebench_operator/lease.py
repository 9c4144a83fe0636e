"""The lease by which one of several processes leads, and notices that it does no more."""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
import uuid
from collections.abc import Callable
from functools import wraps
from typing import Any

import kubernetes
from kubernetes.client.exceptions import ApiException
from kubernetes.leaderelection import electionconfig, leaderelection
from kubernetes.leaderelection.resourcelock.leaselock import LeaseLock
from urllib3.exceptions import HTTPError

from tunebench_operator import names
from tunebench_operator.errors import ClusterError

logger = logging.getLogger(__name__)

LEASE_SECONDS = 15
RENEW_SECONDS = 8
RETRY_SECONDS = 2
# A renewal is two requests; the last one must have ended before another process takes the lease.
REQUEST_SECONDS = 2
_RELEASE_TRIES = 3


class Lease:
    """A lease that this process holds."""

    def __init__(self, lock: LeaseLock, lost: asyncio.Event) -> None:
        """Take over what the election won; `lost` is set when it is lost."""
        self.lost = lost
        self._lock = lock

    def release(self) -> None:
        """Let the next process lead at once, instead of when the lease has run out."""
        api = self._lock.api_instance
        replace, api.replace_namespaced_lease = api.replace_namespaced_lease, _refuse
        for _ in range(_RELEASE_TRIES):
            if self._try_release(api.read_namespaced_lease, replace):
                return

    def _try_release(self, read: Callable[..., Any], replace: Callable[..., Any]) -> bool:
        name, namespace = self._lock.name, self._lock.namespace
        try:
            lease = read(name, namespace)
            if lease.spec.holder_identity == self._lock.identity:
                lease.spec.holder_identity = ""
                replace(name, namespace, lease)
        except ApiException as error:
            # A renewal was on its way; or nobody answers, and then the lease runs out by itself.
            logger.info("the lease was not released: %s", error.reason)
            return False
        return True


async def lead(namespace: str) -> Lease:
    """Wait until this process leads.

    Raises:
        ClusterError: The election ended before that.
    """
    lost, leading = asyncio.Event(), asyncio.Event()
    lock = build_lock(namespace)
    loop = asyncio.get_running_loop()

    def lead_until_lost() -> None:
        loop.call_soon_threadsafe(leading.set)
        # The lease is renewed for as long as this function does not return.
        threading.Event().wait()

    config = electionconfig.Config(
        lock,
        lease_duration=LEASE_SECONDS,
        renew_deadline=RENEW_SECONDS,
        retry_period=RETRY_SECONDS,
        onstarted_leading=lead_until_lost,
        onstopped_leading=lambda: None,
    )
    election = leaderelection.LeaderElection(config)

    def elect() -> None:
        try:
            election.run()
        finally:
            # However it ended: nobody renews the lease now.
            loop.call_soon_threadsafe(lost.set)
            loop.call_soon_threadsafe(leading.set)

    threading.Thread(target=elect, name="lease", daemon=True).start()
    logger.info("waiting for the lease in %s", namespace)
    await leading.wait()
    if lost.is_set():
        msg = f"the election in {namespace} ended; this process must start again"
        raise ClusterError(msg)
    return Lease(lock, lost)


def build_lock(namespace: str) -> LeaseLock:
    """Build a lock to which a server that is away or silent is one that refuses.

    The library's own waits for it for ever, or lets the election's thread die: then a follower
    would never lead, and a leader never notice that another one does.
    """
    # Not the host's name alone: a process must not take itself for one that was before it.
    identity = f"{socket.gethostname()}_{uuid.uuid4()}"
    lock = LeaseLock(names.FIELD_MANAGER, namespace, identity)
    configuration = kubernetes.client.Configuration.get_default_copy()
    # The election itself tries again.
    configuration.retries = False
    api = kubernetes.client.CoordinationV1Api(kubernetes.client.ApiClient(configuration))
    for verb in ("read", "create", "replace"):
        method = f"{verb}_namespaced_lease"
        setattr(api, method, _answer_soon(getattr(api, method)))
    lock.api_instance = api
    return lock


def _refuse(*_: Any, **__: Any) -> Any:
    raise ApiException(status=0, reason="the lease is given back")


def _answer_soon(request: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(request)
    def answer(*arguments: Any, **more: Any) -> Any:
        try:
            return request(*arguments, **more, _request_timeout=REQUEST_SECONDS)
        except (HTTPError, OSError) as error:
            raise ApiException(status=0, reason=str(error)) from error

    return answer
