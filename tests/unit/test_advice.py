"""Warnings about runs that are valid."""

from __future__ import annotations

import pytest
from make_run import make_run

from tunebench_api.advice import find_warnings


@pytest.mark.parametrize(
    ("base", "revision", "warned"),
    [
        pytest.param("acme/one", None, True, id="hub id"),
        pytest.param("acme/one", "main", True, id="branch"),
        pytest.param("acme/one", "a" * 40, False, id="commit"),
        pytest.param("/models/one", None, False, id="folder"),
        pytest.param("./one", None, False, id="relative folder"),
        pytest.param("package://one", None, False, id="package"),
    ],
)
def test_a_base_that_may_change_unseen_is_a_warning(
    base: str, revision: str | None, *, warned: bool
) -> None:
    """Only a commit pins what a hub serves; what lies here has a fingerprint."""
    model = {"name": "m", "base": base, **({"revision": revision} if revision else {})}
    warnings = find_warnings(make_run(models=[model]))

    assert [each.field for each in warnings] == ["spec.models[0].revision"] * warned
    assert all("acme/one" in each.message for each in warnings)
