"""Licence expressions decide as SPDX says, with the categories of a maintained list."""

from __future__ import annotations

import pytest
from plant_faults import ALLOWED_LICENSES, FORBIDDEN_LICENSES

from tunebench_jobs.data.clean.licenses import find_license_problem


@pytest.mark.parametrize("expression", ALLOWED_LICENSES)
def test_permissive_expressions_are_allowed(expression: str) -> None:
    """One permissive side of an OR is enough; case and deprecated ids do not matter."""
    assert find_license_problem(expression) is None


@pytest.mark.parametrize("expression", FORBIDDEN_LICENSES)
def test_other_expressions_are_refused_with_a_reason(expression: str | None) -> None:
    """Copyleft, restricted, unknown, broken and missing licences are told apart from permission."""
    problem = find_license_problem(expression)

    assert problem is not None
    assert expression is None or expression.split(" ")[0].strip("()")[:8] in problem


@pytest.mark.parametrize(
    ("expression", "words"),
    [
        pytest.param(None, "has no licence", id="absent"),
        pytest.param("NOASSERTION", "known licences", id="no assertion"),
        pytest.param("MIT AND GPL-3.0-only", "is not permissive", id="and"),
        pytest.param("MIT WITH Acme-exception", "known licences", id="unknown exception"),
        pytest.param("MIT OR " * 200 + "MIT", "at most 500", id="endless"),
        pytest.param("(" * 400 + "MIT", "SPDX expression", id="brackets"),
        pytest.param("LicenseRef-scancode-public-domain", "is not permissive", id="reference"),
    ],
)
def test_problem_says_what_is_wrong(expression: str | None, words: str) -> None:
    """The detail of a dropped row tells missing, unknown and unwanted licences apart."""
    assert words in (find_license_problem(expression) or "")
