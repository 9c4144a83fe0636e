"""What the cluster's owner decided at installation: images, pools, storage. Helm writes it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from pydantic import Field, ValidationError

from tunebench_api.v1alpha1 import ModelSpec, Wire
from tunebench_api.v1alpha1.wire import HttpUrl, Name
from tunebench_operator.errors import UserError

DEFAULT_POOL = "default"


class Quantities(Wire):
    """Kubernetes quantities of one container: requests and limits are the same."""

    cpu: str = "1"
    memory: str = "2Gi"

    @property
    def threads(self) -> int:
        """How many threads the CPUs can keep busy; at least one."""
        whole = int(self.cpu[:-1]) // 1000 if self.cpu.endswith("m") else int(float(self.cpu))
        return max(1, whole)


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
    worker: Quantities = Quantities(cpu="1", memory="6Gi")

    @property
    def gpus(self) -> int:
        """GPUs of one worker."""
        return self.gpus_per_worker if self.gpu_resource else 0


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

    def find_pool(self, model: ModelSpec | None) -> NodePool | None:
        """Return the pool that a model names, or the default one; none where it is unknown."""
        wanted = (model.resources.pool if model else None) or DEFAULT_POOL
        return next((pool for pool in self.pools if pool.name == wanted), None)


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
