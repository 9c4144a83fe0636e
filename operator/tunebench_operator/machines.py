"""What a training may be spread over: the workers of a pool, or this machine."""

from __future__ import annotations

from dataclasses import dataclass

# The pool of runs that name none; on a laptop, the machine itself.
DEFAULT_POOL = "default"
# Of a pool that does not say how many GPUs one training may have: a usual node.
USUAL_GPUS = 8


# Of `resources.gpus`: as many as it takes.
AUTO = "Auto"


@dataclass(frozen=True)
class Machines:
    """The workers that a model is trained by, and how messages name what they lack."""

    # Such as: pool `h100`.
    name: str
    # Whether a worker computes on a GPU, and how many there may be; absent: nobody said.
    gpu: bool = False
    most_gpus: int | None = None
    # Memory of one GPU, and of the CPUs for each worker; absent: nobody said.
    gpu_bytes: int | None = None
    host_bytes: int | None = None
    # Of one GPU, dense and in bfloat16; absent: nobody said.
    teraflops: float | None = None
    # Where the memory of a GPU and of a worker are said.
    gpu_field: str = ""
    host_field: str = ""
    # Whether each worker has `host_bytes` for itself, or all share them.
    shared: bool = False
