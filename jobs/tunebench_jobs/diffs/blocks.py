"""What is shown of one file."""

from __future__ import annotations

import difflib

from tunebench_jobs.diffs.extend import extend_patch
from tunebench_jobs.diffs.extend_head import extend_patch_head
from tunebench_jobs.diffs.numbered import build_numbered_hunks
from tunebench_jobs.diffs.options import DiffOptions, PromptFormat
from tunebench_jobs.rows import ChangedFile


def build_block(file: ChangedFile, patch: str, *, numbered: bool, style: PromptFormat) -> str:
    """Build the text of one file.

    Args:
        file: Its path and status are shown.
        patch: Its hunks, with or without added context.
        numbered: Whether hunks are split into new (with line numbers) and old lines.
        style: Whose layout to follow.
    """
    path = file.path.strip()
    if numbered:
        if style == "HEAD" and file.status == "removed":
            return f"\n\n## File '{path}' was deleted\n"
        word = "file" if style == "2024" else "File"
        return build_numbered_hunks(f"\n\n## {word}: '{path}'\n", patch, style)
    if style == "2024":
        return f"\n\n## {file.path}\n\n{patch}\n"
    spaced = patch.replace("\n@@ ", "\n\n@@ ").strip()
    return f"\n\n## File: '{path}'\n\n{spaced}\n"


def build_compressed_block(
    file: ChangedFile, patch: str, *, numbered: bool, style: PromptFormat
) -> str:
    """Build the text of one file in a diff that is over its budget; a quote of 2024 went astray."""
    if numbered:
        return f"\n\n{build_block(file, patch, numbered=True, style=style).strip()}"
    path, patch = file.path.strip(), patch.strip()
    if style == "2024":
        return f"\n\n## file: '{path}\n\n{patch}\n'"
    return f"\n\n## File: '{path}'\n\n{patch}\n"


def add_context(file: ChangedFile, options: DiffOptions) -> str:
    """Return a file's patch with lines of context around its hunks, where the row has the file."""
    # PR-Agent looks for the old text under the new name.
    is_new_name = file.status in {"added", "renamed"}
    old_text = "" if is_new_name else file.old_text
    if old_text is None:
        return file.patch
    if options.style == "2024":
        return extend_patch(file.patch, old_text, options.patch_extra_lines)
    if not old_text or file.path.endswith(options.patch_extension_skip_types):
        return file.patch
    return extend_patch_head(file.patch, old_text, file.new_text or "", options)


def complete_patch(file: ChangedFile, style: PromptFormat) -> ChangedFile:
    """Give a file that was only renamed the patch that PR-Agent makes: all of it, as if added.

    GitHub sends none, and PR-Agent compares with the old text under the new name, which is empty.
    """
    if file.patch or file.status != "renamed" or not file.new_text:
        return file
    old, new = "", file.new_text
    if style == "HEAD":
        old, new = "\n", f"{new.rstrip()}\n"
    lines = difflib.unified_diff(old.splitlines(keepends=True), new.splitlines(keepends=True))
    return file.model_copy(update={"patch": "".join(lines)})
