"""A hostile row is a broken row, and says so in a line that can be printed."""

from __future__ import annotations

import json
from typing import Any

import pytest
from make_pulls import make_row

from tunebench_jobs.data.names import find_path_problem
from tunebench_jobs.data.opened import BrokenRow, Row
from tunebench_jobs.data.parse_row import MAX_COMMITS, MAX_FILES, parse_json, parse_row

PATCH = "@@ -1 +1 @@\n-a\n+\x1b[31mb"


def parse(**columns: Any) -> Row | BrokenRow:
    """Parse a good row with some columns changed."""
    return parse_row(make_row(1, **columns), "prs.jsonl:1")


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        pytest.param({"files": [{"path": "../../etc/passwd"}]}, "`..`", id="traversal"),
        pytest.param({"files": [{"path": "a/../b"}]}, "`..`", id="traversal inside"),
        pytest.param({"files": [{"path": "a\\..\\b"}]}, "`..`", id="traversal with backslashes"),
        pytest.param({"files": [{"path": "/etc/passwd"}]}, "relative", id="absolute"),
        pytest.param({"files": [{"path": "C:\\x"}]}, "relative", id="drive"),
        pytest.param({"files": [{"path": "a\x1b[2J"}]}, "control", id="escape"),
        pytest.param({"files": [{"path": "a\nb"}]}, "control", id="line feed"),
        pytest.param({"files": [{"path": "a\u202eb"}]}, "control", id="reversed text"),
        pytest.param(
            {"files": [{"path": "a", "previous_path": "../b"}]}, "previous_path", id="old name"
        ),
        pytest.param({"id": "a\x1b[2J#1"}, "`id`", id="id"),
        pytest.param({"repository": "a\nb"}, "`repository`", id="repository"),
        pytest.param({"url": "javascript:alert(1)"}, "`url`", id="script"),
        pytest.param({"merged_at": "yesterday"}, "`merged_at`", id="time"),
        pytest.param({"zebra": 1}, "`zebra`", id="unknown column"),
        pytest.param({"zebra\x1b[2J": 1}, "`zebra\\x1b[2J`", id="unknown column that steers"),
        pytest.param({"files": 5}, "`files`", id="wrong type"),
        pytest.param({"languages": {"Go": 1 << 63}}, "`languages.Go`", id="too large a number"),
        pytest.param({"languages": {"Go": -1}}, "`languages.Go`", id="negative size"),
        pytest.param({"languages": [(["Go"], 1)]}, "`languages`", id="map with lists for keys"),
        pytest.param({"title": ["a"]}, "`title`", id="list for text"),
        pytest.param({"files": [1] * (MAX_FILES + 1)}, "at most 10000", id="too many files"),
        pytest.param({"commits": ["a"] * (MAX_COMMITS + 1)}, "at most", id="too many commits"),
        pytest.param({str(n): n for n in range(2000)}, "at most 1000", id="too many columns"),
        pytest.param(
            {"files": [{"path": "a", **{str(n): n for n in range(2000)}}]},
            "at most 1000",
            id="too many columns of a file",
        ),
    ],
)
def test_what_cannot_be_a_row_is_named(columns: dict[str, Any], words: str) -> None:
    """The reason fits on one short line without control characters."""
    found = parse(**columns)

    assert isinstance(found, BrokenRow)
    assert found.origin == "prs.jsonl:1"
    assert words in found.detail
    assert found.detail.isprintable()
    assert len(found.detail) <= 500


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(b"[" * 100_000, id="nested arrays"),
        pytest.param(b'{"a":' * 5000 + b"1" + b"}" * 5000, id="nested objects"),
        pytest.param(b'{"a": 1', id="cut off"),
        pytest.param(b'{"a": "\xff"}', id="not UTF-8"),
        pytest.param(b'{"a": "\\ud800"}', id="lone surrogate"),
        pytest.param(b"1" * 100_000, id="endless number"),
    ],
)
def test_text_that_is_no_json_is_a_broken_row(text: bytes) -> None:
    """No text ends the reader, nor takes its stack."""
    found = parse_json(text, "x:1")

    assert isinstance(found, BrokenRow)
    assert found.detail.startswith("must be JSON in UTF-8")


def test_controls_in_prose_are_replaced_and_diffs_stay() -> None:
    """What people read is made harmless, what models learn from is not touched."""
    found = parse(
        title="Clear \x1b[2J it",
        description="One\r\n\ttwo\x07",
        commits=["a\x00b"],
        files=[{"path": "a.py", "patch": PATCH, "old_text": "\x1b", "new_text": None}],
    )

    assert isinstance(found, Row)
    assert found.pr.title == "Clear \N{REPLACEMENT CHARACTER}[2J it"
    assert found.pr.description == "One\r\n\ttwo\N{REPLACEMENT CHARACTER}"
    assert found.pr.commits == ("a\N{REPLACEMENT CHARACTER}b",)
    assert (found.pr.files[0].patch, found.pr.files[0].old_text) == (PATCH, "\x1b")


def test_values_that_are_no_object_are_broken() -> None:
    """A line may hold any JSON."""
    for value in (None, 1, "a", [make_row(1)], json.loads("1e3")):
        assert isinstance(parse_row(value, "x:1"), BrokenRow)


@pytest.mark.parametrize("path", ["a.py", "src/a b.py", ".github/x.yml", "a..b/c...d", "é\t.py"])
def test_names_that_repositories_have_are_fine(path: str) -> None:
    """What only looks unusual is no fault."""
    assert find_path_problem(path) is None
