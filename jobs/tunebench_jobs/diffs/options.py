"""Whose layout a diff has, and how much of it is shown: PR-Agent's settings under their names."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from tunebench_jobs.tokens import Encoding

PromptFormat = Literal["2024", "HEAD"]

_Lines = Annotated[int, Field(ge=0, le=10)]
_Tokens = Annotated[int, Field(ge=0, le=10_000_000)]


class _Options(BaseModel):
    """What both generations have."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    # Of a whole prompt with its answer; 0 is no limit, so that no diff is ever cut.
    max_model_tokens: _Tokens = 32_000
    # What becomes of a file that is too long for a request of Improve by itself.
    large_patch_policy: Literal["clip", "skip"] = "clip"
    # Of the description, and of the commit messages; 0 is no limit.
    max_description_tokens: _Tokens = 500
    max_commits_tokens: _Tokens = 500
    # PR-Agent shows no file that is seldom code or vendored, and the main language's files first.
    # Without it every file is shown, in the row's order.
    select_files: bool = True


class Options2024(_Options):
    """Settings of June 2024 with their defaults."""

    style: Literal["2024"] = "2024"
    # Around each hunk, of Describe and Review.
    patch_extra_lines: Annotated[int, Field(ge=0, le=100)] = 1
    # Of a prompt of Improve, where that is less than max_model_tokens; 0 is no limit.
    max_context_tokens: _Tokens = 8_000


class OptionsHead(_Options):
    """Settings of HEAD with their defaults."""

    style: Literal["HEAD"] = "HEAD"
    patch_extra_lines_before: _Lines = 5
    patch_extra_lines_after: _Lines = 1
    allow_dynamic_context: bool = True
    max_extra_lines_before_dynamic_context: _Lines = 10
    patch_extension_skip_types: tuple[str, ...] = (".md", ".txt")


DiffOptions = Options2024 | OptionsHead


def find_encoding(style: PromptFormat) -> Encoding:
    """Return the tokenizer that PR-Agent counts with."""
    return "cl100k_base" if style == "2024" else "o200k_base"


def build_options(style: PromptFormat) -> DiffOptions:
    """Return PR-Agent's own settings of a generation."""
    return Options2024() if style == "2024" else OptionsHead()
