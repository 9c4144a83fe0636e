"""The control stage: completions that show whether a judge can be trusted. No model is asked."""

from __future__ import annotations

from types import MappingProxyType

from tunebench_api.contract import ControlConfig
from tunebench_api.v1alpha1 import Control, Tool
from tunebench_jobs.context import Outcome, StageContext
from tunebench_jobs.data.layout import EVAL_FILE
from tunebench_jobs.files import save_text
from tunebench_jobs.records import Completion, Task, dump_jsonl, load_jsonl

COMPLETIONS_FILE = "completions.jsonl"

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


def run_control(config: ControlConfig, context: StageContext) -> Outcome:
    """Write the completions of a control.

    Raises:
        InputError: A file of an earlier stage is broken.
    """
    if config.control is Control.SELF:
        baseline = context.path(f"{config.baseline}/{COMPLETIONS_FILE}")
        completions = list(load_jsonl(baseline, Completion))
    else:
        tasks = load_jsonl(context.path(f"{config.data}/{EVAL_FILE}"), Task)
        completions = [build_null_completion(task) for task in tasks]
    save_text(context.output / COMPLETIONS_FILE, dump_jsonl(completions))
    return Outcome(
        message=f"{len(completions)} completions of the {config.control} control",
        artefacts=(COMPLETIONS_FILE,),
        summary={"completions": len(completions), "control": config.control},
    )


def build_null_completion(task: Task) -> Completion:
    """Build the null model's answer, which looks at nothing but the tool."""
    return Completion(task=task.id, completion=NULL_ANSWERS[task.tool], finish_reason="stored")
