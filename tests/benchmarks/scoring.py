"""How long the score stage takes: `make scoring`.

Fourteen fine-tuned models, their bases and all controls; 200 pull requests in three tools; three
judges; both orders; 10,000 resamples. Verdicts are drawn at random, answers are of usual length.
"""

from __future__ import annotations

import argparse
import resource
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import yaml
from make_scores import make_tasks
from simulate_scores import World, simulate

from tunebench_api.contract import Report, Runtime, ScoreConfig, StageDocument
from tunebench_api.v1alpha1 import Tool
from tunebench_jobs.judge.comparisons import Order
from tunebench_jobs.judge.records import VerdictRow
from tunebench_jobs.judge.verdicts import Winner
from tunebench_jobs.records import Completion, Task, dump_jsonl
from tunebench_jobs.stage import run_stage

_WORDS = ["the", "count", "of", "stock", "is", "kept", "for", "each", "aisle", "and", "read"]
_JUDGES = [
    {"name": name, "model": f"{family}/{name}-2024-05-13", "family": family}
    for name, family in (("one", "openai"), ("two", "anthropic"), ("three", "acme"))
]
_WINNERS = {0.0: Winner.BASELINE, 0.5: Winner.TIE, 1.0: Winner.MODEL}
_CONTROLS = ("NullModel", "Self", "Padded")


def main() -> None:
    """Write the inputs, run the stage, print what it took."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", type=int, default=14)
    parser.add_argument("--prs", type=int, default=200)
    parser.add_argument("--resamples", type=int, default=10_000)
    options = parser.parse_args()
    with TemporaryDirectory() as folder:
        store = Path(folder)
        variants = save_inputs(store, options.models, options.prs)
        config = build_config(variants, options.resamples)
        runtime = Runtime(store=folder, output="score/one", report=str(store / "report.json"))
        started, cpu = time.perf_counter(), time.process_time()
        run_stage(StageDocument(config=config, runtime=runtime))
        wall, used = time.perf_counter() - started, time.process_time() - cpu
        report = Report.model_validate_json((store / "report.json").read_bytes())
        assert report.result is not None
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(f"{report.result.state}: {report.result.message}")
        print(f"{wall:.1f} s wall, {used:.1f} s CPU, {peak:.0f} MiB at the most")


def save_inputs(store: Path, models: int, prs: int) -> list[dict[str, Any]]:
    """Write tasks, completions and verdicts; return the variants as the score config has them."""
    random = np.random.default_rng(1)
    tasks = make_tasks(prs)
    save(store / "data/one/eval.jsonl", tasks)
    save(store / "generate/baseline/completions.jsonl", write_answers(tasks, random))
    names = [f"model-{number}" for number in range(models)]
    names += [f"base-{number}" for number in range(models)]
    variants = [build_variant(name, models) for name in (*names, *_CONTROLS)]
    skills = [*np.linspace(0, -1.5, models), *np.linspace(-3, -4, models), -6, 0, -0.5]
    points = simulate(World(skills), 1, prs, random)[0]
    for variant, rows in zip(variants, points, strict=True):
        save(store / variant["completions"] / "completions.jsonl", write_answers(tasks, random))
        save(store / variant["judge"] / "verdicts.jsonl", write_verdicts(variant, tasks, rows))
    return variants


def build_variant(name: str, models: int) -> dict[str, Any]:
    """Return a variant; large ones come first, as the models do."""
    kind, _, number = name.partition("-")
    kinds = {"model": "FineTuned", "base": "Untuned"}
    return {
        "name": name,
        "model": name,
        "kind": kinds.get(kind, "Control"),
        "completions": f"generate/{name}",
        "judge": f"judge/{name}",
        "untuned": f"base-{number}" if kind == "model" else None,
        "sizeBillions": ("34" if int(number) < models // 2 else "7") if number else None,
    }


def write_answers(tasks: list[Task], random: np.random.Generator) -> list[Completion]:
    """Return answers of some 300 tokens."""
    return [
        Completion(task=task.id, completion=write_answer(task.tool, random), finish_reason="stop")
        for task in tasks
    ]


def write_answer(tool: Tool, random: np.random.Generator) -> str:
    """Return one answer in the tool's schema."""

    def prose(mean: int) -> str:
        return " ".join(random.choice(_WORDS, size=1 + random.poisson(mean)))

    note = {
        "filename": "a.py",
        "changes_title": prose(5),
        "changes_summary": prose(20),
        "label": "x",
    }
    suggestion = {
        "relevant_file": "a.py",
        "suggestion_content": prose(40),
        "existing_code": "a = 0\n",
        "improved_code": "count = 0\n",
        "one_sentence_summary": prose(8),
        "label": "x",
    }
    answer: dict[Tool, object] = {
        Tool.DESCRIBE: {
            "type": ["Bug fix"],
            "description": prose(60),
            "title": prose(6),
            # Copies: of the same one, YAML would write a reference, which no answer may have.
            "pr_files": [dict(note) for _ in range(4)],
        },
        Tool.REVIEW: {
            "review": {"possible_issues": prose(120), "security_concerns": prose(30)},
        },
        Tool.IMPROVE: {"code_suggestions": [dict(suggestion) for _ in range(4)]},
    }
    return yaml.safe_dump(answer[tool], sort_keys=False)


def write_verdicts(
    variant: dict[str, Any], tasks: list[Task], points: np.ndarray
) -> list[VerdictRow]:
    """Return the rows of all judges."""
    return [
        VerdictRow(
            task=task.id,
            pr=task.pr,
            repository=task.repository,
            tool=task.tool,
            judge=judge["name"],
            order=order,
            winner=_WINNERS.get(float(points[place, number, side])),
            missing=None if points[place, number, side] in _WINNERS else "Unreadable",
            why="it says more " * 20,
            score_model=5,
            score_baseline=6,
            key=f"{variant['name']}-{place}-{number}-{side}",
            replies=1,
            cost_usd=0.01,
        )
        for place, task in enumerate(tasks)
        for number, judge in enumerate(_JUDGES)
        for side, order in enumerate(Order)
    ]


def build_config(variants: list[dict[str, Any]], resamples: int) -> ScoreConfig:
    """Return what the stage is told."""
    return ScoreConfig.from_wire(
        {
            "run": "scoring",
            "data": "data/one",
            "baseline": "generate/baseline",
            "baselineSpec": {
                "name": "stored",
                "family": "openai",
                "completions": {"uri": "/b.jsonl"},
            },
            "teacherFamilies": ["anthropic"],
            "judges": _JUDGES,
            "judging": {},
            "statistics": {"resamples": resamples},
            "seed": 1,
            "variants": variants,
        }
    )


def save(path: Path, rows: list[Any]) -> None:
    """Write rows, and the folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(dump_jsonl(rows))


if __name__ == "__main__":
    main()
