"""Runs in a real cluster: KubeRay trains and serves, Jobs judge, and the status has the winner."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from images import REPOSITORY
from make_cluster_run import Bench
from space import Space

from tunebench_operator import names

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(2400)]

MakeSpace = Callable[[str], Space]


def test_apply_to_leaderboard(make_space: MakeSpace, bench: Bench) -> None:
    """Two models are trained in pods of their own; the leaderboard is that of a laptop.

    Prompts come from a ConfigMap, and the winner answers until it is no longer wanted.
    """
    space = make_space("apply")
    prompts = {"configMapRef": {"name": "ours"}}
    manifest = bench.place(space, "tiny", models=2, prompts=prompts, serving={"keep": "Winner"})
    workers: set[str] = set()
    learned: set[str] = set()

    space.kubectl("create", "configmap", "ours", f"--from-file={REPOSITORY / 'prompts/compact'}")
    space.kubectl("apply", "--filename=-", text=manifest)

    def watch() -> bool:
        workers.update(
            pod["metadata"]["name"]
            for pod in space.list_pods("train", "tiny")
            if pod["metadata"]["labels"].get("ray.io/node-type") == "worker"
        )
        for model in space.load("tiny").get("status", {}).get("models", ()):
            learned.update(key for key in model if model["stage"] == "Train")
        return space.has_ended("tiny")

    space.wait(watch, "the end", run="tiny", seconds=1500)
    run = space.load("tiny")
    shown = space.kubectl("get", "benchmarkruns", "--output=wide")

    assert space.find_reason("tiny") == "Succeeded"
    assert run["status"]["leaderboard"] == bench.leaderboard_of_two
    assert len(workers) == 2
    # What a training shows while it goes on.
    assert {"percent", "loss", "step", "etaSeconds", "tokensPerSecond", "checkpoint"} <= learned
    best = run["status"]["summary"]["best"]
    assert best == "learns"
    assert best in shown
    assert run["status"]["summary"]["winRate"] in shown
    check_winner(space, "tiny", best)
    stored = space.kubectl("get", "all,events,configmaps,brun", "--output=yaml")
    assert bench.judge.key not in stored


def check_winner(space: Space, run: str, best: str) -> None:
    """The best variant answers as a server of OpenAI's protocol does; unwanted, it goes."""
    space.wait(lambda: is_served(space, run), "the winner's server", run=run)
    serving = space.load(run)["status"]["serving"]
    question = {"role": "user", "content": "What does this pull request change?"}
    request = {"model": serving["variant"], "messages": [question], "max_tokens": 8}

    answer = space.post(f"{serving['endpoint']}/chat/completions", request)

    assert serving["variant"] == best
    assert answer["usage"]["completion_tokens"] > 0
    assert isinstance(answer["choices"][0]["message"]["content"], str)

    unwanted = '{"spec": {"serving": {"keep": "None"}}}'
    space.kubectl("patch", "brun", run, "--type=merge", f"--patch={unwanted}")
    # What used GPUs is gone; what says how it went is there.
    space.wait(lambda: not list_ray(space, run), "no server of the run", run=run)
    assert space.find_reason(run) == "Succeeded"


def is_served(space: Space, run: str) -> bool:
    """Whether the winner answers, as the status says."""
    conditions = {each["type"]: each for each in space.load(run)["status"]["conditions"]}
    return conditions.get(names.WINNER_SERVED, {}).get("status") == "True"


def list_ray(space: Space, run: str) -> list[str]:
    """Return what takes GPUs for a run."""
    kinds = ("raycluster", "rayservice")
    return [each for each in space.list_children(run) if each.startswith(kinds)]


def test_two_runs_one_deleted_one_robbed(make_space: MakeSpace, bench: Bench) -> None:
    """Deleting a run leaves nothing of it; the other, robbed of its children, heals."""
    space = make_space("pair")
    for name, seed in (("gone", 7), ("robbed", 0)):
        space.kubectl("apply", "--filename=-", text=bench.place(space, name, seed=seed))
    for name in ("gone", "robbed"):
        space.wait(
            lambda name=name: (
                space.list_stages(name).get("train/learns", {}).get("state") == "Running"
            ),
            "training",
            run=name,
        )
    jobs = space.list_children("robbed")

    space.kubectl("delete", "brun", "gone", "--wait=false")
    kinds = ("rayjob", "configmap", "role.", "serviceaccount")
    space.kubectl("delete", "--wait=false", *(each for each in jobs if each.startswith(kinds)))

    space.wait(lambda: not space.list_children("gone"), "nothing of the run", run="robbed")
    run = space.wait_for_end("robbed")

    assert run["status"]["leaderboard"] == bench.leaderboard
    assert "NotFound" in space.kubectl("get", "brun", "gone", check=False) or not [
        each for each in space.kubectl("get", "brun", "--output=name").split() if "gone" in each
    ]
