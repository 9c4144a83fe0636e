"""Whatever dies, a run ends with the same leaderboard, and nothing is bought twice."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from make_cluster_run import load_local_leaderboard, place_run
from node import ADDRESS, SYSTEM
from scripted_judge import ScriptedJudge, serving_judge
from space import Space

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(2700)]

KEY = "sk-canary-4d1f"
RUN = "tiny"
STEPS_TO_CHECKPOINT = 5
# Enough for the model to learn what a valid answer looks like, and to be stopped in between.
TUNING = {
    "method": "Full",
    "epochs": 60,
    "learningRate": "3e-3",
    "checkpointSteps": STEPS_TO_CHECKPOINT,
}
JUDGE_SECONDS = 1.5
CONCURRENCY = 2


@pytest.fixture
def judge() -> Iterator[tuple[str, ScriptedJudge]]:
    """Return the address of a judge that sells answers, and what it sold."""
    with serving_judge(ADDRESS, KEY, JUDGE_SECONDS) as served:
        yield served


def build_judges(base: str) -> list[dict[str, Any]]:
    """Return the judges of a run: one that takes a key."""
    return [
        {
            "name": "scripted",
            "model": "openai/scripted",
            "apiBase": base,
            "family": "scripted",
            "concurrency": CONCURRENCY,
            "secretRef": {"name": "llm-keys", "key": "KEY"},
        }
    ]


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
        model = self.space.load(RUN).get("status", {}).get("models", [{}])[0]
        step = model.get("step")
        if model.get("stage") == "Train" and step is not None:
            self.steps.append(step)
            if step >= 10:
                self._kill_once("Ray worker", lambda: self._kill_pods("train", "worker"))
            if step >= 100:
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
    make_space: Callable[[str], Space], judge: tuple[str, ScriptedJudge], tmp_path: Path
) -> None:
    """The operator at every stage, Ray's pods and the judge's die; the leaderboard is the same."""
    base, sold = judge
    space = make_space("faults")
    manifest = place_run(
        space,
        RUN,
        judges=build_judges(base),
        tuning=TUNING,
        retries=5,
        generation={"maxTokens": 160},
    )
    space.kubectl("create", "secret", "generic", "llm-keys", f"--from-literal=KEY={KEY}")
    saboteur = Saboteur(space, sold)

    space.kubectl("apply", "--filename=-", text=manifest)

    def ended() -> bool:
        saboteur.act()
        return space.has_ended(RUN)

    space.wait(ended, "the end", run=RUN, seconds=2400)
    run = space.load(RUN)
    bought = dict(sold.sold)
    sold.delay_seconds = 0.0
    local = load_local_leaderboard(space, tmp_path / "local", key=KEY)

    assert space.find_reason(RUN) == "Succeeded"
    assert run["status"]["leaderboard"] == local
    assert {"Ray worker", "Ray head", "judge"} <= set(saboteur.killed)
    assert len(saboteur.killed) >= 9
    # Training went on from its checkpoints.
    steps = saboteur.steps
    lost = [earlier - later for earlier, later in itertools.pairwise(steps) if later < earlier]
    assert all(each <= STEPS_TO_CHECKPOINT for each in lost)
    tuned = next(row for row in run["status"]["leaderboard"] if row["kind"] == "FineTuned")
    # The leaderboard says something: this model's answers can be read.
    assert float(tuned["schemaValidPct"]) > 0
    # Only what was on its way when the judge's pod died may have been asked for again.
    assert sum(bought.values()) - len(bought) <= CONCURRENCY
    events = space.kubectl("get", "events,configmaps,brun,jobs,rayjobs,pods", "--output=yaml")
    assert KEY not in events
