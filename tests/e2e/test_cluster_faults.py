"""Whatever dies, a run ends with the same leaderboard, and nothing is bought twice."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from bucket_server import BUCKET, BucketServer, running_server
from make_cluster_run import CONCURRENCY, STEPS_TO_CHECKPOINT, Bench
from node import SYSTEM, find_address
from scripted_judge import ScriptedJudge
from space import Space

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(2700)]

RUN = "tiny"
JUDGE_SECONDS = 1.5
BUCKET_SECRET = "bucket-keys"  # noqa: S105 - the name of a Secret


@pytest.fixture
def bucket(tmp_path: Path) -> Iterator[BucketServer]:
    """Return an S3 server that pods reach."""
    with running_server(tmp_path, address=find_address()) as server:
        yield server


class Saboteur:
    """Kills one thing after another as a run goes on, each once."""

    def __init__(self, space: Space, judge: ScriptedJudge) -> None:
        """Begin with everything alive."""
        self.space = space
        self.judge = judge
        self.killed: dict[str, int] = {}
        self.steps: list[int] = []

    def act(self) -> None:
        """Look at the run, and kill what its time has come for."""
        for name, stage in self.space.list_stages(RUN).items():
            if stage["state"] == "Running":
                self._kill_once(f"operator in {name}", self._kill_operator)
        model = (self.space.load(RUN).get("status", {}).get("models") or [{}])[0]
        step = model.get("step")
        if model.get("stage") == "Train" and step is not None:
            self.steps.append(step)
            if step >= 10:
                self._kill_once("Ray worker", lambda: self._kill_pods("train", "worker"))
            # Not before training has gone on, whether Ray or the operator began it again.
            if self.killed.get("Ray worker") and step >= 60:
                self._kill_once("Ray head", lambda: self._kill_pods("train", "head"))
        if sum(self.judge.sold.values()) >= 3:
            self._kill_once("judge", lambda: self._kill_pods("judge"))

    def _kill_once(self, what: str, kill: Callable[[], int]) -> None:
        if not self.killed.get(what):
            self.killed[what] = kill()

    def _kill_operator(self) -> int:
        selector = "--selector=app.kubernetes.io/name=tunebench-operator"
        node = self.space.node
        found = node.kubectl(f"--namespace={SYSTEM}", "get", "pods", selector, "--output=name")
        node.kubectl(f"--namespace={SYSTEM}", "delete", "--wait=false", "--now", *found.split())
        return len(found.split())

    def _kill_pods(self, stage: str, ray_node: str | None = None) -> int:
        found = [
            pod["metadata"]["name"]
            for pod in self.space.list_pods(stage, RUN)
            if pod["status"]["phase"] == "Running"
            and pod["metadata"]["labels"].get("ray.io/node-type") == ray_node
        ]
        if found:
            self.space.kubectl(
                "delete", "pod", "--wait=false", "--grace-period=0", "--force", *found
            )
        return len(found)


def test_a_run_survives_whatever_dies(
    make_space: Callable[[str], Space], bench: Bench, bucket: BucketServer
) -> None:
    """The operator at every stage, Ray's pods and the judge's die; the leaderboard is the same.

    The store is a bucket, so that nothing is left on the node of a pod that dies.
    """
    local = bench.leaderboard
    space = make_space("faults")
    storage = {"uri": f"s3://{BUCKET}/runs", "endpoint": bucket.endpoint}
    storage["secretRef"] = {"name": BUCKET_SECRET}
    manifest = bench.place(space, RUN, storage=storage)
    keys = ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY")
    literals = [f"--from-literal=AWS_{each}={bucket.environment[f'AWS_{each}']}" for each in keys]
    space.kubectl("create", "secret", "generic", BUCKET_SECRET, *literals)
    saboteur = Saboteur(space, bench.judge)
    bench.judge.sold.clear()
    bench.judge.delay_seconds = JUDGE_SECONDS

    space.kubectl("apply", "--filename=-", text=manifest)

    def ended() -> bool:
        saboteur.act()
        return space.has_ended(RUN)

    space.wait(ended, "the end", run=RUN, seconds=2400)
    bench.judge.delay_seconds = 0.0
    run = space.load(RUN)
    sold = bench.judge.sold
    steps = saboteur.steps
    lost = [earlier - later for earlier, later in itertools.pairwise(steps) if later < earlier]
    shown = space.kubectl("get", "all,events,configmaps,brun", "--output=yaml")

    assert space.find_reason(RUN) == "Succeeded"
    assert run["status"]["leaderboard"] == local
    # The leaderboard says something: this model's answers can be read.
    assert any(float(row["schemaValidPct"]) > 0 for row in local if row["kind"] == "FineTuned")
    assert {"Ray worker", "Ray head", "judge"} <= set(saboteur.killed)
    assert len(saboteur.killed) >= 9
    # Ray outlives a worker, but not its head.
    assert space.list_stages(RUN)["train/learns"]["attempt"] > 1
    # Training went on from its checkpoints.
    assert all(each <= STEPS_TO_CHECKPOINT for each in lost)
    # Only what was on its way when the judge's pod died may have been asked for again.
    assert sum(sold.values()) - len(sold) <= CONCURRENCY
    assert bench.judge.key not in shown
    assert bucket.environment["AWS_SECRET_ACCESS_KEY"] not in shown
