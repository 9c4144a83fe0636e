"""A Ray cluster of several nodes on this machine: a head that only steers, and workers of one CPU.

As a program it starts them, prints its address, and ends when its input does.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_READY_SECONDS = 120
_END_SECONDS = 60
# As in the pods of a run.
ENVIRONMENT = {
    "RAY_AUTH_MODE": "disabled",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_TRAIN_METRICS_ENABLED": "0",
}


@contextmanager
def ray_nodes(count: int) -> Iterator[str]:
    """Yield the address of a cluster with so many workers, each of which has its own IP address."""
    with subprocess.Popen(
        [sys.executable, __file__, str(count)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | ENVIRONMENT,
    ) as process:
        assert process.stdin
        assert process.stdout
        try:
            yield process.stdout.readline().strip()
        finally:
            process.stdin.close()
            process.wait(_END_SECONDS)


def main() -> None:
    """Keep the cluster until nobody needs it."""
    from ray.cluster_utils import Cluster  # noqa: PLC0415 - whoever uses the cluster may not need it

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    for number in range(int(sys.argv[1])):
        cluster.add_node(num_cpus=1, node_ip_address=f"127.0.0.{number + 2}")
    cluster.wait_for_nodes(timeout=_READY_SECONDS)
    print(cluster.address, flush=True)  # noqa: T201 - its only word
    sys.stdin.read()
    cluster.shutdown()


if __name__ == "__main__":
    main()
