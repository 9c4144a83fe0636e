"""From a completion to an answer, with a level that says how much repair that took."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tunebench_api.v1alpha1 import Tool
from tunebench_jobs.answers.schema import EFFORT, known_keys, parse_schema
from tunebench_jobs.answers.tolerant_yaml import Level, iter_readings

# The order in which `answer_text` reads an answer. What is not named here is no content:
# languages, line numbers, diagrams, keys that nobody asked for.
_CONTENT_KEYS = (
    "type",
    "title",
    "description",
    "labels",
    "pr_files",
    "filename",
    "changes_title",
    "changes_summary",
    "review",
    EFFORT,
    "score",
    "relevant_tests",
    "insights_from_user_answers",
    "possible_issues",
    "key_issues_to_review",
    "security_concerns",
    "can_be_split",
    "relevant_files",
    "code_feedback",
    "code_suggestions",
    "relevant_file",
    "issue_header",
    "issue_content",
    "suggestion",
    "relevant_line",
    "one_sentence_summary",
    "suggestion_content",
    "existing_code",
    "improved_code",
    "label",
)


@dataclass(frozen=True)
class ParsedAnswer:
    """An answer as far as it could be read.

    strict: YAML that holds to the schema. fixed: that, after repairs. invalid: neither; `problem`
    says what is wrong with the text as it stands.
    """

    level: Level
    data: Mapping[str, Any] | None
    problem: str | None


def parse_answer(tool: Tool, text: str, *, semantic_files: bool = True) -> ParsedAnswer:
    """Read a completion; never raises.

    The literal reading goes before repaired ones. Of each, entries of lists that break the schema
    may be dropped: what a model wrote as YAML is closer to its answer than text that was moved.

    Args:
        tool: What was asked.
        text: The untrusted completion; it may open or close a fence.
        semantic_files: Whether Describe was asked for `pr_files`, so that they are required.
    """
    problem: str | None = None
    for reading in iter_readings(text, known_keys(tool)):
        if reading.loaded.problem is not None:
            problem = problem or reading.loaded.problem
            continue
        for lenient in (False, True):
            data, wrong = parse_schema(
                tool, reading.loaded.value, semantic_files=semantic_files, lenient=lenient
            )
            if data is not None:
                return ParsedAnswer("fixed" if lenient else reading.level, data, problem)
            problem = problem or wrong
    return ParsedAnswer("invalid", None, problem)


def answer_text(tool: Tool, data: Mapping[str, Any]) -> str:
    """Return the content of an answer as plain text: its values only, in a fixed order.

    Args:
        tool: What was asked; an answer to another tool has no content.
        data: The `data` of a parsed answer.
    """
    top = {
        Tool.DESCRIBE: ("type", "title", "description", "labels", "pr_files"),
        Tool.REVIEW: ("review", "code_feedback"),
        Tool.IMPROVE: ("code_suggestions",),
    }[tool]
    return "\n".join(part for key in top for part in _contents(data.get(key)))


def _contents(value: object) -> Iterator[str]:
    if isinstance(value, Mapping):
        for key in _CONTENT_KEYS:
            yield from _contents(value.get(key))
    elif isinstance(value, list | tuple):
        for entry in value:
            yield from _contents(entry)
    elif isinstance(value, str | int) and str(value).strip():
        yield str(value).strip()
