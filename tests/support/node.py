"""A whole single-node cluster for tests: control plane, node, DNS, Services, KubeRay.

It runs in namespaces of its own (`tests/cluster/isolated` makes them), so it may make bridges and
mounts, and nothing of it outlives the process. The programs are those of `make node-tools` and of
Debian's packages.
"""

from __future__ import annotations

import io
import json
import os
import secrets
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from hashlib import sha256
from pathlib import Path
from typing import IO

import images
import yaml
from control_plane import (
    TOOLS,
    Outside,
    find_program,
    poll,
    running_control_plane,
    start_program,
    write_kubeconfig,
)
from helm import run_helm
from images import Builder
from make_certificates import make_client_certificate

NODE = "node"
# Where the chart is installed.
SYSTEM = "tunebench-system"
ADDRESS = "10.88.0.1"
_SUBNET = "10.88.0.0/16"
_FIRST_POD, _LAST_POD = "10.88.1.1", "10.88.254.254"
_BRIDGE = "tunebench0"
_DOMAIN = "cluster.local"
# Images of earlier runs are kept, because importing some takes a minute.
_CONTAINERD_ROOT = TOOLS / "containerd"
_PAUSE_IMAGE = "tunebench/pause:dev"
_KUBERAY_IMAGE = "quay.io/kuberay/operator:v1.6.2"
_MEMBERS = {
    f"system:node:{NODE}": "system:nodes",
    "system:kube-scheduler": "",
    # Sets up Services, and nothing here guards against it.
    "node-helper": "system:masters",
}


class Node:
    """A running cluster, and what tests do with it."""

    def __init__(self, kubeconfig: Path, folder: Path, *, volumes: Path | None = None) -> None:
        """Take a cluster as it is.

        Args:
            kubeconfig: How to reach it.
            folder: For what is kept about it.
            volumes: Where volumes may be made; without it, the cluster provides them.
        """
        self.kubeconfig = kubeconfig
        self.folder = folder
        self.volumes = volumes

    def kubectl(
        self, *arguments: str, text: str = "", data: bytes = b"", check: bool = True
    ) -> str:
        """Run kubectl with `text` or `data` on its standard input; return what it printed."""
        done = subprocess.run(
            [str(find_program("kubectl")), f"--kubeconfig={self.kubeconfig}", *arguments],
            check=False,
            capture_output=True,
            input=data or text.encode(),
        )
        if done.returncode and check:
            msg = f"kubectl {' '.join(arguments)}: {done.stderr.decode(errors='replace')}"
            raise RuntimeError(msg)
        return done.stdout.decode(errors="replace")

    def helm(self, *arguments: str) -> str:
        """Run helm and return what it printed."""
        return run_helm(*arguments, kubeconfig=self.kubeconfig, folder=self.folder)

    def load_image(self, storage: Path, image: str) -> None:
        """Make an image that `images.py` built known to the node, unless it is already."""
        built = Builder(storage).find_id(image)
        stamp = _CONTAINERD_ROOT / f"{image.replace('/', '-')}.id"
        if stamp.is_file() and stamp.read_text(encoding="utf-8") == built:
            return
        command = [sys.executable, images.__file__, "export", "--storage", str(storage), image]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as export:
            self._ctr("images", "import", "-", stdin=export.stdout)
        if export.returncode:
            msg = f"`{image}` could not be exported; see above"
            raise RuntimeError(msg)
        stamp.write_text(built, encoding="utf-8")

    def _ctr(self, *arguments: str, stdin: IO[bytes] | None = None) -> str:
        socket = self.folder / "containerd.sock"
        command = ["ctr", f"--address={socket}", "--namespace=k8s.io", *arguments]
        return subprocess.run(
            command, check=True, stdin=stdin, stdout=subprocess.PIPE, text=True
        ).stdout


