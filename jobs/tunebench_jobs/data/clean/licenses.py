"""Whether a licence expression allows a row to be used."""

from __future__ import annotations

import re
from functools import cache, lru_cache
from typing import Any

# ScanCode's categories of licences that ask for no more than to be named.
ALLOWED_CATEGORIES = frozenset({"Permissive", "Public Domain"})

_MAX_CHARACTERS = 500
# `Apache-2.0+` is SPDX for "or later", which changes no licence's category.
_OR_LATER = re.compile(r"(?<=[\w.-])\+(?=[\s)]|$)")


@lru_cache(maxsize=4096)
def find_license_problem(text: str | None) -> str | None:
    """Return why a row with this licence may not be used, or nothing if it is permissive.

    One side of an `OR` and both sides of an `AND` must be permissive. An exception (`WITH`) must be
    a known one; it only adds permissions, so the licence decides. Case does not matter.
    """
    expression = _OR_LATER.sub("", (text or "").strip())
    if not expression:
        return "has no licence"
    if len(expression) > _MAX_CHARACTERS:
        return f"must be an SPDX expression of at most {_MAX_CHARACTERS} characters"
    # It is optional at run time: the library and its list load only where licences matter.
    from license_expression import ExpressionError, ParseError  # noqa: PLC0415

    try:
        parsed = _load_licensing().parse(expression, validate=True)
    except (ExpressionError, ParseError, RecursionError) as error:
        return f"must be an SPDX expression of known licences, got `{expression}`: {error}"
    return None if _is_permissive(parsed) else f"is not permissive: `{parsed}`"


def _is_permissive(parsed: Any) -> bool:
    # `OR` and `AND` have arguments; `WITH` has a licence and an exception.
    operator = getattr(parsed, "operator", "")
    if operator:
        sides = [_is_permissive(side) for side in parsed.args]
        return any(sides) if operator.strip() == "OR" else all(sides)
    licence = getattr(parsed, "license_symbol", parsed)
    return _load_categories().get(licence.key) in ALLOWED_CATEGORIES


@cache
def _load_licensing() -> Any:
    from license_expression import get_spdx_licensing  # noqa: PLC0415

    return get_spdx_licensing()


@cache
def _load_categories() -> dict[str, str]:
    """Return the category of each licence of the SPDX list; `LicenseRef-` is not of it."""
    from license_expression import get_license_index  # noqa: PLC0415

    return {
        entry["spdx_license_key"]: entry["category"]
        for entry in get_license_index()
        if entry.get("spdx_license_key")
        and not entry["spdx_license_key"].startswith("LicenseRef-")
        and not entry["is_exception"]
    }
