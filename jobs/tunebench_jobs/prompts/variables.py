"""What templates may ask for: a pull request's own values, and settings with their defaults."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from tunebench_api.v1alpha1 import Tool
from tunebench_jobs.diffs import DiffFacts, clip_text, find_encoding, select_files
from tunebench_jobs.errors import InputError
from tunebench_jobs.prompts.prompt_set import REASON, PromptSet
from tunebench_jobs.prompts.tool_diffs import build_tool_diffs
from tunebench_jobs.rows import PullRequest

Value = str | int | bool

# HEAD tells the model today's date; a fixed day keeps prompts, and so their hashes, reproducible.
FROZEN_DATE = "2026-01-01"

# HEAD asks for a summary of each file while the list of files is this short.
_MAX_SUMMARISED_FILES = 6

_SEMANTIC_FILES = "enable_semantic_files_types"

_CONTENT = frozenset(
    {
        "title",
        "branch",
        "description",
        "language",
        "commit_messages_str",
        "num_pr_files",
        "diff",
        "diff_no_line_numbers",
    }
)
_DEFAULTS_2024: Mapping[Tool, Mapping[str, Value]] = {
    Tool.DESCRIBE: {
        "extra_instructions": "",
        "enable_custom_labels": False,
        "custom_labels_class": "",
        "custom_labels": "",
        _SEMANTIC_FILES: True,
    },
    Tool.REVIEW: {
        "extra_instructions": "",
        "require_score": False,
        "require_tests": True,
        "require_estimate_effort_to_review": True,
        "require_can_be_split_review": False,
        "num_code_suggestions": 4,
        "question_str": "",
        "answer_str": "",
        "enable_custom_labels": False,
        "custom_labels": "",
    },
    Tool.IMPROVE: {"extra_instructions": "", "num_code_suggestions": 4},
}
_DEFAULTS_HEAD: Mapping[Tool, Mapping[str, Value]] = {
    Tool.DESCRIBE: {
        "enable_pr_diagram": True,
        "include_file_summary_changes": True,
        "duplicate_prompt_examples": False,
        "related_tickets": "",
    },
    Tool.REVIEW: {
        "num_max_findings": 3,
        "is_ai_metadata": False,
        "related_tickets": "",
        "require_estimate_contribution_time_cost": False,
        "require_security_review": True,
        "require_todo_scan": False,
        "duplicate_prompt_examples": False,
        "date": FROZEN_DATE,
    },
    Tool.IMPROVE: {
        "num_code_suggestions": 3,
        "focus_only_on_problems": True,
        "is_ai_metadata": False,
        "duplicate_prompt_examples": False,
        "date": FROZEN_DATE,
    },
}


@dataclass(frozen=True)
class TaskVariables:
    """The variables of one task, and what they do not show of the pull request.

    Attributes:
        variables: Every name that templates may ask for.
        diff: What the diff does not show.
        clipped: The other variables that were cut: description, commit_messages_str.
    """

    variables: dict[str, Value]
    diff: DiffFacts
    clipped: tuple[str, ...] = ()


def known_variables(tool: Tool, *, only_head: bool = False) -> frozenset[str]:
    """Return every name that `build_variables` defines; with `only_head`, those new since 2024."""
    head = frozenset(_DEFAULTS_HEAD[tool])
    if only_head:
        return (head - frozenset(_DEFAULTS_2024[tool])) | {"diff_no_line_numbers"}
    return _CONTENT | frozenset(_DEFAULTS_2024[tool]) | head


def build_variables(
    pr: PullRequest,
    tool: Tool,
    prompt_set: PromptSet,
    overrides: Mapping[str, Value],
    *,
    hide_human_text: bool = False,
) -> dict[str, Value]:
    """Build the variables of one task, complete for prompt sets of 2024 and of HEAD.

    Args:
        pr: The pull request.
        tool: What the model is asked to do.
        prompt_set: Its format decides defaults and the layout of the diff.
        overrides: Settings of the run that replace defaults.
        hide_human_text: Blank what people wrote (title, description, commit messages), because
            it is, or gives away, the answer to learn. People write no notes on single files
            either, so Describe does not ask for them unless an override says so.

    Raises:
        InputError: An override names nothing that the templates read, or has the wrong type; or the
            prompt must be counted and does not render.
    """
    return build_task(pr, tool, prompt_set, overrides, hide_human_text=hide_human_text).variables


def build_task(
    pr: PullRequest,
    tool: Tool,
    prompt_set: PromptSet,
    overrides: Mapping[str, Value],
    *,
    hide_human_text: bool = False,
) -> TaskVariables:
    """Build the variables of one task like `build_variables`, and say what they leave out."""
    settings = _default_settings(pr, tool, prompt_set, hide_human_text=hide_human_text)
    checked = {
        name: _parse_override(name, value, settings.get(name), prompt_set)
        for name, value in overrides.items()
    }
    content = _content(pr, tool, prompt_set, hide_human_text=hide_human_text)
    variables = {**settings, **checked, **content, "diff": "", "diff_no_line_numbers": ""}
    diffs = build_tool_diffs(pr, tool, prompt_set, partial(prompt_set.render, tool, variables))
    clipped = () if hide_human_text else _find_clipped(pr, content)
    return TaskVariables({**variables, **diffs.variables}, diffs.facts, clipped)


def asks_for_files(
    prompt_set: PromptSet, overrides: Mapping[str, Value], *, hide_human_text: bool = False
) -> bool:
    """Whether Describe asks for `pr_files`, so that an answer must have them."""
    if _SEMANTIC_FILES not in prompt_set.tool_variables(Tool.DESCRIBE):
        return False
    return bool(overrides.get(_SEMANTIC_FILES, not hide_human_text))


def _default_settings(
    pr: PullRequest, tool: Tool, prompt_set: PromptSet, *, hide_human_text: bool
) -> dict[str, Value]:
    settings = {**_DEFAULTS_HEAD[tool], **_DEFAULTS_2024[tool]}
    if prompt_set.format == "HEAD":
        settings |= _DEFAULTS_HEAD[tool]
    if tool is Tool.DESCRIBE:
        listed = len(select_files(pr.files, prompt_set.diff))
        settings["include_file_summary_changes"] = listed <= _MAX_SUMMARISED_FILES
        settings[_SEMANTIC_FILES] = not hide_human_text
    return settings


def _content(
    pr: PullRequest, tool: Tool, prompt_set: PromptSet, *, hide_human_text: bool
) -> dict[str, Value]:
    options = prompt_set.diff
    # Describe asks for what the user wrote, the other tools for the text as it is.
    description = pr.description.strip() if tool is Tool.DESCRIBE else pr.description
    commits = _number_messages(pr.commits)
    if hide_human_text:
        description = commits = ""
    return {
        "title": "" if hide_human_text else pr.title,
        "description": _clip(description, options.max_description_tokens, prompt_set),
        "commit_messages_str": _clip(commits, options.max_commits_tokens, prompt_set),
        "branch": pr.branch,
        "language": pr.language,
        "num_pr_files": len(pr.files),
    }


def _find_clipped(pr: PullRequest, content: Mapping[str, Value]) -> tuple[str, ...]:
    whole = {
        "description": {pr.description, pr.description.strip()},
        "commit_messages_str": {_number_messages(pr.commits)},
    }
    return tuple(name for name, texts in whole.items() if content[name] not in texts)


def _number_messages(commits: Sequence[str]) -> str:
    return "\n".join(f"{number}. {message}" for number, message in enumerate(commits, start=1))


def _clip(text: str, limit: int, prompt_set: PromptSet) -> str:
    return clip_text(text, limit, find_encoding(prompt_set.format)) if limit else text


def _parse_override(name: str, value: Value, default: Value | None, prompt_set: PromptSet) -> Value:
    field = f"`spec.prompts.variables[{name}]`"
    if name in _CONTENT:
        raise InputError(f"{field} must not be set: it comes from each pull request", reason=REASON)
    if name not in prompt_set.variables:
        raise InputError(
            f"{field} must name a variable of the prompt set `{prompt_set.name}`, got one that no "
            f"template reads; remove it, or choose from {', '.join(_settable(prompt_set))}",
            reason=REASON,
        )
    if isinstance(default, str):
        return str(value)
    if default is not None and type(value) is not type(default):
        kind = "true or false" if isinstance(default, bool) else "a whole number"
        raise InputError(f"{field} must be {kind}, got {value!r}", reason=REASON)
    return value


def _settable(prompt_set: PromptSet) -> list[str]:
    return sorted(prompt_set.variables - _CONTENT)
