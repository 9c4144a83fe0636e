"""A real Kubernetes control plane for tests: etcd, kube-apiserver, kube-controller-manager.

There is no node, so no pod ever runs; `node.py` adds one. The programs are those of `make tools`,
or those in the folder that KUBEBUILDER_ASSETS names.
"""

from __future__ import annotations

import base64
import os
import secrets
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import kubernetes
import yaml
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from kubernetes.dynamic import DynamicClient

REPOSITORY = Path(__file__).parents[2]
TOOLS = REPOSITORY / ".tools"
_ADDRESS = "127.0.0.1"
_START_SECONDS = 90


@dataclass(frozen=True)
class ControlPlane:
    """Where a running control plane is, and who may do everything in it."""

    server: str
    token: str
    certificate: Path
    kubeconfig: Path


@dataclass(frozen=True)
class Outside:
    """What a control plane must know of the programs that work with it."""

    # Where it is reached, by pods too.
    address: str = "127.0.0.1"
    # Tokens by user, and groups by user.
    tokens: Mapping[str, str] = field(default_factory=dict)
    groups: Mapping[str, str] = field(default_factory=dict)
    # How it shows kubelets who it is: certificate and key; absent: there are none.
    kubelet_client: tuple[Path, Path] | None = None


@contextmanager
def running_control_plane(folder: Path, outside: Outside | None = None) -> Iterator[ControlPlane]:
    """Run a control plane in `folder` while the block runs, and leave no process of it."""
    with ExitStack() as stack:
        etcd = _start_etcd(folder, stack)
        plane = _start_apiserver(folder, etcd, outside or Outside(), stack)
        _wait_for(plane, "/readyz")
        _start_controllers(folder, plane, stack)
        _wait_for(plane, "/api/v1/namespaces/default/serviceaccounts/default")
        yield plane


def find_program(name: str) -> Path:
    """Return the path of a program of the cluster.

    Raises:
        FileNotFoundError: It was not built.
    """
    places = [Path(os.environ.get("KUBEBUILDER_ASSETS", TOOLS)), TOOLS]
    found = next((place / name for place in places if (place / name).is_file()), None)
    installed = shutil.which(name)
    if found is None and installed is None:
        msg = f"`{name}` must be built or installed; run `make tools`, or `make node-tools`"
        raise FileNotFoundError(msg)
    return found or Path(str(installed))


def write_kubeconfig(path: Path, plane_server: str, certificate: Path, token: str) -> None:
    """Write a kubeconfig for one user with a token."""
    authority = base64.b64encode(certificate.read_bytes()).decode()
    cluster = {"server": plane_server, "certificate-authority-data": authority}
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "test", "cluster": cluster}],
        "users": [{"name": "test", "user": {"token": token}}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
        "current-context": "test",
    }
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    path.chmod(0o600)


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


def _start_etcd(folder: Path, stack: ExitStack) -> str:
    client, peer = _free_port(), _free_port()
    url, peer_url = f"http://{_ADDRESS}:{client}", f"http://{_ADDRESS}:{peer}"
    arguments = {
        "data-dir": folder / "etcd",
        "listen-client-urls": url,
        "advertise-client-urls": url,
        "listen-peer-urls": peer_url,
        "initial-advertise-peer-urls": peer_url,
        "initial-cluster": f"default={peer_url}",
        "unsafe-no-fsync": "true",
        "log-level": "warn",
    }
    start_program("etcd", arguments, folder, stack)
    return url


def _start_apiserver(folder: Path, etcd: str, outside: Outside, stack: ExitStack) -> ControlPlane:
    port, token = _free_port(), secrets.token_hex(16)
    tokens = folder / "tokens.csv"
    lines = [
        f"{token},admin,admin,system:masters",
        *(f"{its},{user},{user},{outside.groups[user]}" for user, its in outside.tokens.items()),
    ]
    tokens.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    key = folder / "service-account.key"
    key.write_bytes(_make_key())
    arguments = {
        "etcd-servers": etcd,
        "bind-address": outside.address,
        "advertise-address": outside.address,
        "secure-port": port,
        "cert-dir": folder / "certificates",
        "token-auth-file": tokens,
        "authorization-mode": "Node,RBAC",
        "service-account-issuer": "https://kubernetes.default.svc",
        "service-account-key-file": key,
        "service-account-signing-key-file": key,
        "service-cluster-ip-range": "10.96.0.0/16",
    }
    if outside.kubelet_client:
        certificate, private = outside.kubelet_client
        arguments |= {
            "kubelet-client-certificate": certificate,
            "kubelet-client-key": private,
            # A node's name is known to nobody here.
            "kubelet-preferred-address-types": "InternalIP",
        }
    start_program("kube-apiserver", arguments, folder, stack)
    certificate = folder / "certificates" / "apiserver.crt"
    poll(certificate.is_file, "the certificate of the API server")
    kubeconfig = folder / "kubeconfig"
    server = f"https://{outside.address}:{port}"
    write_kubeconfig(kubeconfig, server, certificate, token)
    return ControlPlane(server, token, certificate, kubeconfig)


def _start_controllers(folder: Path, plane: ControlPlane, stack: ExitStack) -> None:
    arguments = {
        "kubeconfig": plane.kubeconfig,
        "service-account-private-key-file": folder / "service-account.key",
        "root-ca-file": plane.certificate,
        "use-service-account-credentials": "true",
        "leader-elect": "false",
        "secure-port": "0",
    }
    start_program("kube-controller-manager", arguments, folder, stack)


def start_program(
    name: str, arguments: Mapping[str, object], folder: Path, stack: ExitStack
) -> None:
    """Start a program that ends with the stack; its log lies in the folder."""
    command = [str(find_program(name)), *(f"--{key}={value}" for key, value in arguments.items())]
    log = stack.enter_context((folder / f"{name}.log").open("wb"))
    process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, cwd=folder)
    stack.callback(_stop, process)


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(15)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _wait_for(plane: ControlPlane, path: str) -> None:
    headers = {"Authorization": f"Bearer {plane.token}"}
    # The certificate names no CA that this process knows; it is read from the server's own folder.
    with httpx.Client(verify=False, headers=headers, trust_env=False) as client:  # noqa: S501 - loopback

        def answers() -> bool:
            try:
                return client.get(f"{plane.server}{path}").status_code == httpx.codes.OK
            except httpx.HTTPError:
                return False

        poll(answers, f"{path} of the API server")


def poll(condition: object, awaited: str) -> None:
    """Wait for a condition; fail with what was awaited."""
    deadline = time.monotonic() + _START_SECONDS
    assert callable(condition)
    while not condition():
        assert time.monotonic() < deadline, f"gave up waiting for {awaited}"
        time.sleep(0.1)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((_ADDRESS, 0))
        port: int = probe.getsockname()[1]
        return port


def _make_key() -> bytes:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    )
