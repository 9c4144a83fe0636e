"""The control stage: completions that show whether a judge can be trusted. No model is asked."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from tunebench_api.contract import ControlConfig
from tunebench_api.v1alpha1 import Control, Tool
from tunebench_jobs.answers import build_answer_yaml, parse_answer
from tunebench_jobs.context import Outcome, StageContext
from tunebench_jobs.data.layout import EVAL_FILE
from tunebench_jobs.files import save_text
from tunebench_jobs.records import COMPLETIONS_FILE, Completion, Task, dump_jsonl, load_jsonl

# The null model: valid, plausible, and the same for every pull request, so it must lose.
NULL_ANSWERS = MappingProxyType(
    {
        Tool.DESCRIBE: """\
type:
- Enhancement
pr_files:
- filename: |
    README.md
  language: |
    Markdown
  changes_summary: |
    Various changes.
  changes_title: |
    Update
  label: |
    enhancement
description: |
  This pull request makes various changes to improve the code.
title: |
  Improve the code
""",
        Tool.REVIEW: """\
review:
  estimated_effort_to_review_[1-5]: |
    2, because the changes are straightforward.
  relevant_tests: |
    No
  possible_issues: |
    No
  security_concerns: |
    No
""",
        Tool.IMPROVE: """\
code_suggestions:
- relevant_file: |
    README.md
  language: |
    Markdown
  suggestion_content: |
    Consider adding comments and tests.
  existing_code: |
    ...
  improved_code: |
    ...
  one_sentence_summary: |
    Add comments and tests.
  relevant_lines_start: 1
  relevant_lines_end: 1
  label: |
    maintainability
""",
    }
)

# The padded control: true of any answer, so that it adds words and nothing else.
PADDING = (
    "It is worth noting that the points made here are meant to be read together, as parts of one "
    "whole, and that they describe what they describe in the way in which it is described. In "
    "other words, and to put it differently, what is said here is said for the sake of "
    "completeness, so that all that is mentioned has been mentioned, and so that it can be taken "
    "into account to the extent to which it should be taken into account. All of this should be "
    "considered with due care, as is usual in such cases, and with an eye to the overall context."
)
# Where answers hold prose; elsewhere padding would break what a tool does with the answer.
_PROSE_KEYS = frozenset(
    {
        "description",
        "changes_summary",
        "possible_issues",
        "security_concerns",
        "issue_content",
        "suggestion",
        "suggestion_content",
    }
)


def run_control(config: ControlConfig, context: StageContext) -> Outcome:
    """Write the completions of a control.

    Raises:
        InputError: A file of an earlier stage is broken.
    """
    tasks = list(load_jsonl(context.path(f"{config.data}/{EVAL_FILE}"), Task))
    if config.control is Control.NULL:
        completions = [build_null_completion(task) for task in tasks]
    else:
        baseline = context.path(f"{config.baseline}/{COMPLETIONS_FILE}")
        completions = list(load_jsonl(baseline, Completion))
    if config.control is Control.PADDED:
        by_id = {task.id: task for task in tasks}
        completions = [
            build_padded_completion(by_id[row.task], row)
            for row in completions
            if row.task in by_id
        ]
    save_text(context.output / COMPLETIONS_FILE, dump_jsonl(completions))
    return Outcome(
        message=f"{len(completions)} completions of the {config.control} control",
        artefacts=(COMPLETIONS_FILE,),
        summary={"completions": len(completions), "control": config.control},
    )


def build_null_completion(task: Task) -> Completion:
    """Build the null model's answer, which looks at nothing but the tool."""
    return Completion(task=task.id, completion=NULL_ANSWERS[task.tool], finish_reason="stored")


def build_padded_completion(task: Task, baseline: Completion) -> Completion:
    """Build the baseline's answer with words that say nothing; one that is broken stays so."""
    answer = parse_answer(task.tool, baseline.completion, semantic_files=task.semantic_files)
    if answer.data is None:
        return baseline
    padded = build_answer_yaml(_pad_mapping(answer.data))
    return baseline.model_copy(update={"completion": padded, "finish_reason": "stored"})


def _pad_mapping(data: Mapping[str, Any]) -> dict[str, Any]:
    return {key: _pad(value, prose=key in _PROSE_KEYS) for key, value in data.items()}


def _pad(value: Any, *, prose: bool) -> Any:
    if isinstance(value, Mapping):
        return _pad_mapping(value)
    if isinstance(value, list):
        return [_pad(each, prose=prose) for each in value]
    if prose and isinstance(value, str) and value.strip():
        return f"{value.rstrip()}\n\n{PADDING}"
    return value
