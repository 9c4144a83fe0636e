"""Strangers' words in Markdown: shown as they are, with no power over the page."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

_LONGEST = 300
# Any of these may be escaped with a backslash in CommonMark, also inside of tables.
# A full stop after `www` and a colon before `//` would make links.
_MARKUP = re.compile(r"[\\`*_\[\]#|~$@]|:(?=//)|(?<=[wW])\.")
_HTML = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}


def show(text: str) -> str:
    """Return plain text for one line of Markdown."""
    marked = _MARKUP.sub(lambda match: f"\\{match[0]}", _flatten(text))
    return "".join(_HTML.get(character, character) for character in marked)


def show_in_code(text: str) -> str:
    """Return plain text for a code span in a table, in which nothing but its end has power."""
    return _flatten(text).replace("`", "'").replace("|", "\\|")


def build_table(head: Sequence[str], rows: Iterable[Sequence[str | int]]) -> str:
    """Build a table; texts are Markdown already, numbers stand on the right."""
    listed = list(rows)
    is_number = [
        all(isinstance(row[place], int) for row in listed) and bool(listed)
        for place in range(len(head))
    ]
    lines = [head, ["---:" if number else "---" for number in is_number]]
    lines += [[_show_cell(cell) for cell in row] for row in listed]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def build_code(text: str, language: str) -> str:
    """Build a block of code, whatever rows of backticks it holds."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{text.rstrip()}\n{fence}"


def _show_cell(cell: str | int) -> str:
    return f"{cell:,}" if isinstance(cell, int) else cell


def _flatten(text: str) -> str:
    """Return one line of bounded length that shows what cannot be seen, and steers no terminal."""
    line = "".join(map(_show_character, " ".join(text.split())))
    return line if len(line) <= _LONGEST else f"{line[: _LONGEST - 1]}…"


def _show_character(character: str) -> str:
    """Show what cannot be seen, such as what turns the direction of writing."""
    return character if character.isprintable() else f"\\u{ord(character):04x}"
