"""Make text harmless that people and models wrote, before a judge reads it.

A completion may hold the lines that end a completion in the judge's prompt, or a ready-made
verdict. Both stay readable and lose their meaning by a backslash. The escape is the same for both
completions and in both orders.
"""

from __future__ import annotations

import re
from collections.abc import Collection

# Lines that begin or end a part of a judge's prompt, however they are spelled in detail.
_MARKER = re.compile(
    r"(?<![*=#<-])(?=[*=#<-]{3,}\s*(?:start|begin|end|answer|response|task)\b)", re.IGNORECASE
)
# `which_response_was_better`, `score_response1`, `score_response2`
_KEY = re.compile("(which|score)(_response)", re.IGNORECASE)


def escape_untrusted(text: str, delimiters: Collection[str]) -> str:
    """Return `text` with the judge prompt's delimiter lines and verdict keys defused."""
    # `splitlines` knows every character that may pass for a line break.
    lines = (_escape_line(line, delimiters) for line in text.splitlines(keepends=True))
    return _KEY.sub(r"\1\\\2", "".join(lines))


def find_delimiters(rendered: str, placeholders: Collection[str]) -> frozenset[str]:
    """Return the lines of a rendered judge prompt that stand next to a placeholder.

    The prompt is rendered once with unlikely words in place of task and completions, so that the
    delimiters of a user's own prompt set are found too.
    """
    lines = [line.strip() for line in rendered.splitlines()]
    filled = [line for line in lines if line]
    found = set()
    for position, line in enumerate(filled):
        if any(placeholder in line for placeholder in placeholders):
            found.update(filled[max(position - 1, 0) : position + 2])
    return frozenset(
        line for line in found if not any(placeholder in line for placeholder in placeholders)
    )


def _escape_line(line: str, delimiters: Collection[str]) -> str:
    stripped = line.strip()
    if stripped and stripped in delimiters:
        return line.replace(stripped, "\\" + stripped, 1)
    return _MARKER.sub(r"\\", line)
