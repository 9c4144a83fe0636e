"""Results that were computed once more, beside those that are stored."""

from __future__ import annotations

import pytest

from tunebench_jobs.score.again import list_differences


@pytest.mark.parametrize(
    ("before", "after", "parts"),
    [
        pytest.param('{"a": 1}\n', '{"a": 1}\n', [], id="the same"),
        pytest.param('{"a": 1, "b": 2}', '{"a": 1, "c": 2}', ["b", "c"], id="parts"),
        pytest.param('{"a": 1}', '{ "a": 1}', ["the layout of the file"], id="layout"),
        pytest.param('{"a": ', '{"a": 1}', ["all of it, which is no JSON object"], id="cut off"),
        pytest.param("[1]", '{"a": 1}', ["all of it, which is no JSON object"], id="a list"),
    ],
)
def test_what_differs_is_named(before: str, after: str, parts: list[str]) -> None:
    """Also where the stored file is damaged."""
    assert list(list_differences(before, after)) == parts
