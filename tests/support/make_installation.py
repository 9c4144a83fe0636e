"""An installation for tests."""

from __future__ import annotations

from tunebench_operator.installation import Installation, NodePool, Quantities

STORAGE = "pvc://bench/runs"


def make_installation() -> Installation:
    """Return an installation with a CPU pool and a GPU pool."""
    return Installation(
        image="tunebench/jobs:test",
        storage_uri=STORAGE,
        pools=(
            NodePool(name="default"),
            NodePool(
                name="h100",
                image="tunebench/jobs:test-gpu",
                node_selector={"accelerator": "h100"},
                tolerations=({"key": "nvidia.com/gpu", "operator": "Exists"},),
                gpu_resource="nvidia.com/gpu",
                gpus_per_worker=1,
                gpu_memory="80Gi",
                gpu_teraflops=989,
                max_gpus=8,
                worker=Quantities(cpu="8", memory="64Gi"),
            ),
        ),
    )
