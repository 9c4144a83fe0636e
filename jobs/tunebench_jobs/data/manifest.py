"""The manifest: where every row came from, and why each missing one is missing."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from tunebench_api.contract import DataConfig
from tunebench_api.v1alpha1 import Answers, DatasetSpec
from tunebench_jobs.data.choose import Chosen
from tunebench_jobs.data.drops import DroppedRow
from tunebench_jobs.data.git_pulls import DROP_MEANINGS
from tunebench_jobs.data.human import build_human_answer
from tunebench_jobs.data.load import Row
from tunebench_jobs.data.sources import LoadedSource
from tunebench_jobs.prompt_source import ConfiguredPrompts
from tunebench_jobs.records import Task, TrainExample

FORMAT = 1


@dataclass
class Prepared:
    """All that the data stage made, and what it left out on the way."""

    sources: Sequence[LoadedSource]
    train_rows: Sequence[Row]
    eval_rows: Sequence[Row]
    dropped: list[DroppedRow]
    # What `eval_rows` were chosen from, and how.
    pool: Sequence[Row] = ()
    chosen: Chosen = field(default_factory=Chosen)
    examples: Sequence[TrainExample] = ()
    tasks: Sequence[Task] = ()
    missing_references: Sequence[DroppedRow] = field(default_factory=list)


def build_manifest(
    config: DataConfig, prompts: ConfiguredPrompts, prepared: Prepared, files: dict[str, str]
) -> str:
    """Build the text of the manifest; `files` are the SHA-256 of the outputs by name."""
    document = {
        "format": FORMAT,
        "answers": config.dataset.answers,
        "tools": list(config.tools),
        "seed": config.seed,
        "prompts": {
            "name": prompts.prompt_set.name,
            "sha256": prompts.prompt_set.sha256,
            "format": prompts.prompt_set.format,
            "variables": prompts.overrides,
        },
        "sources": [{"set": source.dataset, **source.facts} for source in prepared.sources],
        "steps": _build_steps(prepared),
        **_build_counts(config, prepared),
        **prepared.chosen.facts,
        "warnings": build_warnings(config.dataset, prepared),
        "files": files,
        "dropped": [_build_row(drop) for drop in prepared.dropped],
        "missing_references": [_build_row(drop) for drop in prepared.missing_references],
        **_build_commits(prepared.sources),
    }
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


def build_warnings(dataset: DatasetSpec, prepared: Prepared) -> list[str]:
    """Say where there are fewer pull requests than the run asks for, and which nobody read."""
    wanted = (
        ("spec.dataset.train.limit", dataset.train.limit, len(prepared.train_rows), "train on"),
        ("spec.dataset.eval.perTool", dataset.eval.per_tool, len(prepared.eval_rows), "judge"),
    )
    few = [
        f"`{field}` asks for {asked} pull requests, got {there} to {purpose}; all of them are used"
        for field, asked, there, purpose in wanted
        if asked is not None and there < asked
    ]
    return [*few, *prepared.chosen.warnings]


def build_summary(
    prompts: ConfiguredPrompts, prepared: Prepared, warnings: Sequence[str]
) -> dict[str, Any]:
    """Build the small counts for the status and the report."""
    commits = {
        source.dataset: {
            name: source.facts[name]
            for name in ("commits_seen", "commits_kept", "commits_dropped")
            if name in source.facts
        }
        for source in prepared.sources
    }
    return {
        "train_prs": len({example.pr for example in prepared.examples}),
        "eval_prs": len(prepared.eval_rows),
        "examples": count_by_tool(prepared.examples),
        "tasks": count_by_tool(prepared.tasks),
        "references": count_by_tool(task for task in prepared.tasks if task.reference is not None),
        "dropped": count_reasons(prepared.dropped),
        "commits": {dataset: counts for dataset, counts in commits.items() if counts},
        "prompts": prompts.prompt_set.name,
        "prompts_sha256": prompts.prompt_set.sha256,
        "warnings": list(warnings),
    }


def count_reasons(dropped: Iterable[DroppedRow]) -> dict[str, int]:
    """Return how often each reason occurs."""
    return dict(sorted(Counter(str(drop.reason) for drop in dropped).items()))


def count_by_tool(rows: Iterable[TrainExample | Task]) -> dict[str, int]:
    """Return how many rows each tool has."""
    return dict(sorted(Counter(str(row.tool) for row in rows).items()))


def _build_steps(prepared: Prepared) -> list[dict[str, Any]]:
    """Return what each step took in and gave out, in order."""
    steps: list[dict[str, Any]] = [
        {
            "step": "load",
            "set": source.dataset,
            "in": source.facts.get("commits_seen", len(source.rows)),
            "out": len(source.rows),
            "dropped": source.facts.get("commits_dropped", {}),
        }
        for source in prepared.sources
    ]
    for dataset, rows in (("train", prepared.train_rows), ("eval", prepared.eval_rows)):
        whole = [drop for drop in prepared.dropped if drop.dataset == dataset and not drop.tool]
        kept = {"set": dataset, "out": len(rows), "dropped": count_reasons(whole)}
        steps.append({"step": "split", "in": len(rows) + len(whole), **kept})
    parts = [drop for drop in prepared.dropped if drop.tool]
    made = len(prepared.examples)
    rendered = {"in": made + len(parts), "out": made, "dropped": count_reasons(parts)}
    return [*steps, {"step": "render", "set": "train", **rendered}]


def _build_counts(config: DataConfig, prepared: Prepared) -> dict[str, Any]:
    counts: dict[str, Any] = {
        "prs": {
            "train": len({example.pr for example in prepared.examples}),
            "eval": len(prepared.eval_rows),
        },
        "examples": count_by_tool(prepared.examples),
        "tasks": count_by_tool(prepared.tasks),
    }
    if config.dataset.answers is Answers.HUMAN:
        rows = (*prepared.train_rows, *prepared.eval_rows)
        answers = (build_human_answer(row.pr) for row in rows)
        origins = Counter(str(answer.origin) for answer in answers if answer)
        # How many descriptions are people's own, and how many stand-ins.
        counts["human_descriptions"] = dict(sorted(origins.items()))
    return counts


def _build_row(drop: DroppedRow) -> dict[str, Any]:
    row = {
        "set": drop.dataset,
        "row": drop.origin,
        "pr": drop.pr,
        "tool": drop.tool,
        "reason": drop.reason,
        "detail": drop.detail,
    }
    return {name: value for name, value in row.items() if value}


def _build_commits(sources: Sequence[LoadedSource]) -> dict[str, Any]:
    commits = [
        {"set": source.dataset, "sha": drop.sha, "subject": drop.subject, "reason": drop.reason}
        for source in sources
        for drop in source.dropped
    ]
    if not any("commit" in source.facts for source in sources):
        return {}
    return {"dropped_commits": commits, "commit_reasons": DROP_MEANINGS}
