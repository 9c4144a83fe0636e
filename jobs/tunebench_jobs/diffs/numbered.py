"""Hunks split into new lines, with their numbers, and old lines."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from tunebench_jobs.diffs.hunks import Header, parse_header
from tunebench_jobs.diffs.options import PromptFormat

_NO_NEWLINE = "no newline at end of file"
_LINE_NUMBER = re.compile(r"^\d+(?:\D|$)")


@dataclass
class _Hunk:
    """One hunk, or what stands before the first, in its lines after and before the change."""

    # The header as it is shown, and the number of the first new line.
    shown: str = ""
    start: int = -1
    new: list[str] = field(default_factory=list)
    old: list[str] = field(default_factory=list)


def build_numbered_hunks(heading: str, patch: str, style: PromptFormat) -> str:
    """Build the text of all hunks of a patch below the heading that names the file.

    The markers eat the blank lines before them, as in the originals.
    """
    pieces = [heading]
    for hunk in _parse_hunks(patch, style):
        if hunk.shown:
            pieces.append(f"\n{hunk.shown}\n")
        for marker, lines in _build_halves(hunk, style):
            _strip_end(pieces)
            pieces.append(f"\n{marker}\n")
            pieces += [f"{line}\n" for line in lines]
    _strip_end(pieces)
    return "".join(pieces)


def _strip_end(pieces: list[str]) -> None:
    """Strip the text that pieces make; one after the other, or many hunks would take for ever."""
    while pieces:
        last = pieces.pop().rstrip()
        if last:
            pieces.append(last)
            return


def strip_line_numbers(numbered_diff: str) -> str:
    """Return a numbered diff without its line numbers (HEAD's `diff_no_line_numbers`)."""
    return "\n".join(_LINE_NUMBER.sub("", line) for line in numbered_diff.split("\n"))


def _build_halves(hunk: _Hunk, style: PromptFormat) -> Iterator[tuple[str, list[str]]]:
    """Yield the marked halves of a hunk; HEAD shows only hunks that change something."""
    removes = any(line.startswith("-") for line in hunk.old)
    adds = any(line.startswith("+") for line in hunk.new)
    if style == "2024" or adds or removes:
        yield "__new hunk__", [f"{hunk.start + i} {line}" for i, line in enumerate(hunk.new)]
    if removes or (style == "2024" and hunk.old):
        yield "__old hunk__", hunk.old


def _parse_hunks(patch: str, style: PromptFormat) -> Iterator[_Hunk]:
    """Split a patch at its headers.

    A last hunk without added and context lines is not shown, as in the originals. Earlier ones
    are shown in HEAD's layout; in that of 2024, their removed lines move on into the next hunk.
    """
    hunk = _Hunk()
    header: Header | None = None
    lines = patch.splitlines()
    if _NO_NEWLINE in patch.lower():
        lines = [line for line in lines if _NO_NEWLINE not in line.lower()]
    for number, line in enumerate(lines):
        following = parse_header(line) if line.startswith("@@") else None
        if following:
            if hunk.new or (hunk.old and style == "HEAD"):
                yield hunk
                hunk = _Hunk()
            header = following
            hunk.shown, hunk.start = line, header.start2
        elif not _is_separator(lines, number, style):
            if not line.startswith("-"):
                hunk.new.append(line)
            if not line.startswith("+"):
                hunk.old.append(line)
    if header is not None and hunk.new:
        yield hunk


def _is_separator(lines: list[str], number: int, style: PromptFormat) -> bool:
    """Whether an empty line only parts two hunks; HEAD skips those."""
    if style == "2024" or lines[number]:
        return False
    return number + 1 == len(lines) or lines[number + 1].startswith("@@")
