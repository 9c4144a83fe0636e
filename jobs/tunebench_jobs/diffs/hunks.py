"""Headers of hunks, as PR-Agent reads them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

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


def are_in_order(lines: Iterable[str]) -> bool:
    """Whether each hunk begins below the one before, as git writes them.

    Where they do not, a patch of many hunks could show the same lines of a file again and again.
    """
    headers = (parse_header(line) for line in lines if line.startswith("@@"))
    starts = [header.start1 for header in headers if header]
    return all(before < after for before, after in pairwise(starts))
