"""The diff of a pull request as prompts show it: PR-Agent's layouts of 2024 and of HEAD.

The layouts keep the quirks of the originals, because models were trained on that text.
"""

from tunebench_jobs.diffs.budget import Budget, DiffFacts, RenderedDiff
from tunebench_jobs.diffs.clipping import clip_text
from tunebench_jobs.diffs.languages import LANGUAGE_EXTENSIONS, Extensions, build_extensions
from tunebench_jobs.diffs.numbered import strip_line_numbers
from tunebench_jobs.diffs.options import (
    DiffOptions,
    Options2024,
    OptionsHead,
    PromptFormat,
    build_options,
    find_encoding,
)
from tunebench_jobs.diffs.order import select_files
from tunebench_jobs.diffs.render import DiffView, render_diff

__all__ = [
    "LANGUAGE_EXTENSIONS",
    "Budget",
    "DiffFacts",
    "DiffOptions",
    "DiffView",
    "Extensions",
    "Options2024",
    "OptionsHead",
    "PromptFormat",
    "RenderedDiff",
    "build_extensions",
    "build_options",
    "clip_text",
    "find_encoding",
    "render_diff",
    "select_files",
    "strip_line_numbers",
]
