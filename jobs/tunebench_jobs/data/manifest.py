"""The manifest: where every row came from, and how many are missing for which reason."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tunebench_api.contamination import SUMMARY_KEY, Contamination
from tunebench_api.contract import DataConfig
from tunebench_api.v1alpha1 import Answers, DatasetSpec, Tool
from tunebench_jobs.data.choose import Chosen
from tunebench_jobs.data.funnel import Funnel
from tunebench_jobs.data.git_pulls import DROP_MEANINGS
from tunebench_jobs.data.layout import EVAL, TRAIN
from tunebench_jobs.data.opened import OpenedSource
from tunebench_jobs.data.outputs import Made
from tunebench_jobs.prompt_source import ConfiguredPrompts

FORMAT = 2


@dataclass(frozen=True)
class Prepared:
    """What a pass made, without the rows."""

    sources: Sequence[OpenedSource]
    funnel: Funnel
    made: Mapping[str, Made]
    # Rows that were chosen for each set.
    chosen: Mapping[str, int]
    contamination: Contamination
    selected: Chosen
    # Models that made or scored answers; with what was paid this time, and whose budget is spent.
    makers: Mapping[str, Any]
    paid: Mapping[str, Any]
    spent: Sequence[str]


def build_manifest(
    config: DataConfig, prompts: ConfiguredPrompts, prepared: Prepared, files: dict[str, str]
) -> str:
    """Build the text of the manifest; `files` are the SHA-256 of the outputs by name."""
    train, evaluation = prepared.made[TRAIN], prepared.made[EVAL]
    document = {
        "format": FORMAT,
        "answers": config.dataset.answers,
        "tools": list(config.tools),
        "seed": config.seed,
        "dataset": config.dataset.to_identity(),
        "prompts": {
            "name": prompts.prompt_set.name,
            "sha256": prompts.prompt_set.sha256,
            "format": prompts.prompt_set.format,
            "variables": prompts.overrides,
        },
        "sources": [{"set": source.dataset, **source.facts} for source in prepared.sources],
        "steps": prepared.funnel.to_plain(),
        "prs": {TRAIN: train.prs, EVAL: prepared.chosen[EVAL]},
        "examples": count_by_tool(train.by_tool),
        "tasks": count_by_tool(evaluation.by_tool),
        "references": count_by_tool(evaluation.answered),
        **_build_human(config, prepared),
        **prepared.selected.facts,
        **({"makers": prepared.makers} if prepared.makers else {}),
        SUMMARY_KEY: prepared.contamination.to_wire(),
        "warnings": build_warnings(config.dataset, prepared),
        "files": files,
        **_build_reasons(prepared.sources),
    }
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


def build_warnings(dataset: DatasetSpec, prepared: Prepared) -> list[str]:
    """Say where there are fewer pull requests than the run asks for, and which nobody read."""
    few = find_shortfalls(dataset, prepared.chosen)
    return [*few, *prepared.selected.warnings, *prepared.spent]


def find_shortfalls(dataset: DatasetSpec, chosen: Mapping[str, int]) -> list[str]:
    """Say where the sources have fewer pull requests than the run asks for."""
    wanted = (
        ("spec.dataset.train.limit", dataset.train.limit, chosen[TRAIN], "train on"),
        ("spec.dataset.eval.perTool", dataset.eval.per_tool, chosen[EVAL], "judge"),
    )
    return [
        f"`{field}` asks for {asked} pull requests, got {there} to {purpose}; all of them are used"
        for field, asked, there, purpose in wanted
        if asked is not None and there < asked
    ]


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
    train, evaluation = prepared.made[TRAIN], prepared.made[EVAL]
    return {
        "train_prs": train.prs,
        "eval_prs": prepared.chosen[EVAL],
        "examples": count_by_tool(train.by_tool),
        "tasks": count_by_tool(evaluation.by_tool),
        "references": count_by_tool(evaluation.answered),
        "dropped": prepared.funnel.count_dropped(),
        "funnel": prepared.funnel.to_plain(),
        SUMMARY_KEY: prepared.contamination.to_wire(),
        "commits": {dataset: counts for dataset, counts in commits.items() if counts},
        "prompts": prompts.prompt_set.name,
        "prompts_sha256": prompts.prompt_set.sha256,
        **({"makers": prepared.paid} if prepared.paid else {}),
        "warnings": list(warnings),
    }


def count_by_tool(counts: Mapping[Tool, int]) -> dict[str, int]:
    """Return how many rows each tool has."""
    return {str(tool): counts[tool] for tool in sorted(counts) if counts[tool]}


def _build_human(config: DataConfig, prepared: Prepared) -> dict[str, Any]:
    """Say how many descriptions are people's own, and how many stand-ins."""
    if config.dataset.answers is not Answers.HUMAN:
        return {}
    total = sum((made.human for made in prepared.made.values()), Counter[str]())
    return {"human_descriptions": dict(sorted(total.items()))}


def _build_reasons(sources: Sequence[OpenedSource]) -> dict[str, Any]:
    has_commits = any("commit" in source.facts for source in sources)
    return {"commit_reasons": DROP_MEANINGS} if has_commits else {}
