"""One control plane for all tests of this folder, with every CRD that a run needs."""

from __future__ import annotations

import logging
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from control_plane import TOOLS, ControlPlane, apply_crd, make_api_client, running_control_plane
from kubernetes.dynamic import DynamicClient

from tunebench_operator import worklist

REPOSITORY = Path(__file__).parents[2]

Kubectl = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """Return a running control plane that knows BenchmarkRun."""
    with running_control_plane(tmp_path_factory.mktemp("plane")) as running:
        folders = (REPOSITORY / "manifests" / "crds", TOOLS / "kuberay-crds")
        for path in [path for folder in folders for path in sorted(folder.glob("*.yaml"))]:
            apply_crd(running, path.read_text(encoding="utf-8"))
        with pytest.MonkeyPatch.context() as environment:
            environment.setenv("KUBECONFIG", str(running.kubeconfig))
            yield running


@pytest.fixture(scope="session")
def client(plane: ControlPlane) -> DynamicClient:
    """Return a client that may do everything."""
    return DynamicClient(make_api_client(plane))


@pytest.fixture
def namespace(client: DynamicClient) -> str:
    """Return a namespace of the test's own."""
    spaces = client.resources.get(api_version="v1", kind="Namespace")
    return str(spaces.create(body={"metadata": {"generateName": "test-"}}).metadata.name)


@pytest.fixture(autouse=True)
def _foreseen(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Fail a test in which a step failed in a way that nobody foresaw; the operator goes on."""
    yield
    unforeseen = [
        each
        for each in caplog.get_records("call")
        if each.name == worklist.__name__ and each.levelno >= logging.ERROR
    ]
    assert not unforeseen, unforeseen
