"""Headers of hunks, as PR-Agent reads them."""

from __future__ import annotations

import re
from dataclasses import dataclass

# No file has a line whose number needs more digits; Python refuses to read thousands of them.
_NUMBER = r"(\d{1,12})"
_HEADER = re.compile(rf"^@@ -{_NUMBER}(?:,{_NUMBER})? \+{_NUMBER}(?:,{_NUMBER})? @@[ ]?(.*)")


@dataclass(frozen=True)
class Header:
    """The numbers of a header; a size that the header leaves out is 0, as in the originals."""

    start1: int
    size1: int
    start2: int
    size2: int
    section: str


def parse_header(line: str) -> Header | None:
    """Read the header of a hunk; None for any other line."""
    match = _HEADER.match(line)
    if match is None:
        return None
    start1, size1, start2, size2 = (int(number or 0) for number in match.groups()[:4])
    return Header(start1, size1, start2, size2, match[5])
