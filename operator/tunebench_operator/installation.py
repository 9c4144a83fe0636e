"""What the cluster's owner decided at installation: images, pools, storage. Helm writes it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml
from pydantic import Field, ValidationError

from tunebench_api.v1alpha1 import ModelSpec, Wire
from tunebench_api.v1alpha1.wire import HttpUrl, Name
from tunebench_operator.errors import UserError
from tunebench_operator.machines import DEFAULT_POOL, Machines

_BYTES = {
    None: 1,
    "k": 10**3,
    "M": 10**6,
    "G": 10**9,
    "T": 10**12,
    "Ki": 1 << 10,
    "Mi": 1 << 20,
    "Gi": 1 << 30,
    "Ti": 1 << 40,
}
_QUANTITY = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(Ki|Mi|Gi|Ti|k|M|G|T)?")
_VALUES = "of the pool in the Helm values"


class Quantities(Wire):
    """Kubernetes quantities of one container: requests and limits are the same."""

    cpu: str = "1"
    memory: str = "2Gi"

    @property
    def threads(self) -> int:
        """How many threads the CPUs can keep busy; at least one."""
        whole = int(self.cpu[:-1]) // 1000 if self.cpu.endswith("m") else int(float(self.cpu))
        return max(1, whole)

    @property
    def memory_bytes(self) -> int:
        """The memory in bytes.

        Raises:
            UserError: It is no quantity.
        """
        return parse_bytes(self.memory, "a container's `memory`")


class NodePool(Wire):
    """Nodes of one kind, and what a training worker on them gets."""

    name: Name
    # Image of the jobs for these nodes; absent: the installation's.
    image: str | None = None
    node_selector: dict[str, str] = Field(default_factory=dict)
    tolerations: tuple[dict[str, Any], ...] = ()
    # Extended resource of one GPU; absent: CPU nodes.
    gpu_resource: str | None = None
    # A worker computes on one GPU; more of them are more workers.
    gpus_per_worker: int = Field(default=0, ge=0, le=1)
    # Memory of one GPU as a quantity, and its dense bfloat16 TFLOP/s; absent: unknown.
    gpu_memory: str | None = None
    gpu_teraflops: float | None = Field(default=None, gt=0)
    # Most GPUs of one training; absent: 8 for those that are sized, else no limit.
    max_gpus: int | None = Field(default=None, ge=1)
    worker: Quantities = Quantities(cpu="1", memory="6Gi")

    @property
    def gpus(self) -> int:
        """GPUs of one worker."""
        return self.gpus_per_worker if self.gpu_resource else 0

    def build_machines(self) -> Machines:
        """Return what trainings may be spread over.

        Raises:
            UserError: A memory is no quantity.
        """
        memory = self.gpu_memory
        return Machines(
            name=f"pool `{self.name}`",
            gpu=bool(self.gpus),
            most_gpus=self.max_gpus,
            gpu_bytes=parse_bytes(memory, f"`gpuMemory` of pool `{self.name}`") if memory else None,
            host_bytes=self.worker.memory_bytes,
            teraflops=self.gpu_teraflops,
            gpu_field=f"`gpuMemory` {_VALUES}",
            host_field=f"more `worker.memory` {_VALUES}",
        )


class Installation(Wire):
    """Everything that children are built with and no run says."""

    image: str
    image_pull_policy: str = "IfNotPresent"
    image_pull_secrets: tuple[str, ...] = ()
    # Artefact store of runs that name none, such as pvc://CLAIM/FOLDER.
    storage_uri: str | None = None
    # Of that store, where it is a bucket: the server's address, and a Secret with keys to it.
    storage_endpoint: HttpUrl | None = None
    storage_secret: Name | None = None
    pools: tuple[NodePool, ...] = (NodePool(name=DEFAULT_POOL),)
    head: Quantities = Quantities(cpu="1", memory="3Gi")
    job: Quantities = Quantities(cpu="1", memory="3Gi")
    ray_version: str = "2.60.0"
    # Seconds until all workers of a training must run; else the attempt fails and is tried again.
    gang_timeout_seconds: int = 3600
    # Seconds that ended Jobs stay for `kubectl logs`.
    keep_ended_seconds: int = 86_400

    def build_machines(self) -> dict[str, Machines]:
        """Return what trainings may be spread over, by pool.

        Raises:
            UserError: A memory is no quantity.
        """
        return {pool.name: pool.build_machines() for pool in self.pools}

    def find_pool(self, model: ModelSpec | None) -> NodePool | None:
        """Return the pool that a model names, or the default one; none where it is unknown."""
        wanted = (model.resources.pool if model else None) or DEFAULT_POOL
        return next((pool for pool in self.pools if pool.name == wanted), None)


def parse_bytes(quantity: str, what: str) -> int:
    """Return a Kubernetes quantity of memory in bytes.

    Raises:
        UserError: It is none.
    """
    match = _QUANTITY.fullmatch(quantity)
    if match is None:
        raise UserError(f"{what} must be a quantity such as 6Gi, got {quantity}")
    return int(float(match[1]) * _BYTES[match[2]])


def load_pools(path: Path) -> tuple[NodePool, ...]:
    """Return the pools of a file with Helm values.

    Raises:
        UserError: It is absent or malformed, or has none.
    """
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
        return tuple(_load_pool(path, *numbered) for numbered in enumerate(values["pools"]))
    except FileNotFoundError as error:
        raise UserError(f"`{path}` must exist; check the path") from error
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        msg = f"`{path}` must be Helm values of tunebench: {error}"
        raise UserError(msg) from error
    except (KeyError, TypeError) as error:
        msg = f"`{path}` must be Helm values with a list `pools`, got none"
        raise UserError(msg) from error


def _load_pool(path: Path, number: int, raw: object) -> NodePool:
    try:
        return NodePool.from_wire(raw)
    except ValidationError as error:
        mistake = error.errors()[0]
        field = ".".join((f"pools[{number}]", *map(str, mistake["loc"])))
        msg = (
            f"`{field}` of `{path}` must be as the chart's values.schema.json says: "
            f"{mistake['msg'].lower()}, got {mistake['input']!r}"
        )
        raise UserError(msg) from error


def load_installation(path: Path) -> Installation:
    """Read the file that the chart mounts.

    Raises:
        UserError: It is absent or malformed.
    """
    try:
        return Installation.from_wire(yaml.safe_load(path.read_text(encoding="utf-8")))
    except (OSError, yaml.YAMLError, ValidationError) as error:
        msg = f"`{path}` must describe the installation, as the Helm chart writes it: {error}"
        raise UserError(msg) from error
