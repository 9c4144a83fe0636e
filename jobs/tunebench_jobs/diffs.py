"""The diff of a pull request as prompts show it: PR-Agent's layouts of 2024 and of HEAD.

The layouts keep the quirks of the originals, because models were trained on that text. Hunks are
shown as the row has them: no context is added, and nothing is cut to a token budget.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from tunebench_jobs.rows import ChangedFile

PromptFormat = Literal["2024", "HEAD"]

_HUNK_HEADER = re.compile(r"^@@ -\d+(?:,\d+)? \+(?P<start>\d+)(?:,\d+)? @@")
_NO_NEWLINE = "no newline at end of file"
_LINE_NUMBER = re.compile(r"^\d+(?:\D|$)")


@dataclass(frozen=True)
class _Hunk:
    """One hunk, split into the lines after and before the change."""

    header: str
    start: int
    new: tuple[str, ...]
    old: tuple[str, ...]


def build_diff(files: Iterable[ChangedFile], *, numbered: bool, style: PromptFormat) -> str:
    """Build the text of all changed files; files without a patch (binary, mode only) are left out.

    Args:
        files: The changed files, in the order of the pull request.
        numbered: Whether hunks are split into new (with line numbers) and old lines.
        style: Whose layout to follow.
    """
    build_block = _build_numbered_block if numbered else _build_plain_block
    return "\n".join(build_block(file, style) for file in files if file.patch)


def strip_line_numbers(numbered_diff: str) -> str:
    """Return a numbered diff without its line numbers (HEAD's `diff_no_line_numbers`)."""
    return "\n".join(_LINE_NUMBER.sub("", line) for line in numbered_diff.split("\n"))


def _build_plain_block(file: ChangedFile, style: PromptFormat) -> str:
    if style == "2024":
        return f"\n\n## {file.path}\n\n{file.patch}\n"
    spaced = file.patch.replace("\n@@ ", "\n\n@@ ").strip()
    return f"\n\n## File: '{file.path.strip()}'\n\n{spaced}\n"


def _build_numbered_block(file: ChangedFile, style: PromptFormat) -> str:
    path = file.path.strip()
    if style == "HEAD" and file.status == "removed":
        return f"\n\n## File '{path}' was deleted\n"
    word = "file" if style == "2024" else "File"
    text = f"\n\n## {word}: '{path}'\n"
    for hunk in _parse_hunks(file.patch, style):
        text = f"{text}\n{hunk.header}\n"
        for marker, lines in _build_halves(hunk, style):
            text = f"{text.rstrip()}\n{marker}\n" + "".join(f"{line}\n" for line in lines)
    return text.rstrip()


def _build_halves(hunk: _Hunk, style: PromptFormat) -> Iterator[tuple[str, list[str]]]:
    """Yield the marked halves of a hunk; HEAD shows only hunks that change something."""
    removes = any(line.startswith("-") for line in hunk.old)
    adds = any(line.startswith("+") for line in hunk.new)
    if style == "2024" or adds or removes:
        yield "__new hunk__", [f"{hunk.start + i} {line}" for i, line in enumerate(hunk.new)]
    if removes or (style == "2024" and hunk.old):
        yield "__old hunk__", list(hunk.old)


def _parse_hunks(patch: str, style: PromptFormat) -> Iterator[_Hunk]:
    """Split a patch at its headers; text before the first header (a binary's note) is left out.

    A last hunk without added and context lines is not shown, as in the originals. Earlier ones
    are shown in HEAD's layout; in that of 2024, their removed lines move on into the next hunk.
    """
    header: str | None = None
    start = 0
    new: list[str] = []
    old: list[str] = []
    lines = patch.splitlines()
    for number, line in enumerate(lines):
        if _NO_NEWLINE in line.lower():
            continue
        match = _HUNK_HEADER.match(line)
        if match:
            if header is not None and (new or (old and style == "HEAD")):
                yield _Hunk(header, start, tuple(new), tuple(old))
                new, old = [], []
            header, start = line, int(match["start"])
        elif header is not None and not _is_separator(lines, number, style):
            if not line.startswith("-"):
                new.append(line)
            if not line.startswith("+"):
                old.append(line)
    if header is not None and new:
        yield _Hunk(header, start, tuple(new), tuple(old))


def _is_separator(lines: list[str], number: int, style: PromptFormat) -> bool:
    """Whether an empty line only parts two hunks; HEAD skips those."""
    if style == "2024" or lines[number]:
        return False
    return number + 1 == len(lines) or lines[number + 1].startswith("@@")
