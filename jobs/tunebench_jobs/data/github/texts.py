"""Whole files out of patches: one side of a change tells the other, so one request is enough."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

_HUNK = re.compile(r"^@@ -(\d+)(?:,(\d+))? \+(\d+)(?:,(\d+))? @@")
# Only `\n` ends a line; the others are part of it.
_LINES = re.compile(r"[^\n]*\n|[^\n]+")


class _Hunk(NamedTuple):
    # Lines before it, in the old file and in the new one.
    old_start: int
    new_start: int
    # Mark and text of each line.
    lines: list[tuple[str, str]]


def build_old_text(new_text: str, patch: str) -> str | None:
    """Return the file before a change; None where the patch is not of this file."""
    return _apply(new_text, patch, have="+", make="-")


def build_new_text(old_text: str, patch: str) -> str | None:
    """Return the file after a change; None where the patch is not of this file."""
    return _apply(old_text, patch, have="-", make="+")


def _apply(text: str, patch: str, *, have: str, make: str) -> str | None:
    there = _LINES.findall(text)
    made: list[str] = []
    place = 0
    for hunk in _parse_hunks(patch):
        start = hunk.new_start if have == "+" else hunk.old_start
        if not place <= start <= len(there):
            return None
        made += there[place:start]
        place = start
        for mark, line in hunk.lines:
            if mark in {have, " "}:
                if there[place : place + 1] != [line]:
                    return None
                place += 1
            if mark in {make, " "}:
                made.append(line)
    return "".join([*made, *there[place:]])


def _parse_hunks(patch: str) -> Iterator[_Hunk]:
    hunk: _Hunk | None = None
    for line in patch.split("\n"):
        if header := _HUNK.match(line):
            if hunk:
                yield hunk
            hunk = _Hunk(_find_start(header[1], header[2]), _find_start(header[3], header[4]), [])
        elif hunk and line.startswith("\\") and hunk.lines:
            mark, text = hunk.lines[-1]
            hunk.lines[-1] = (mark, text.removesuffix("\n"))
        elif hunk:
            hunk.lines.append((line[:1] or " ", f"{line[1:]}\n"))
    if hunk:
        yield hunk


def _find_start(first: str, count: str | None) -> int:
    """Return how many lines stand before a hunk; one of no lines names the line before it."""
    return int(first) if count == "0" else max(int(first) - 1, 0)