@contextmanager
def running_node(folder: Path) -> Iterator[Node]:
    """Run a cluster in `folder` while the block runs; its node is ready and has KubeRay."""
    with ExitStack() as stack:
        _make_network(folder)
        certificate, key, authority = make_client_certificate(folder, "kubelet-client")
        outside = Outside(
            address=ADDRESS,
            tokens={user: secrets.token_hex(16) for user in _MEMBERS},
            groups=_MEMBERS,
            kubelet_client=(certificate, key),
        )
        plane = stack.enter_context(running_control_plane(folder, outside))
        node = Node(plane.kubeconfig, folder, volumes=folder / "volumes")
        for user, token in outside.tokens.items():
            write_kubeconfig(_kubeconfig(folder, user), plane.server, plane.certificate, token)
        _start_containerd(folder, stack)
        _start_system(folder, stack)
        _start_kubelet(folder, authority, stack)
        poll(lambda: "True" in _find_readiness(node), "the node")
        _install_kuberay(node)
        yield node


def find_address() -> str:
    """Return the address at which pods reach this machine."""
    # TUNEBENCH_ADDRESS: where the cluster is not the tests' own.
    return os.environ.get("TUNEBENCH_ADDRESS", ADDRESS)


def pack_image(folder: Path, name: str, program: Path, path: str) -> Path:
    """Write a docker-archive of an image that holds one static program; return its path."""
    layer = folder / "layer.tar"
    with tarfile.open(layer, "w") as tar:
        tar.add(program, path.lstrip("/"))
    digest = sha256(layer.read_bytes()).hexdigest()
    config = {
        "architecture": "amd64",
        "os": "linux",
        "config": {"Entrypoint": [path], "User": "65532:65532"},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]},
    }
    manifest = [{"Config": "config.json", "RepoTags": [name], "Layers": ["layer.tar"]}]
    archive = folder / f"{program.name}.tar"
    with tarfile.open(archive, "w") as tar:
        tar.add(layer, "layer.tar")
        for entry, content in (("config.json", config), ("manifest.json", manifest)):
            data = json.dumps(content).encode()
            about = tarfile.TarInfo(entry)
            about.size = len(data)
            tar.addfile(about, io.BytesIO(data))
    layer.unlink()
    return archive


def _make_network(folder: Path) -> None:
    """Make the bridge of pods, which is the node's address too, and let names be resolved."""
    for command in (
        "ip link set lo up",
        f"ip link add {_BRIDGE} type bridge",
        f"ip address add {ADDRESS}/16 dev {_BRIDGE}",
        f"ip link set {_BRIDGE} up",
        # Nothing is out there; but without a route, Services could not be reached from the node.
        f"ip route add default dev {_BRIDGE}",
        "sysctl -q -w net.ipv4.ip_forward=1",
    ):
        subprocess.run(command.split(), check=True)
    resolver = folder / "resolv.conf"
    resolver.write_text(f"nameserver {ADDRESS}\n", encoding="utf-8")
    # In this mount namespace alone.
    subprocess.run(["mount", "--bind", str(resolver), "/etc/resolv.conf"], check=True)


def _kubeconfig(folder: Path, user: str) -> Path:
    return folder / f"{user.replace(':', '-')}.kubeconfig"


def _start_containerd(folder: Path, stack: ExitStack) -> None:
    networks = folder / "networks"
    networks.mkdir()
    plugins = [
        {
            "type": "bridge",
            "bridge": _BRIDGE,
            "isGateway": True,
            "ipMasq": True,
            "hairpinMode": True,
            "ipam": {
                "type": "host-local",
                "dataDir": str(folder / "addresses"),
                "ranges": [[{"subnet": _SUBNET, "rangeStart": _FIRST_POD, "rangeEnd": _LAST_POD}]],
                "routes": [{"dst": "0.0.0.0/0"}],
            },
        },
        {"type": "portmap", "capabilities": {"portMappings": True}},
    ]
    network = {"cniVersion": "0.4.0", "name": "pods", "plugins": plugins}
    (networks / "10-pods.conflist").write_text(json.dumps(network), encoding="utf-8")
    socket = folder / "containerd.sock"
    config = folder / "containerd.toml"
    config.write_text(
        f"""
version = 2
root = "{_CONTAINERD_ROOT}"
state = "{folder / "containerd"}"
[grpc]
  address = "{socket}"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{_PAUSE_IMAGE}"
  restrict_oom_score_adj = true
  stream_server_address = "127.0.0.1"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "{networks}"
""",
        encoding="utf-8",
    )
    start_program("containerd", {"config": config}, folder, stack)
    poll(socket.exists, "containerd")
    node_images = (
        ("pause", _PAUSE_IMAGE, "/pause"),
        ("kuberay-operator", _KUBERAY_IMAGE, "/manager"),
    )
    for program, name, path in node_images:
        archive = pack_image(folder, name, find_program(program), path)
        command = ["ctr", f"--address={socket}", "--namespace=k8s.io", "images", "import"]
        subprocess.run([*command, str(archive)], check=True, stdout=subprocess.DEVNULL)
        archive.unlink()


