"""One cluster for all tests of it: with KubeRay, tunebench's images and its chart."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from secrets import token_hex

import pytest
from control_plane import TOOLS
from images import JOBS, OPERATOR
from make_cluster_run import Bench
from node import SYSTEM, Node, find_address, running_node
from scripted_judge import serving_judge
from space import Space

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """Return a cluster in which tunebench is installed: a new one, or that of KUBECONFIG."""
    folder = tmp_path_factory.mktemp("node")
    kubeconfig = os.environ.get("KUBECONFIG")
    if kubeconfig:
        # It has KubeRay, finds the images by itself, and provides volumes, unless it is told where
        # on its only node they may be made.
        volumes = os.environ.get("TUNEBENCH_VOLUMES")
        theirs = Node(Path(kubeconfig), folder, volumes=Path(volumes) if volumes else None)
        install_chart(theirs)
        yield theirs
        return
    with running_node(folder) as running:
        for image in (OPERATOR, JOBS):
            running.load_image(TOOLS / "images", image)
        install_chart(running)
        yield running


@pytest.fixture(scope="session")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """Return a tiny run whose judge sells its answers, and what this machine makes of it."""
    with serving_judge(find_address(), f"sk-canary-{token_hex(8)}") as (base, judge):
        yield Bench(tmp_path_factory.mktemp("bench"), judge, base)


@pytest.fixture
def make_space(node: Node) -> Iterator[Callable[[str], Space]]:
    """Return a function that makes a namespace with a volume; they are gone after the test."""
    made: list[Space] = []

    def make(name: str) -> Space:
        made.append(Space(node, f"{name}-{token_hex(3)}"))
        return made[-1]

    yield make
    for space in made:
        space.delete()


def install_chart(node: Node) -> None:
    """Install the chart, and wait for the operator."""
    # Small, so that two trainings fit on a machine of two cores.
    values = REPOSITORY / "tests" / "cluster" / "values.yaml"
    node.helm(
        *("upgrade", "--install", "tunebench", str(REPOSITORY / "charts" / "tunebench")),
        *(f"--namespace={SYSTEM}", "--create-namespace", "--wait", "--timeout=3m"),
        f"--values={values}",
    )
