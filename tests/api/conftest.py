"""One control plane for all tests of this folder, with every CRD that a run needs."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import kubernetes
import pytest
import yaml
from control_plane import TOOLS, ControlPlane, running_control_plane
from kubernetes.dynamic import DynamicClient

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


def make_api_client(plane: ControlPlane) -> kubernetes.client.ApiClient:
    """Return a client with the credentials of the control plane's owner."""
    return kubernetes.config.new_client_from_config(str(plane.kubeconfig))


def apply_crd(plane: ControlPlane, text: str) -> None:
    """Apply a CRD and wait until its kind can be used."""
    dynamic = DynamicClient(make_api_client(plane))
    kind = dynamic.resources.get(
        api_version="apiextensions.k8s.io/v1", kind="CustomResourceDefinition"
    )
    manifest: dict[str, Any] = yaml.safe_load(text)
    name = manifest["metadata"]["name"]
    dynamic.server_side_apply(kind, body=manifest, name=name, field_manager="tests")
    for event in kind.watch(field_selector=f"metadata.name={name}", timeout=30):
        conditions = event["raw_object"].get("status", {}).get("conditions") or ()
        if any(each["type"] == "Established" and each["status"] == "True" for each in conditions):
            return
    raise TimeoutError(name)
