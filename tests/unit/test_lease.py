"""Who leads: a server that is away or silent is no reason to lead on, or never to lead."""

from __future__ import annotations

import asyncio
import copy
import socket
import time
from collections.abc import Iterator

import kubernetes
import pytest
from kubernetes.client import V1Lease
from kubernetes.client.exceptions import ApiException
from kubernetes.leaderelection.leaderelectionrecord import LeaderElectionRecord
from kubernetes.leaderelection.resourcelock.leaselock import LeaseLock

from tunebench_operator.lease import (
    LEASE_SECONDS,
    RENEW_SECONDS,
    REQUEST_SECONDS,
    RETRY_SECONDS,
    Lease,
    build_lock,
)

LEASE_NAME = "tunebench-operator"
NOW = "2026-01-01 00:00:00"
RECORD = LeaderElectionRecord("me", "15", NOW, NOW)


@pytest.fixture(params=["absent", "silent"])
def address(request: pytest.FixtureRequest) -> Iterator[str]:
    """Return the address of a server that does not answer: nobody listens, or nobody speaks."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        if request.param == "absent":
            server.close()
        yield f"http://127.0.0.1:{port}"


@pytest.fixture
def _client(address: str) -> Iterator[None]:
    """Let Kubernetes' client ask that server."""
    before = kubernetes.client.Configuration.get_default_copy()
    kubernetes.client.Configuration.set_default(kubernetes.client.Configuration(host=address))
    yield
    kubernetes.client.Configuration.set_default(before)


@pytest.mark.usefixtures("_client")
def test_a_server_that_does_not_answer_gives_no_lease() -> None:
    """It is a refusal, in time: no error ends the election, and no request outlives the lease."""
    lock = build_lock("bench")
    begun = time.monotonic()
    found, error = lock.get(lock.name, "bench")
    created = lock.create(lock.name, "bench", RECORD)
    lock.lease_reference = kubernetes.client.V1Lease()
    updated = lock.update(lock.name, "bench", RECORD)

    assert (found, created, updated) == (False, False, False)
    assert error.reason
    assert time.monotonic() - begun < 3 * REQUEST_SECONDS + 1


def test_a_leader_stops_before_another_one_begins() -> None:
    """From the last renewal, trying in vain and a last attempt of two requests take less."""
    assert RETRY_SECONDS + RENEW_SECONDS + 2 * REQUEST_SECONDS < LEASE_SECONDS


class FakeLeases:
    """An API server's one lease; it refuses to replace what has changed meanwhile."""

    def __init__(self, holder: str, *, changes: int = 0) -> None:
        """Begin with a holder who renews so many times while somebody else looks."""
        self.lease = make_lease(holder)
        self.changes = changes

    def read_namespaced_lease(self, name: str, namespace: str) -> V1Lease:
        """Return the lease."""
        assert (name, namespace) == (LEASE_NAME, "bench")
        return copy.deepcopy(self.lease)

    def replace_namespaced_lease(self, name: str, namespace: str, body: V1Lease) -> None:
        """Write the lease."""
        assert (name, namespace) == (LEASE_NAME, "bench")
        if self.changes:
            self.changes -= 1
            raise ApiException(status=409, reason="Conflict")
        self.lease = body


def make_lease(holder: str) -> V1Lease:
    """Return a lease with a holder."""
    return V1Lease(spec=kubernetes.client.V1LeaseSpec(holder_identity=holder))


def hold(leases: FakeLeases) -> Lease:
    """Return the lease as `me` holds it."""
    lock = LeaseLock(LEASE_NAME, "bench", "me")
    lock.api_instance = leases
    return Lease(lock, asyncio.Event())


@pytest.mark.parametrize("changes", [0, 2], ids=["at once", "after two renewals"])
def test_who_leaves_in_order_gives_the_lease_back(changes: int) -> None:
    """The next process needs not wait until it has run out; nobody renews it any more."""
    leases = FakeLeases("me", changes=changes)
    lease = hold(leases)

    lease.release()

    assert leases.lease.spec.holder_identity == ""
    with pytest.raises(ApiException):
        lease._lock.api_instance.replace_namespaced_lease(LEASE_NAME, "bench", make_lease("me"))


def test_nobody_gives_back_what_another_one_has() -> None:
    """A lease that was lost meanwhile stays as it is."""
    leases = FakeLeases("other")

    hold(leases).release()

    assert leases.lease.spec.holder_identity == "other"
