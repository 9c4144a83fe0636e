"""A namespace of a cluster for one test: its volume, its runs, and what becomes of them."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml
from node import Node

from tunebench_operator import names, reasons

CLAIM = "bench"
STORE = f"pvc://{CLAIM}/runs"
_PARTS = "configmaps,jobs,rayjobs,rayservices,rayclusters,pods,serviceaccounts,roles,services"
_ENDS = {reasons.SUCCEEDED, reasons.PARTIALLY_SUCCEEDED, reasons.ALL_MODELS_FAILED, reasons.FAILED}


class Space:
    """A namespace with a volume; the volume's folder is `folder` on this machine."""

    def __init__(self, node: Node, name: str, folder: Path) -> None:
        """Make the namespace, restricted as careful clusters have it, and the volume."""
        self.node = node
        self.name = name
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o777)
        volume = {"capacity": {"storage": "10Gi"}, "accessModes": ["ReadWriteMany"]}
        reserved = {"kind": "PersistentVolumeClaim", "name": CLAIM, "namespace": name}
        objects = [
            {
                "apiVersion": "v1",
                "kind": "Namespace",
                "metadata": {
                    "name": name,
                    "labels": {"pod-security.kubernetes.io/enforce": "restricted"},
                },
            },
            {
                "apiVersion": "v1",
                "kind": "PersistentVolume",
                "metadata": {"name": name},
                "spec": volume | {"hostPath": {"path": str(folder)}, "claimRef": reserved},
            },
            {
                "apiVersion": "v1",
                "kind": "PersistentVolumeClaim",
                "metadata": {"name": CLAIM, "namespace": name},
                "spec": {
                    "accessModes": ["ReadWriteMany"],
                    "storageClassName": "",
                    "volumeName": name,
                    "resources": {"requests": {"storage": "10Gi"}},
                },
            },
        ]
        node.kubectl("apply", "--filename=-", text=yaml.safe_dump_all(objects))

    def kubectl(self, *arguments: str, text: str | None = None, check: bool = True) -> str:
        """Run kubectl in the namespace."""
        return self.node.kubectl(f"--namespace={self.name}", *arguments, text=text, check=check)

    def delete(self) -> None:
        """Remove the namespace with all that is in it, and the volume."""
        self.node.kubectl("delete", "namespace", self.name, "--timeout=120s")
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
