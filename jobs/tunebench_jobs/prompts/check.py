"""What a user learns about a prompt set before a run: that it renders, and how long it is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tunebench_api.v1alpha1 import Tool
from tunebench_jobs.diffs import PromptFormat
from tunebench_jobs.prompts.load import load_prompt_set
from tunebench_jobs.prompts.prompt_set import PromptSet
from tunebench_jobs.prompts.variables import Value, build_variables
from tunebench_jobs.rows import ChangedFile, PullRequest

_PULL_REQUEST = PullRequest(
    id="acme/inventory#12",
    repository="acme/inventory",
    title="Count reserved items as taken",
    description="Stock that a cart reserves must not be sold twice.",
    branch="fix/reserved-stock",
    language="Python",
    commits=("Count reserved items", "Add a test"),
    files=(
        ChangedFile(
            path="inventory/stock.py",
            patch="@@ -10,4 +10,4 @@ class Stock:\n     def free(self, item):\n"
            "-        return self.total[item]\n"
            "+        return self.total[item] - self.reserved[item]\n"
            " \n     def total(self):",
        ),
        ChangedFile(
            path="tests/test_stock.py",
            status="added",
            patch="@@ -0,0 +1,2 @@\n+def test_free():\n+    assert stock.free('nut') == 3",
        ),
    ),
)


@dataclass(frozen=True)
class TextReport:
    """How long a prompt is, in characters, and which variables it reads.

    `scaffold_characters` is what remains when the pull request's own text is blank.
    """

    characters: int
    scaffold_characters: int
    variables: tuple[str, ...]


@dataclass(frozen=True)
class PromptSetReport:
    """A prompt set that renders, in figures.

    `evaluate` is None where it cannot ask a judge of completions, `quality` likewise of answers.
    """

    name: str
    sha256: str
    licence: str | None
    format: PromptFormat
    # Settings for diffs, by PR-Agent's names.
    diff: dict[str, Any]
    tools: dict[Tool, TextReport]
    evaluate: TextReport | None
    quality: TextReport | None


def check_prompt_set(directory: Path, overrides: dict[str, Value] | None = None) -> PromptSetReport:
    """Load a prompt set and render all of it for a made-up pull request.

    Raises:
        InputError: The set does not load or render; the message names file, table and key.
    """
    overrides = overrides or {}
    prompt_set = load_prompt_set(directory, extra_variables=overrides)
    return PromptSetReport(
        name=prompt_set.name,
        sha256=prompt_set.sha256,
        licence=prompt_set.licence,
        format=prompt_set.format,
        diff=prompt_set.diff.model_dump(exclude={"style"}),
        tools={tool: _check_tool(prompt_set, tool, overrides) for tool in prompt_set.tools},
        evaluate=_check_evaluate(prompt_set) if prompt_set.has_evaluate else None,
        quality=_check_quality(prompt_set) if prompt_set.has_quality else None,
    )


def _check_tool(prompt_set: PromptSet, tool: Tool, overrides: dict[str, Value]) -> TextReport:
    variables = build_variables(_PULL_REQUEST, tool, prompt_set, overrides)
    content = dict.fromkeys(
        ("title", "description", "branch", "commit_messages_str", "diff", "diff_no_line_numbers"),
        "",
    )
    full, blank = (prompt_set.render(tool, v) for v in (variables, {**variables, **content}))
    return TextReport(
        characters=len(full.system) + len(full.user),
        scaffold_characters=len(blank.system) + len(blank.user),
        variables=tuple(sorted(prompt_set.tool_variables(tool))),
    )


def _check_evaluate(prompt_set: PromptSet) -> TextReport:
    return TextReport(
        characters=len(prompt_set.render_evaluate("a task", "an answer", "another answer")),
        scaffold_characters=len(prompt_set.render_evaluate("", "", "")),
        variables=("pr_response1", "pr_response2", "pr_task"),
    )


def _check_quality(prompt_set: PromptSet) -> TextReport:
    return TextReport(
        characters=len(prompt_set.render_quality("a task", "an answer")),
        scaffold_characters=len(prompt_set.render_quality("", "")),
        variables=("pr_answer", "pr_task"),
    )
