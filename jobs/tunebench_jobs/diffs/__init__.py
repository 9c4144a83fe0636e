"""The diff of a pull request as prompts show it: PR-Agent's layouts of 2024 and of HEAD.

The layouts keep the quirks of the originals, because models were trained on that text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from tunebench_jobs.diffs.blocks import add_context, build_block, complete_patch
from tunebench_jobs.diffs.budget import (
    Budget,
    DiffFacts,
    RenderedDiff,
    chunk_diff,
    compress_diff,
)
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
from tunebench_jobs.diffs.order import group_files, select_files
from tunebench_jobs.rows import ChangedFile

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


@dataclass(frozen=True)
class DiffView:
    """How one tool looks at a diff.

    Attributes:
        numbered: Hunks are split into new lines with their numbers, and old lines.
        context: Lines of the file are added around hunks.
        chunked: A diff over the budget is spread over requests, rather than compressed into one.
        options: Whose layout, and how much of it.
        extensions: The extensions of each language, for the order of the files.
    """

    numbered: bool
    context: bool
    chunked: bool
    options: DiffOptions
    extensions: Extensions = field(default_factory=lambda: LANGUAGE_EXTENSIONS)


def render_diff(
    files: Sequence[ChangedFile],
    languages: Mapping[str, int],
    view: DiffView,
    budget: Budget,
) -> RenderedDiff:
    """Render the changed files; those without a patch (binary, mode only) are left out.

    Args:
        files: In the order of the pull request.
        languages: Bytes of each language in the repository, which decide the order; may be empty.
        view: How the tool looks at it.
        budget: What a prompt may have.
    """
    groups = _group_files(files, languages, view)
    built = [[(file, _build_block(file, view)) for file in group] for group in groups]
    blocks = [block for group in built for _, block in group]
    unseen = {file.path for file in files}.difference(file.path for g in groups for file in g)
    if budget.holds(blocks):
        rendered = RenderedDiff("\n".join(blocks), DiffFacts())
    elif view.chunked:
        rendered = chunk_diff(built, budget, numbered=view.numbered, options=view.options)
    else:
        rendered = compress_diff(built, budget, numbered=view.numbered)
    left_out = (*rendered.facts.left_out, *unseen)
    ranked = tuple(dict.fromkeys(file.path for file in files if file.path in left_out))
    return replace(rendered, facts=replace(rendered.facts, left_out=ranked))


def _group_files(
    files: Sequence[ChangedFile], languages: Mapping[str, int], view: DiffView
) -> list[list[ChangedFile]]:
    options = view.options
    if not options.select_files:
        return [[file for file in files if file.patch]]
    selected = [complete_patch(file, options.style) for file in select_files(files, options)]
    shown = [file for file in selected if file.patch]
    return group_files(shown, languages, view.extensions) if languages else [shown]


def _build_block(file: ChangedFile, view: DiffView) -> str:
    patch = add_context(file, view.options) if view.context else file.patch
    return build_block(file, patch, numbered=view.numbered, style=view.options.style)
