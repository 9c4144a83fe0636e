"""Recognise the licence of a repository by the text of its licence files.

Each licence is known by phrases that only it has, and by its length: a text that says more than
the licence is not that licence. What is not recognised has no licence, and a repository with
several files has all of their licences.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

_NAME = re.compile(
    r"(un)?licen[cs]e([-_.].*)?|copying([-_.].*)?|mit-licen[cs]e([-_.].*)?", re.IGNORECASE
)
# Programs and the like that only sound so.
_OTHER_NAME = re.compile(
    r"\.(py|js|ts|go|rs|java|sh|json|ya?ml|toml|header|tmpl|tpl|png|svg)$", re.IGNORECASE
)
_TAG = re.compile(r"SPDX-License-Identifier:\s*(?P<expression>[^\n*]+)")
# A tag says what the file is only where it stands at its beginning.
_MAX_TAGGED = 1000
_WORD = re.compile(r"[a-z0-9]+(?:\.[0-9]+)*")
# Of a long licence, its name stands among so many words, behind a notice of who holds the rights.
_HEAD_WORDS = 60

_BSD = (
    "redistribution and use in source and binary forms with or without modification are permitted "
    "provided that the following conditions are met"
)
_MIT = (
    "permission is hereby granted free of charge to any person obtaining a copy of this software "
    "and associated documentation files the software to deal in the software without restriction "
    "including without limitation the rights to use copy modify merge publish distribute "
    "sublicense and or sell copies of the software"
)
_ENDORSE = "be used to endorse or promote products derived from this software"
_ADVERTISING = "all advertising materials mentioning features or use of this software"
_ANY_PURPOSE = (
    "permission is granted to anyone to use this software for any purpose including commercial "
    "applications"
)
_NO_AGREEMENT = "for any purpose without fee and without a written agreement is hereby granted"
_PYTHON = "python was created in the early 1990s by guido van rossum"
_APACHE_NOTICE = "licensed under the apache license version 2.0"
_NO_FEE = "for any purpose with or without fee is hereby granted"
_APPEAR = "provided that the above copyright notice and this permission notice appear in all copies"


@dataclass(frozen=True)
class _Mark:
    """A licence, the phrases that its text has and has not, and how many words it can have."""

    spdx: str
    phrases: tuple[str, ...]
    most_words: int
    without: tuple[str, ...] = ()
    # Whether the phrases stand at the beginning, as the names of long licences do.
    at_head: bool = False


_MARKS = (
    _Mark("MIT", (_MIT, "shall be included in all copies or substantial portions"), 230),
    _Mark("MIT-0", (_MIT,), 180, ("shall be included in all copies",)),
    _Mark("BSD-2-Clause", (_BSD,), 260, (_ENDORSE, _ADVERTISING)),
    _Mark("BSD-3-Clause", (_BSD, _ENDORSE), 310, (_ADVERTISING, "party s patent rights")),
    _Mark("BSD-4-Clause", (_BSD, _ENDORSE, _ADVERTISING), 340),
    _Mark("ISC", (_NO_FEE, _APPEAR), 170, ("except as contained in this notice",)),
    _Mark("curl", (_NO_FEE, _APPEAR, "except as contained in this notice"), 220),
    _Mark("0BSD", (_NO_FEE,), 150, (_APPEAR,)),
    _Mark("Apache-2.0", ("apache license version 2.0 january 2004",), 1680, at_head=True),
    _Mark("Apache-2.0", (_APACHE_NOTICE, "may obtain a copy of the license at"), 120),
    _Mark("MPL-2.0", ("mozilla public license version 2.0",), 2500, at_head=True),
    _Mark("MPL-2.0", ("subject to the terms of the mozilla public license v. 2.0",), 90),
    _Mark("GPL-2.0-only", ("gnu general public license version 2 june 1991",), 3100, at_head=True),
    _Mark("GPL-3.0-only", ("gnu general public license version 3 29 june",), 5800, at_head=True),
    _Mark("AGPL-3.0-only", ("gnu affero general public license version 3",), 5800, at_head=True),
    _Mark("LGPL-2.1-only", ("gnu lesser general public license version 2.1",), 4500, at_head=True),
    _Mark("LGPL-3.0-only", ("gnu lesser general public license version 3",), 1350, at_head=True),
    _Mark("EPL-1.0", ("eclipse public license v 1.0",), 2000, at_head=True),
    _Mark("EPL-2.0", ("eclipse public license v 2.0",), 2500, at_head=True),
    _Mark("BSL-1.0", ("boost software license version 1.0",), 280, at_head=True),
    _Mark("BUSL-1.1", ("business source license 1.1",), 1200, at_head=True),
    _Mark("Elastic-2.0", ("elastic license 2.0",), 800, at_head=True),
    _Mark("SSPL-1.0", ("server side public license",), 6200, at_head=True),
    _Mark("CC0-1.0", ("cc0 1.0 universal",), 1250, at_head=True),
    _Mark("CC-BY-4.0", ("attribution 4.0 international",), 3200, at_head=True),
    _Mark("CC-BY-SA-4.0", ("attribution sharealike 4.0 international",), 3500, at_head=True),
    _Mark("Artistic-2.0", ("the artistic license 2.0",), 1700, at_head=True),
    _Mark("Unlicense", ("this is free and unencumbered software released into the public",), 260),
    _Mark("WTFPL", ("do what the fuck you want to public license",), 120),
    _Mark("Zlib", (_ANY_PURPOSE, "altered source versions"), 190),
    _Mark("PSF-2.0", (_PYTHON,), 2200, at_head=True),
    _Mark("PostgreSQL", (_NO_AGREEMENT,), 230),
)


def is_license_name(path: str) -> bool:
    """Whether a file at the root of a repository holds its licence."""
    return "/" not in path and bool(_NAME.fullmatch(path)) and not _OTHER_NAME.search(path)


def find_license(files: Mapping[str, str]) -> str | None:
    """Return the SPDX expression of a repository's licence files, or nothing if one is unknown."""
    found = {detect_license(text) for _, text in sorted(files.items())}
    if not found or None in found:
        return None
    names = sorted(name for name in found if name)
    return names[0] if len(names) == 1 else " AND ".join(_enclose(name) for name in names)


def detect_license(text: str) -> str | None:
    """Return the SPDX id of a licence's text, or the expression that the text names."""
    words = _WORD.findall(text.lower())
    whole, head = " ".join(words), " ".join(words[:_HEAD_WORDS])
    found = [
        mark
        for mark in _MARKS
        if all(phrase in (head if mark.at_head else whole) for phrase in mark.phrases)
        and not any(phrase in whole for phrase in mark.without)
    ]
    if len({mark.spdx for mark in found}) == 1:
        return found[0].spdx if any(len(words) <= mark.most_words for mark in found) else None
    tag = _TAG.search(text[:_MAX_TAGGED])
    return parse_expression(tag["expression"].strip()) if tag and not found else None


def parse_expression(text: str) -> str | None:
    """Return an SPDX expression in its usual form; nothing if it is none."""
    from license_expression import ExpressionError, get_spdx_licensing  # noqa: PLC0415 - 0.3 s

    try:
        parsed = get_spdx_licensing().parse(text, validate=True)
    except (ExpressionError, ValueError):
        return None
    return str(parsed) if parsed is not None else None


def _enclose(expression: str) -> str:
    return f"({expression})" if " OR " in expression else expression
