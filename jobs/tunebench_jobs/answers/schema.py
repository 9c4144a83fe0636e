"""The answers that the tools ask for: PR-Agent's schema of 2024, with the keys of HEAD allowed.

Required is what PR-Agent needs to show an answer in either version. Other known keys must have
the right type where they are present, and unknown keys are kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import (
    AliasChoices,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    model_validator,
)

from tunebench_api.v1alpha1 import Tool
from tunebench_jobs.answers.block_scalars import KnownKeys

EFFORT = "estimated_effort_to_review_[1-5]"


def _is_lenient(info: ValidationInfo) -> bool:
    return bool((info.context or {}).get("lenient"))


def _to_text(value: object, info: ValidationInfo) -> object:
    """Read numbers and nothing as text; if lenient, a list of bullet points too."""
    if value is None:
        return ""
    if isinstance(value, int):
        return str(value)
    if _is_lenient(info) and isinstance(value, list) and all(isinstance(v, str) for v in value):
        return "\n".join(f"- {entry}" for entry in value)
    return value


def _to_list(value: object) -> object:
    if value is None:
        return []
    return [value] if isinstance(value, str) else value


def _drop_broken_entries(
    value: object, handler: ValidatorFunctionWrapHandler, info: ValidationInfo
) -> object:
    """If lenient, keep the entries of a list that hold to the schema, unless none does."""
    try:
        return handler(value)
    except ValidationError:
        if not (_is_lenient(info) and isinstance(value, list)):
            raise
        kept = [entry for entry in value if _holds([entry], handler)]
        if not kept:
            raise
        return handler(kept)


def _holds(value: object, handler: ValidatorFunctionWrapHandler) -> bool:
    try:
        handler(value)
    except ValidationError:
        return False
    return True


_Text = Annotated[str, BeforeValidator(_to_text)]
_Words = Annotated[
    str, StringConstraints(min_length=1, strip_whitespace=True), BeforeValidator(_to_text)
]
_Names = Annotated[list[_Words], BeforeValidator(_to_list)]
_Salvaged = WrapValidator(_drop_broken_entries)


class _Part(BaseModel):
    """Keeps keys that it does not know."""

    model_config = ConfigDict(extra="allow", frozen=True)


class ChangedFileNote(_Part):
    """What Describe says about one file."""

    filename: _Words
    language: _Text = ""
    changes_summary: _Text = ""
    changes_title: _Words
    label: _Text


class DescribeAnswer(_Part):
    """Answer to Describe."""

    type: Annotated[_Names, Field(min_length=1)]
    pr_files: Annotated[list[ChangedFileNote] | None, _Salvaged] = None
    description: _Words
    title: _Words
    labels: _Names = []
    changes_diagram: _Text = ""

    @model_validator(mode="after")
    def _require_files(self, info: ValidationInfo) -> DescribeAnswer:
        if (info.context or {}).get("semantic_files") and self.pr_files is None:
            raise ValueError("`pr_files` must be given")
        return self


class KeyIssue(_Part):
    """One finding of HEAD's Review."""

    relevant_file: _Words
    issue_header: _Text = ""
    issue_content: _Words
    start_line: int | None = None
    end_line: int | None = None


class SmallerPullRequest(_Part):
    """One topic that Review would split off."""

    relevant_files: _Names = []
    title: _Words


class ReviewBody(_Part):
    """The mapping below `review`."""

    effort: _Text = Field(
        default="",
        validation_alias=AliasChoices(EFFORT, "estimated_effort_to_review"),
        serialization_alias=EFFORT,
    )
    score: _Text = ""
    relevant_tests: _Text = ""
    insights_from_user_answers: _Text = ""
    possible_issues: _Words | None = None
    key_issues_to_review: Annotated[list[KeyIssue] | None, _Salvaged] = None
    security_concerns: _Words | None = None
    can_be_split: Annotated[list[SmallerPullRequest], _Salvaged, BeforeValidator(_to_list)] = []

    @model_validator(mode="after")
    def _require_findings(self) -> ReviewBody:
        if self.key_issues_to_review is not None:
            return self
        if self.possible_issues is None or self.security_concerns is None:
            raise ValueError("`possible_issues` and `security_concerns` must be given")
        return self


class CodeFeedback(_Part):
    """One suggestion of Review."""

    relevant_file: _Words
    language: _Text = ""
    suggestion: _Words
    relevant_line: _Text = ""


class ReviewAnswer(_Part):
    """Answer to Review."""

    review: ReviewBody
    code_feedback: Annotated[list[CodeFeedback], _Salvaged, BeforeValidator(_to_list)] = []


class CodeSuggestion(_Part):
    """One suggestion of Improve; HEAD has no line numbers."""

    relevant_file: _Words
    language: _Text = ""
    suggestion_content: _Words
    existing_code: _Text
    improved_code: _Text
    one_sentence_summary: _Words
    relevant_lines_start: int | None = None
    relevant_lines_end: int | None = None
    label: _Words


class ImproveAnswer(_Part):
    """Answer to Improve; an empty list is an answer."""

    code_suggestions: Annotated[list[CodeSuggestion], _Salvaged]

    @model_validator(mode="before")
    @classmethod
    def _wrap_list(cls, value: object, info: ValidationInfo) -> object:
        return (
            {"code_suggestions": value} if isinstance(value, list) and _is_lenient(info) else value
        )


_ANSWERS: Mapping[Tool, type[_Part]] = {
    Tool.DESCRIBE: DescribeAnswer,
    Tool.REVIEW: ReviewAnswer,
    Tool.IMPROVE: ImproveAnswer,
}
_LISTS = {"type", "pr_files", "labels", "review", "code_feedback", "code_suggestions"} | {
    "can_be_split",
    "relevant_files",
    "key_issues_to_review",
    "ticket_compliance_check",
    "contribution_time_cost_estimate",
    "todo_sections",
}
_NUMBERS = {"relevant_lines_start", "relevant_lines_end", "start_line", "end_line"}
_TEXTS: Mapping[Tool, frozenset[str]] = {
    Tool.DESCRIBE: frozenset(
        {"filename", "language", "changes_summary", "changes_title", "label"}
        | {"description", "title", "changes_diagram"}
    ),
    Tool.REVIEW: frozenset(
        {EFFORT, "estimated_effort_to_review", "score", "relevant_tests", "possible_issues"}
        | {"insights_from_user_answers", "security_concerns", "title", "issue_header"}
        | {"issue_content", "relevant_file", "language", "suggestion", "relevant_line"}
    ),
    Tool.IMPROVE: frozenset(
        {"relevant_file", "language", "suggestion_content", "existing_code", "improved_code"}
        | {"one_sentence_summary", "label"}
    ),
}


def known_keys(tool: Tool) -> KnownKeys:
    """Return the keys by which a broken answer of a tool can be taken apart."""
    return KnownKeys(texts=_TEXTS[tool], others=frozenset(_LISTS | _NUMBERS))


def parse_schema(
    tool: Tool, value: object, *, semantic_files: bool, lenient: bool
) -> tuple[dict[str, Any] | None, str | None]:
    """Return the answer with its values in the schema's types, or what is wrong with it."""
    context = {"semantic_files": semantic_files, "lenient": lenient}
    try:
        answer = _ANSWERS[tool].model_validate(value, context=context)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        message = first["msg"].removeprefix("Value error, ")
        return None, f"`{place}`: {message}" if place else message
    return answer.model_dump(by_alias=True, exclude_unset=True), None