def _start_system(folder: Path, stack: ExitStack) -> None:
    """Start what is not the node's own: scheduler, Services, names."""
    scheduler = {
        "kubeconfig": _kubeconfig(folder, "system:kube-scheduler"),
        "leader-elect": "false",
        "secure-port": "0",
    }
    start_program("kube-scheduler", scheduler, folder, stack)
    helper = _kubeconfig(folder, "node-helper")
    proxy = {
        "kubeconfig": helper,
        "proxy-mode": "iptables",
        "cluster-cidr": _SUBNET,
        "hostname-override": NODE,
        "conntrack-max-per-core": "0",
        "healthz-bind-address": "",
        "metrics-bind-address": "127.0.0.1:10249",
    }
    start_program("kube-proxy", proxy, folder, stack)
    (folder / "Corefile").write_text(
        f"""
. {{
    bind {ADDRESS}
    errors
    kubernetes {_DOMAIN} in-addr.arpa {{
        kubeconfig {helper} test
        ttl 1
    }}
    cache 1
}}
""",
        encoding="utf-8",
    )
    start_program("coredns", {"conf": folder / "Corefile"}, folder, stack)


def _start_kubelet(folder: Path, authority: Path, stack: ExitStack) -> None:
    config = {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": str(authority)},
        },
        "authorization": {"mode": "Webhook"},
        "cgroupDriver": "cgroupfs",
        # Of its own, so that what is left of it can be told.
        "cgroupRoot": "/",
        "failCgroupV1": False,
        "failSwapOn": False,
        "containerRuntimeEndpoint": f"unix://{folder / 'containerd.sock'}",
        "clusterDNS": [ADDRESS],
        "clusterDomain": _DOMAIN,
        "resolvConf": "",
        "localStorageCapacityIsolation": False,
        "podLogsDir": str(folder / "logs"),
        "staticPodPath": "",
        # The disk is shared with everything else on the machine.
        "evictionHard": {"memory.available": "1%", "nodefs.available": "1%"},
        "imageGCHighThresholdPercent": 100,
        "maxPods": 110,
    }
    path = folder / "kubelet.yaml"
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    arguments = {
        "config": path,
        "kubeconfig": _kubeconfig(folder, f"system:node:{NODE}"),
        "root-dir": folder / "kubelet",
        "node-ip": ADDRESS,
        "hostname-override": NODE,
    }
    start_program("kubelet", arguments, folder, stack)


def _find_readiness(node: Node) -> str:
    """Return the status of the node's Ready condition, or nothing before it is registered."""
    ready = '{.status.conditions[?(@.type=="Ready")].status}'
    return node.kubectl("get", "node", NODE, f"--output=jsonpath={ready}", check=False)


def _install_kuberay(node: Node) -> None:
    overlay = node.folder / "kuberay"
    overlay.mkdir()
    kustomization = {
        "resources": [os.path.relpath(TOOLS / "kuberay-config" / "default", overlay)],
        "patches": [
            {
                "target": {"kind": "Deployment", "name": "kuberay-operator"},
                # The core that it asks for belongs to training here.
                "patch": json.dumps(
                    [
                        {
                            "op": "replace",
                            "path": "/spec/template/spec/containers/0/resources",
                            "value": {"requests": {"cpu": "50m", "memory": "128Mi"}},
                        }
                    ]
                ),
            }
        ],
    }
    (overlay / "kustomization.yaml").write_text(yaml.safe_dump(kustomization), encoding="utf-8")
    node.kubectl("apply", "--server-side", "-k", str(overlay))
    node.kubectl("rollout", "status", "deployment/kuberay-operator", "--timeout=120s")
