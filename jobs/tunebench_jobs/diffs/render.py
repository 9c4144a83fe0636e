"""The diff of a pull request, from its files to the text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from tunebench_jobs.diffs.blocks import add_context, build_block, complete_patch
from tunebench_jobs.diffs.budget import Budget, DiffFacts, RenderedDiff, list_paths
from tunebench_jobs.diffs.chunks import chunk_diff
from tunebench_jobs.diffs.compress import compress_diff
from tunebench_jobs.diffs.languages import LANGUAGE_EXTENSIONS, Extensions
from tunebench_jobs.diffs.options import DiffOptions
from tunebench_jobs.diffs.order import group_files, select_files
from tunebench_jobs.rows import ChangedFile


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
    seen = {file.path for group in groups for file in group}
    if budget.holds(blocks):
        rendered = RenderedDiff("\n".join(blocks), DiffFacts())
    elif view.chunked:
        rendered = chunk_diff(built, budget, numbered=view.numbered, options=view.options)
    else:
        rendered = compress_diff(built, budget, numbered=view.numbered)
    shown = seen.difference(rendered.facts.left_out)
    left_out = list_paths(file for file in files if file.path not in shown)
    return replace(rendered, facts=replace(rendered.facts, left_out=left_out))


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
