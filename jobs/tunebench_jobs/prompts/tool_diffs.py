"""The diff as each tool's templates expect it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache

from tunebench_api.v1alpha1 import Tool
from tunebench_jobs.diffs import (
    Budget,
    DiffFacts,
    DiffOptions,
    DiffView,
    render_diff,
    strip_line_numbers,
)
from tunebench_jobs.prompts.prompt_set import Messages, PromptSet
from tunebench_jobs.rows import PullRequest


@dataclass(frozen=True)
class ToolDiffs:
    """The variables that show the diff, and what they do not show of it."""

    variables: Mapping[str, str]
    facts: DiffFacts


def build_tool_diffs(
    pr: PullRequest, tool: Tool, prompt_set: PromptSet, render: Callable[[], Messages]
) -> ToolDiffs:
    """Build the diff of one task.

    In 2024 only Improve sees line numbers, and no added context. HEAD shows numbers to Review; its
    Improve sees the hunks in one piece, or split and without numbers, whichever the system prompt
    explains.

    Args:
        pr: The pull request.
        tool: What the model is asked to do.
        prompt_set: Its format and settings decide.
        render: Renders the prompt without a diff; asked only where a limit must be kept.
    """
    options = prompt_set.diff
    view = DiffView(
        numbered=tool is Tool.IMPROVE or (tool is Tool.REVIEW and options.style == "HEAD"),
        context=tool is not Tool.IMPROVE or options.style == "HEAD",
        chunked=tool is Tool.IMPROVE,
        options=options,
        extensions=prompt_set.extensions,
    )

    @cache
    def build_prompt() -> tuple[str, str]:
        messages = render()
        return messages.system, messages.user

    budget = Budget(_find_limit(tool, options), build_prompt, options.style)
    diff = render_diff(pr.files, pr.languages, view, budget)
    if tool is not Tool.IMPROVE or options.style == "2024":
        return ToolDiffs({"diff": diff.text, "diff_no_line_numbers": ""}, diff.facts)
    if prompt_set.decouples_hunks:
        plain = replace(diff, text=strip_line_numbers(diff.text))
    else:
        plain = render_diff(pr.files, pr.languages, replace(view, numbered=False), budget)
    return ToolDiffs({"diff": diff.text, "diff_no_line_numbers": plain.text}, plain.facts)


def _find_limit(tool: Tool, options: DiffOptions) -> int:
    limits = [options.max_model_tokens]
    if tool is Tool.IMPROVE and options.style == "2024":
        limits.append(options.max_context_tokens)
    return min((limit for limit in limits if limit), default=0)
