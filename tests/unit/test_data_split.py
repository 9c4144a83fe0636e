"""Rows are held out by time and repository, and people's answers say whose words they are."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from make_pulls import make_pull

from tunebench_api.errors import parse_problem
from tunebench_api.v1alpha1 import DatasetSpec, Holdout
from tunebench_jobs.data.human import Origin, build_human_answer
from tunebench_jobs.data.manifest import find_shortfalls
from tunebench_jobs.data.parcels import Key
from tunebench_jobs.data.sift import build_key
from tunebench_jobs.data.split import split_keys


def make_key(number: int, place: str = "", **columns: Any) -> Key:
    """Return what is known of a row that came from line `number` of a file."""
    return build_key(make_pull(number, **columns), place or f"prs.jsonl:{number}")


@pytest.mark.parametrize(
    ("limit", "per_tool", "fields"),
    [
        pytest.param(None, 2, [], id="as many as asked for"),
        pytest.param(1, 1, [], id="more than asked for"),
        pytest.param(4, 2, ["spec.dataset.train.limit"], id="few to train on"),
        pytest.param(None, 3, ["spec.dataset.eval.perTool"], id="few to judge"),
    ],
)
def test_fewer_pull_requests_than_asked_for_are_a_warning(
    limit: int | None, per_tool: int, fields: list[str]
) -> None:
    """A reader learns that the numbers rest on less than the run says."""
    dataset = DatasetSpec.from_wire(
        {
            "train": {"uri": "t.jsonl", **({"limit": limit} if limit else {})},
            "eval": {"uri": "e.jsonl", "perTool": per_tool},
        }
    )
    warnings = find_shortfalls(dataset, {"train": 3, "eval": 2})

    assert [parse_problem(each).field for each in warnings] == fields
    assert all("got 2" in each or "got 3" in each for each in warnings)


def test_newest_rows_are_held_out() -> None:
    """Moments are compared across offsets; rows without one count as oldest."""
    moments = [
        "2024-01-01T00:00:00Z",
        None,
        "2024-03-01T00:30:00+02:00",
        "2024-02-29T23:00:00Z",
        "2024-02-29T23:00:00",
    ]
    rows = [make_key(number + 1, merged_at=m) for number, m in enumerate(moments)]
    split = split_keys(rows, 3, Holdout.NEWEST)

    assert [row.origin for row in split.held] == ["prs.jsonl:4", "prs.jsonl:5", "prs.jsonl:3"]
    assert [row.origin for row in split.train] == ["prs.jsonl:1", "prs.jsonl:2"]


def test_repositories_of_the_held_out_are_not_trained_on() -> None:
    """Neither they nor their forks, nor what they were forked from, in any case of letters."""
    rows = [
        make_key(1, repository="acme/tills"),
        make_key(2, repository="ACME/Shop"),
        make_key(3, repository="me/shop", fork_of="acme/shop"),
        make_key(4, repository="old/tills"),
        make_key(8, repository="them/tills", fork_of="old/tills"),
        make_key(9, repository="acme/shop"),
    ]
    split = split_keys(rows, 2, Holdout.UNSEEN)

    assert [row.origin for row in split.held] == ["prs.jsonl:9", "prs.jsonl:8"]
    assert [row.origin for row in split.train] == ["prs.jsonl:1"]
    assert [(row.origin, str(found.reason), found.detail) for row, found in split.dropped] == [
        ("prs.jsonl:2", "RepositoryOfEval", "of prs.jsonl:9"),
        ("prs.jsonl:3", "RepositoryOfEval", "of prs.jsonl:9"),
        ("prs.jsonl:4", "RepositoryOfEval", "of prs.jsonl:8"),
    ]


@given(st.lists(st.integers(1, 28), max_size=12), st.integers(0, 14))
def test_holdout_is_a_split_in_time(days: list[int], count: int) -> None:
    """Every row is on one side, and no row to train on is newer than one that is held out."""
    rows = [
        make_key(number + 1, merged_at=f"2024-01-{day:02}T00:00:00Z")
        for number, day in enumerate(days)
    ]
    split = split_keys(rows, count, Holdout.NEWEST)
    newest = max((row.merged_at or 0 for row in split.train), default=0)

    assert sorted(row.origin for row in (*split.train, *split.held)) == sorted(
        row.origin for row in rows
    )
    assert len(split.held) == min(count, len(rows))
    assert all((row.merged_at or 0) >= newest for row in split.held)


@pytest.mark.parametrize(
    ("columns", "text", "origin"),
    [
        pytest.param({}, "Stock was not counted.", Origin.WRITTEN, id="written"),
        pytest.param(
            {"description": "", "commits": ["Count a", "Count b\n\nWhy.", "Count a"]},
            "- Count a\n  - Count b",
            Origin.COMMITS,
            id="several commits",
        ),
        pytest.param(
            {"description": " ", "commits": ["Count\n\nIt was wrong."]},
            "It was wrong.",
            Origin.COMMITS,
            id="body of the only commit",
        ),
        pytest.param(
            {"description": "", "commits": []}, "Count stock of aisle 1", Origin.TITLE, id="title"
        ),
    ],
)
def test_human_answer_says_where_its_description_is_from(
    columns: dict[str, Any], text: str, origin: Origin
) -> None:
    """Without a description, the commits stand in for it, and then the title."""
    answer = build_human_answer(make_pull(1, **columns))

    assert answer is not None
    assert answer.origin is origin
    assert text in answer.text


def test_human_answer_needs_a_title() -> None:
    """Without a title there is nothing to learn."""
    assert build_human_answer(make_pull(1, title=" ")) is None
