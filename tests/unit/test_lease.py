"""Who leads: a server that is away or silent is no reason to lead on, or never to lead."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator

import kubernetes
import pytest
from kubernetes.leaderelection.leaderelectionrecord import LeaderElectionRecord

from tunebench_operator.lease import (
    LEASE_SECONDS,
    RENEW_SECONDS,
    REQUEST_SECONDS,
    RETRY_SECONDS,
    build_lock,
)

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
