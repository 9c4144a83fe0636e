"""What stages leave for the judge stage in a store, and a stage as a job runs it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tunebench_api.contract import (
    AnyStageConfig,
    JudgeConfig,
    Report,
    Runtime,
    StageDocument,
    StageResult,
)
from tunebench_api.v1alpha1 import Tool
from tunebench_jobs.records import Completion, Task, dump_jsonl
from tunebench_jobs.stage import run_stage

PROMPTS = Path(__file__).parents[2] / "prompts"


def make_tasks(
    prs: int,
    tools: Sequence[Tool] = tuple(Tool),
    references: Mapping[str, str] | None = None,
) -> list[Task]:
    """Return every tool's task of so many pull requests; `references` has the good answers."""
    return [
        Task(
            id=f"acme/x#{number}:{tool}",
            pr=f"acme/x#{number}",
            repository="acme/x",
            language="Go",
            tool=tool,
            system="You are a reviewer.",
            user=f"diff {number}",
            reference=references[tool] if references else None,
        )
        for number in range(prs)
        for tool in tools
    ]


def save_data(folder: Path, tasks: Sequence[Task]) -> None:
    """Write the tasks as the data stage does."""
    folder.mkdir(parents=True)
    (folder / "eval.jsonl").write_text(dump_jsonl(tasks))


def save_completions(
    folder: Path, tasks: Sequence[Task], answer: str | Callable[[Task], str]
) -> None:
    """Write what a model said to each task, or the same to all."""
    folder.mkdir(parents=True)
    rows = [
        Completion(
            task=task.id,
            completion=answer if isinstance(answer, str) else answer(task),
            finish_reason="stop",
        )
        for task in tasks
    ]
    (folder / "completions.jsonl").write_text(dump_jsonl(rows))


def make_document(
    store: Path, config: AnyStageConfig, output: str, **runtime: Any
) -> StageDocument:
    """Return what a stage is given."""
    return StageDocument(
        config=config,
        runtime=Runtime(
            store=str(store),
            output=output,
            report=str(store / f"{output.replace('/', '-')}.json"),
            prompts_dir=str(PROMPTS),
            **runtime,
        ),
    )


def make_judge_config(
    completions: str, judges: Sequence[dict[str, Any]], **judging: Any
) -> JudgeConfig:
    """Return the config of the judge stage of one variant's completions."""
    return JudgeConfig.from_wire(
        {
            "data": "data/one",
            "baseline": "generate/baseline",
            "completions": completions,
            "prompts": {"builtin": "compact"},
            "judges": judges,
            "judging": judging,
        }
    )


def run(store: Path, config: AnyStageConfig, output: str, **runtime: Any) -> StageResult:
    """Run a stage as a job does, and return what it reported."""
    return run_document(make_document(store, config, output, **runtime))


def run_document(document: StageDocument) -> StageResult:
    """Run a stage as a job does, and return what it reported."""
    run_stage(document)
    report = Report.model_validate_json(Path(document.runtime.report).read_bytes())
    assert report.result is not None
    return report.result
