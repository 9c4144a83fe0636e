"""A namespace of a cluster for one test: its volume, its runs, and what becomes of them."""

from __future__ import annotations

import io
import json
import tarfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml
from images import JOBS
from node import Node

from tunebench_api.places import claim_mount
from tunebench_operator import names, reasons
from tunebench_operator.builders.metadata import Manifest
from tunebench_operator.builders.pods import USER

CLAIM = "bench"
_SIZE = "5Gi"
_PARTS = "configmaps,jobs,rayjobs,rayservices,rayclusters,pods,serviceaccounts,roles,services"
_POST = """
import sys, urllib.request
request = urllib.request.Request(
    sys.argv[1], sys.stdin.buffer.read(), {"Content-Type": "application/json"}
)
print(urllib.request.urlopen(request, timeout=120).read().decode())
"""
_ENDS = {reasons.SUCCEEDED, reasons.PARTIALLY_SUCCEEDED, reasons.ALL_MODELS_FAILED, reasons.FAILED}


class Space:
    """A namespace with a volume, restricted as careful clusters have it."""

    def __init__(self, node: Node, name: str) -> None:
        """Make the namespace and the volume."""
        self.node = node
        self.name = name
        self.has_data = False
        labels = {"pod-security.kubernetes.io/enforce": "restricted"}
        namespace = {
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {"name": name, "labels": labels},
        }
        # A node of the tests' own has no provisioner; others have one, if for one node at a time.
        volumes = [build_volume(name, node.volumes / name)] if node.volumes else []
        claim = build_claim(name, volume=name if volumes else None)
        node.kubectl("apply", "--filename=-", text=yaml.safe_dump_all([namespace, *volumes, claim]))

    def put(self, folder: Path) -> None:
        """Copy a folder into the volume, as whoever brings data to a cluster does."""
        archive = io.BytesIO()
        with tarfile.open(fileobj=archive, mode="w") as tar:
            tar.add(folder, folder.name, filter=_make_readable)
        self._run_in_pod("tar", "-xf", "-", "-C", claim_mount(CLAIM), data=archive.getvalue())
        self.has_data = True

    def post(self, url: str, body: dict[str, Any]) -> dict[str, Any]:
        """Send JSON to a server from a pod of the namespace, and return its answer."""
        said = self._run_in_pod("python", "-c", _POST, url, data=json.dumps(body).encode())
        answer: dict[str, Any] = json.loads(said)
        return answer

    def _run_in_pod(self, *command: str, data: bytes) -> str:
        """Run a command in a pod that has the volume; return what it printed."""
        self.kubectl("apply", "--filename=-", text=yaml.safe_dump(build_loader()))
        self.kubectl("wait", "pod/loader", "--for=condition=Ready", "--timeout=180s")
        try:
            return self.kubectl("exec", "-i", "loader", "--", *command, data=data)
        finally:
            self.kubectl("delete", "pod", "loader", "--now")

    def kubectl(
        self, *arguments: str, text: str = "", data: bytes = b"", check: bool = True
    ) -> str:
        """Run kubectl in the namespace."""
        command = (f"--namespace={self.name}", *arguments)
        return self.node.kubectl(*command, text=text, data=data, check=check)

    def delete(self) -> None:
        """Remove the namespace with all that is in it, and the volume."""
        self.node.kubectl("delete", "namespace", self.name, "--timeout=300s")
        if self.node.volumes:
            self.node.kubectl("delete", "persistentvolume", self.name, "--wait=false")

    def load(self, run: str) -> dict[str, Any]:
        """Return a run as it is now."""
        found: dict[str, Any] = json.loads(self.kubectl("get", "brun", run, "--output=json"))
        return found

    def find_reason(self, run: str) -> str:
        """Return the reason of the condition that sums a run up, or nothing yet."""
        conditions = self.load(run).get("status", {}).get("conditions", ())
        return next((each["reason"] for each in conditions if each["type"] == "Succeeded"), "")

    def list_stages(self, run: str) -> dict[str, dict[str, Any]]:
        """Return a run's stages by their keys."""
        return {each["name"]: each for each in self.load(run).get("status", {}).get("stages", ())}

    def list_pods(self, stage: str, run: str) -> list[dict[str, Any]]:
        """Return the pods of a stage of a run."""
        selector = f"{names.STAGE_LABEL}={stage},{names.RUN_LABEL}={run}"
        listed = self.kubectl("get", "pods", f"--selector={selector}", "--output=json")
        items: list[dict[str, Any]] = json.loads(listed)["items"]
        return items

    def list_children(self, run: str) -> list[str]:
        """Return everything in the namespace that belongs to a run."""
        selector = f"--selector={names.RUN_LABEL}={run}"
        return self.kubectl("get", _PARTS, selector, "--output=name").split()

    def wait(
        self, condition: Callable[[], bool], awaited: str, *, run: str, seconds: float = 600
    ) -> None:
        """Wait for a condition; fail with what was awaited and with what users would see."""
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                told = self.kubectl("describe", "brun", run, check=False)
                pods = self.kubectl("get", "pods", "--output=wide", check=False)
                raise AssertionError(f"gave up waiting for {awaited}\n{told}\n{pods}")
            time.sleep(1)

    def has_ended(self, run: str) -> bool:
        """Whether a run has come to its end, good or bad."""
        return self.find_reason(run) in _ENDS

    def wait_for_end(self, run: str, seconds: float = 1200) -> dict[str, Any]:
        """Wait until a run has ended, and return it."""
        self.wait(lambda: self.has_ended(run), "the end", run=run, seconds=seconds)
        return self.load(run)


def build_volume(space: str, folder: Path) -> Manifest:
    """Build a volume in a folder of the node, for a namespace's claim."""
    folder.mkdir(parents=True)
    folder.chmod(0o777)
    reserved = {"kind": "PersistentVolumeClaim", "name": CLAIM, "namespace": space}
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": space},
        "spec": {
            "capacity": {"storage": _SIZE},
            "accessModes": ["ReadWriteOnce"],
            "hostPath": {"path": str(folder)},
            "claimRef": reserved,
        },
    }


def build_claim(space: str, volume: str | None) -> Manifest:
    """Build a namespace's claim, on one volume or on whatever the cluster provides."""
    chosen = {"storageClassName": "", "volumeName": volume} if volume else {}
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": CLAIM, "namespace": space},
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": _SIZE}},
            **chosen,
        },
    }


def build_loader() -> Manifest:
    """Build a pod that has the volume and waits."""
    container = {
        "name": "loader",
        "image": JOBS,
        "imagePullPolicy": "IfNotPresent",
        "command": ["sleep", "600"],
        "volumeMounts": [{"name": "bench", "mountPath": claim_mount(CLAIM)}],
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
        },
    }
    spec = {
        "containers": [container],
        "volumes": [{"name": "bench", "persistentVolumeClaim": {"claimName": CLAIM}}],
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER,
            "fsGroup": USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
    }
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "loader"}, "spec": spec}


def _make_readable(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    """Give everybody the right to read; safetensors writes for its own user alone."""
    entry.mode |= 0o555 if entry.isdir() else 0o444
    return entry
