"""The sample browser's data: a small index of all verdicts, and blocks with the texts.

The index is read when the page opens. A block holds the texts of a few tasks, and is read when one
of them is looked at. A text that occurs again in a block is in it once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from tunebench_api.v1alpha1 import Tool
from tunebench_jobs.answers import ParsedAnswer, parse_answer
from tunebench_jobs.judge.comparisons import Order
from tunebench_jobs.judge.records import VerdictRow
from tunebench_jobs.judge.verdicts import Winner
from tunebench_jobs.records import Completion, Task
from tunebench_jobs.report.material import Material
from tunebench_jobs.score.outcomes import JudgedVariant

# Tasks in a block: few are read at once, and more share what their prompts have in common.
BLOCK_TASKS = 6
# Letters of the verdicts in the index.
_LETTERS = {Winner.MODEL: "M", Winner.BASELINE: "B", Winner.TIE: "T", None: "-"}
_LEVELS = {"strict": "s", "fixed": "f", "invalid": "i"}
_ORDERS = tuple(Order)

_Verdicts = Mapping[tuple[str, str, Order], VerdictRow]


@dataclass
class _Strings:
    """Texts by number."""

    texts: list[str] = field(default_factory=list)
    _numbers: dict[str, int] = field(default_factory=dict)

    def add(self, text: str) -> int:
        number = self._numbers.setdefault(text, len(self.texts))
        if number == len(self.texts):
            self.texts.append(text)
        return number


def build_index(material: Material) -> dict[str, Any]:
    """Build what lists and filters need: who, what, and every verdict as one letter.

    `verdicts` has one text for each variant, with the letters by task, judge and order.
    """
    results = material.results
    judges = [judge.name for judge in results.judges]
    tools = list(results.tools)
    return {
        "baseline": results.baseline.name,
        "judges": [{"name": each.name, "model": each.model} for each in results.judges],
        "tools": tools,
        "variants": [
            {"name": each.spec.name, "kind": each.spec.kind} for each in material.variants
        ],
        "tasks": [
            {
                "id": task.id,
                "pr": task.pr,
                "repository": task.repository,
                "language": task.language,
                "tool": tools.index(task.tool),
                "title": material.pulls[task.pr].title if task.pr in material.pulls else "",
            }
            for task in material.tasks
        ],
        "verdicts": [_build_letters(each, material.tasks, judges) for each in material.variants],
        "levels": [_build_levels(material.tasks, each.completions) for each in material.variants],
        "baselineLevels": _build_levels(material.tasks, material.baseline),
        "blockTasks": BLOCK_TASKS,
    }


def build_blocks(material: Material) -> Iterator[dict[str, Any]]:
    """Build the blocks, in the order of the tasks."""
    judges = [judge.name for judge in material.results.judges]
    verdicts = [_index_verdicts(variant) for variant in material.variants]
    for start in range(0, len(material.tasks), BLOCK_TASKS):
        strings = _Strings()
        places = range(start, min(start + BLOCK_TASKS, len(material.tasks)))
        tasks = [_build_task(material, place, judges, verdicts, strings) for place in places]
        yield {"strings": strings.texts, "tasks": tasks}


def _build_task(
    material: Material,
    place: int,
    judges: Sequence[str],
    verdicts: Sequence[_Verdicts],
    strings: _Strings,
) -> dict[str, Any]:
    task = material.tasks[place]
    return {
        "system": strings.add(task.system),
        "user": strings.add(task.user),
        "paths": list(task.paths),
        "reference": None if task.reference is None else strings.add(task.reference),
        "baseline": _build_completion(task, material.baseline[place], strings),
        "completions": [
            _build_completion(task, variant.completions[place], strings)
            for variant in material.variants
        ],
        "said": [
            [
                _build_said(rows.get((judge, task.id, order)), strings)
                for judge in judges
                for order in _ORDERS
            ]
            for rows in verdicts
        ],
    }


def _build_completion(task: Task, row: Completion, strings: _Strings) -> dict[str, Any]:
    """Build a completion as it stands and as it was read."""
    answer = _parse(task.tool, row.completion, task.semantic_files)
    built: dict[str, Any] = {"text": strings.add(row.completion)}
    if answer.data is not None:
        built["fields"] = answer.data
    if answer.problem:
        built["problem"] = strings.add(answer.problem)
    if row.finish_reason == "length":
        built["cut"] = 1
    return built


def _build_said(row: VerdictRow | None, strings: _Strings) -> dict[str, Any] | None:
    """Build what a judge said besides its verdict."""
    if row is None:
        return None
    built: dict[str, Any] = {"why": strings.add(row.why)} if row.why else {}
    if row.score_model is not None and row.score_baseline is not None:
        built["scores"] = [row.score_model, row.score_baseline]
    if row.missing is not None:
        built["missing"] = row.missing
    return built or None


def _build_letters(variant: JudgedVariant, tasks: Sequence[Task], judges: Sequence[str]) -> str:
    rows = _index_verdicts(variant)
    return "".join(
        _LETTERS[row.winner if row else None]
        for task in tasks
        for judge in judges
        for order in _ORDERS
        for row in [rows.get((judge, task.id, order))]
    )


def _build_levels(tasks: Sequence[Task], completions: Sequence[Completion]) -> str:
    return "".join(
        _LEVELS[_parse(task.tool, row.completion, task.semantic_files).level]
        for task, row in zip(tasks, completions, strict=True)
    )


def _index_verdicts(variant: JudgedVariant) -> _Verdicts:
    # Of a question that was repeated, the first answer.
    return {(row.judge, row.task, row.order): row for row in variant.verdicts if not row.repeat}


# Index and blocks look at each completion, one after the other.
@lru_cache(maxsize=1 << 15)
def _parse(tool: Tool, text: str, semantic_files: bool) -> ParsedAnswer:  # noqa: FBT001 - cached
    return parse_answer(tool, text, semantic_files=semantic_files)
