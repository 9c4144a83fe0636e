"""The template baseline: what a script without a model would answer. It is not an LLM.

It knows the names of the changed files and nothing else, so it is the least that a fine-tuned
model must beat where no stored completions and no vendor's key are at hand.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePosixPath

import yaml

from tunebench_api.v1alpha1 import Tool
from tunebench_jobs.records import Completion, Task

_SHOWN = 3


def build_template_completion(task: Task) -> Completion:
    """Build the template's answer from the paths of the changed files."""
    text = yaml.safe_dump(_build_answer(task), sort_keys=False, allow_unicode=True, width=1000)
    return Completion(task=task.id, completion=text, finish_reason="stored")


def _build_answer(task: Task) -> dict[str, object]:
    match task.tool:
        case Tool.DESCRIBE:
            return _build_describe(task)
        case Tool.REVIEW:
            return {
                "review": {
                    "estimated_effort_to_review_[1-5]": _effort(task.paths),
                    "relevant_tests": "yes" if any(map(_is_test, task.paths)) else "no",
                    "possible_issues": "No",
                    "security_concerns": "No",
                }
            }
        case Tool.IMPROVE:
            return {"code_suggestions": [_build_suggestion(task)]}


def _build_describe(task: Task) -> dict[str, object]:
    title = f"Update {_name_some(task.paths)}"
    answer: dict[str, object] = {"type": [_infer_type(task.paths)]}
    if task.semantic_files:
        answer["pr_files"] = [
            {
                "filename": path,
                "language": task.language,
                "changes_summary": f"Update {path}",
                "changes_title": f"Update {PurePosixPath(path).name}",
                "label": "other",
            }
            for path in task.paths[:15]
        ]
    return answer | {"description": f"Changes {', '.join(task.paths[:15])}.", "title": title}


def _build_suggestion(task: Task) -> dict[str, object]:
    return {
        "relevant_file": task.paths[0] if task.paths else "",
        "language": task.language,
        "suggestion_content": "Add a test for the change.",
        "existing_code": "...",
        "improved_code": "...",
        "one_sentence_summary": "Add a test.",
        "relevant_lines_start": 1,
        "relevant_lines_end": 1,
        "label": "tests",
    }


def _effort(paths: Sequence[str]) -> str:
    return f"{min(1 + len(paths) // 3, 5)}, because {len(paths)} files change."


def _name_some(paths: Sequence[str]) -> str:
    names = [PurePosixPath(path).name for path in paths]
    rest = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + rest


def _infer_type(paths: Sequence[str]) -> str:
    if paths and all(map(_is_test, paths)):
        return "Tests"
    if paths and all(PurePosixPath(path).suffix in {".md", ".rst", ".txt"} for path in paths):
        return "Documentation"
    return "Other"


def _is_test(path: str) -> bool:
    return "test" in path.lower()
