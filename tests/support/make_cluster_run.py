"""Tiny runs for a cluster, and what `tunebench run` makes of the same ones on this machine."""

from __future__ import annotations

import json
import os
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml
from make_tiny_run import make_pull_request, make_tiny_run, run_tunebench
from scripted_judge import ScriptedJudge
from space import CLAIM, Space

from tunebench_api.places import claim_mount

KEY_SECRET = "llm-keys"  # noqa: S105 - the name of a Secret
KEY_VARIABLE = "KEY"
# One call of the judge at a time is on its way, or two.
CONCURRENCY = 2
STEPS_TO_CHECKPOINT = 5
# Simple enough for a model of two small layers to learn by heart.
ANSWER = "type: [Tests]\ndescription: d\ntitle: t\npr_files: []\n"
# Long enough for the model to learn what a valid answer looks like, and to be stopped meanwhile.
LEARNING = {
    "method": "Full",
    "epochs": 60,
    "learningRate": "3e-3",
    "checkpointSteps": STEPS_TO_CHECKPOINT,
}


class Bench:
    """A tiny run with its data: one model that learns the task, and perhaps one that does not."""

    def __init__(self, folder: Path, judge: ScriptedJudge, base: str) -> None:
        """Write the data; `base` is the address of a judge that sells its answers."""
        self.folder = folder
        self.judge = judge
        self.judge_spec: dict[str, Any] = {
            "name": "scripted",
            "model": "openai/scripted",
            "apiBase": base,
            "family": "scripted",
            "concurrency": CONCURRENCY,
            "secretRef": {"name": KEY_SECRET, "key": KEY_VARIABLE},
        }
        self._spec: dict[str, Any] = {
            "judges": [self.judge_spec],
            "generation": {"maxTokens": 160},
            "retries": 5,
            "parallelism": 2,
        }
        make_tiny_run(folder / "in")
        # Numbers that begin like the evaluation's, so that all prompts have as many tokens: what
        # two layers know by heart depends on the place.
        rows = [make_pull_request(number, "acme/train") for number in range(110, 118)]
        text = "".join(json.dumps(row | {"answers": {"Describe": ANSWER}}) + "\n" for row in rows)
        (folder / "in" / "train.jsonl").write_text(text, encoding="utf-8")

    def place(
        self,
        space: Space,
        name: str,
        *,
        models: int = 1,
        model: dict[str, Any] | None = None,
        **spec: Any,
    ) -> str:
        """Put data and key into a namespace where they are not yet; return the run's manifest."""
        if not space.has_data:
            space.put(self.folder / "in")
            secret = ("secret", "generic", KEY_SECRET)
            space.kubectl("create", *secret, f"--from-literal={KEY_VARIABLE}={self.judge.key}")
        body = self._build(models, spec)
        body["metadata"]["name"] = name
        dataset = body["spec"]["dataset"]
        for source in (dataset["train"], dataset["eval"], body["spec"]["baseline"]["completions"]):
            source["uri"] = f"pvc://{CLAIM}/in/{source['uri']}"
        placed = {"base": f"{claim_mount(CLAIM)}/in/base", **(model or {})}
        body["spec"]["models"] = [each | placed for each in body["spec"]["models"]]
        # JSON, because YAML has more than one opinion on what `1e-2` is.
        return json.dumps(body)

    @cached_property
    def leaderboard(self) -> list[dict[str, Any]]:
        """What this machine makes of the run with one model."""
        return self._load_leaderboard(models=1)

    @cached_property
    def leaderboard_of_two(self) -> list[dict[str, Any]]:
        """What this machine makes of the run with both models."""
        return self._load_leaderboard(models=2)

    def _build(self, models: int, spec: dict[str, Any]) -> dict[str, Any]:
        file = self.folder / "in" / "run.yaml"
        body: dict[str, Any] = yaml.safe_load(file.read_text(encoding="utf-8"))
        (first,) = body["spec"]["models"]
        names = ("learns", "does-not")[:models]
        body["spec"] |= self._spec | spec
        body["spec"]["models"] = [first | {"name": name} for name in names]
        learning = body["spec"]["models"][0]
        learning["tuning"] = learning["tuning"] | LEARNING
        return body

    def _load_leaderboard(self, models: int) -> list[dict[str, Any]]:
        file = self.folder / "in" / f"local-{models}.yaml"
        file.write_text(json.dumps(self._build(models, {})), encoding="utf-8")
        os.environ[KEY_VARIABLE] = self.judge.key
        arguments = ("run", str(file), "--store", str(self.folder / "store"), "-o", "json")
        done = run_tunebench(*arguments, timeout=900)
        assert done.returncode == 0, done.stderr
        leaderboard: list[dict[str, Any]] = json.loads(done.stdout)["leaderboard"]
        return leaderboard
