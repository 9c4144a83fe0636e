"""A whole run that takes a minute: a tiny random model and a handful of pull requests."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from tiny_models import save_tiny_model

from tunebench_operator.yaml_text import build_yaml

PATCH = "@@ -1,2 +1,2 @@\n def f():\n-    return {0}\n+    return {1}\n"
ANSWER = (
    "type:\n- Bug fix\npr_files:\n- filename: m{0}.py\n  language: Python\n"
    "  changes_summary: returns {1}\n  changes_title: fix\n  label: fix\n"
    "description: returns {1}\ntitle: fix {0}\n"
)
COMMAND = [sys.executable, "-m", "tunebench_operator"]


def make_pull_request(number: int, repository: str) -> dict[str, Any]:
    """Return one row; rows of different numbers have different patches."""
    return {
        "id": f"{repository}#{number}",
        "repository": repository,
        "title": f"fix {number}",
        "language": "Python",
        "files": [{"path": f"m{number}.py", "patch": PATCH.format(number, number + 1)}],
        "answers": {"Describe": ANSWER.format(number, number + 1)},
    }


def make_tiny_run(folder: Path, *, models: int = 1, **spec: Any) -> Path:
    """Write a run with its data, prompts and tiny base model; return the run file."""
    folder.mkdir(parents=True, exist_ok=True)
    save_tiny_model(folder / "base")
    train = [make_pull_request(number, "acme/train") for number in range(8)]
    held_out = [make_pull_request(number, "acme/eval") for number in range(100, 104)]
    stored = [
        {"pr": row["id"], "tool": "Describe", "completion": ANSWER.format("x", "y")}
        for row in held_out
    ]
    for name, rows in (("train", train), ("eval", held_out), ("baseline", stored)):
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / f"{name}.jsonl").write_text(text)
    tuning = {"maxLength": 1024, "checkpointSteps": 1, "batchSize": 2, "learningRate": "1e-2"}
    body = {
        "apiVersion": "tunebench.dev/v1alpha1",
        "kind": "BenchmarkRun",
        "metadata": {"name": "tiny"},
        "spec": {
            "tools": ["Describe"],
            "dataset": {"train": {"uri": "train.jsonl"}, "eval": {"uri": "eval.jsonl"}},
            "prompts": {"builtin": "compact"},
            "baseline": {"name": "stored", "completions": {"uri": "baseline.jsonl"}},
            "models": [
                {"name": f"tiny-{number}", "base": "./base", "tuning": tuning | {"epochs": number}}
                for number in range(1, models + 1)
            ],
            "judges": [{"name": "reference", "model": "tunebench/reference"}],
            "generation": {"maxTokens": 16},
            "statistics": {"resamples": 200},
            **spec,
        },
    }
    file = folder / "run.yaml"
    file.write_text(build_yaml(body))
    return file


def run_tunebench(*arguments: str, timeout: float = 300) -> subprocess.CompletedProcess[str]:
    """Run the command line to its end."""
    return subprocess.run(
        [*COMMAND, *arguments],
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
        env=os.environ | {"COLUMNS": "200"},
    )
