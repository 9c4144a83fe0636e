"""No pull request is trained on and asked about."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from make_pulls import make_pull

from tunebench_api.errors import parse_problem
from tunebench_api.v1alpha1 import DatasetSpec
from tunebench_jobs.data.gate import (
    build_patch_digest,
    check_contamination,
    check_unique,
    find_shared,
)
from tunebench_jobs.data.human import Origin, build_human_answer
from tunebench_jobs.data.load import Row
from tunebench_jobs.data.manifest import Prepared, build_warnings
from tunebench_jobs.data.split import split_newest
from tunebench_jobs.errors import InputError


def make_data_row(number: int, place: str = "", **columns: Any) -> Row:
    """Return a row that came from line `number` of a file."""
    return Row(make_pull(number, **columns), place or f"prs.jsonl:{number}")


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
    rows = [make_data_row(number) for number in range(5)]
    warnings = build_warnings(dataset, Prepared((), rows[:3], rows[3:], []))

    assert [parse_problem(each).field for each in warnings] == fields
    assert all("got 2" in each or "got 3" in each for each in warnings)


def make_files(patch: str, path: str = "a.py") -> list[dict[str, str]]:
    """Return the files column of a change to one file."""
    return [{"path": path, "patch": patch}]


@pytest.mark.parametrize(
    ("left", "right", "same"),
    [
        pytest.param(
            make_files("@@ -1,2 +1,2 @@\n x\n-a = 0\n+a = 1"),
            make_files("@@ -9,2 +8,2 @@ def f():\n y\n-a  =  0\n+  a=1\r"),
            True,
            id="other context and spaces",
        ),
        pytest.param(
            make_files("@@ -1 +1 @@\n-a\n+b"), make_files("@@ -1 +1 @@\n-a\n+c"), False, id="change"
        ),
        pytest.param(
            make_files("@@ -1 +1 @@\n-a\n+b"),
            make_files("@@ -1 +1 @@\n-a\n+b", "c.py"),
            False,
            id="another file",
        ),
        pytest.param(make_files(""), make_files(""), False, id="nothing to compare"),
    ],
)
def test_patches_are_compared_by_their_changes(
    left: list[dict[str, str]], right: list[dict[str, str]], *, same: bool
) -> None:
    """A back-port of the same change is the same patch; another change is not."""
    digests = {build_patch_digest(make_pull(n, files=f)) for n, f in ((1, left), (2, right))}

    assert (len(digests) == 1) is same


def test_same_id_in_both_sets_is_refused() -> None:
    """The error names both rows."""
    train = [make_data_row(1), make_data_row(2, files=make_files("@@ -1 +1 @@\n-a\n+b"))]

    with pytest.raises(InputError, match=r"prs\.jsonl:2 and eval\.jsonl:7") as caught:
        check_contamination(train, [make_data_row(2, "eval.jsonl:7")])
    assert caught.value.reason == "Contaminated"


def test_same_patch_in_both_sets_is_refused() -> None:
    """Another id does not hide the same change."""
    files = make_files("@@ -1 +1 @@\n-a\n+b")

    with pytest.raises(InputError, match=r"prs\.jsonl:1 and prs\.jsonl:2"):
        check_contamination([make_data_row(1, files=files)], [make_data_row(2, files=files)])


def test_different_sets_pass() -> None:
    """Sets without a common row are let through."""
    check_contamination([make_data_row(1)], [make_data_row(2)])

    assert find_shared([make_data_row(1)], [make_data_row(2)]) == []


def test_duplicate_id_in_a_set_is_refused() -> None:
    """The error names the id and both rows."""
    rows = [make_data_row(1), make_data_row(2), make_data_row(1, "prs.jsonl:9")]

    with pytest.raises(InputError, match=r"`acme/shop#1` in prs\.jsonl:1 and prs\.jsonl:9"):
        check_unique(rows, "spec.dataset.train")


def test_newest_rows_are_held_out() -> None:
    """Moments are compared across offsets; rows without one count as oldest."""
    moments = [
        "2024-01-01T00:00:00Z",
        None,
        "2024-03-01T00:30:00+02:00",
        "2024-02-29T23:00:00Z",
        "2024-02-29T23:00:00",
    ]
    rows = [make_data_row(number + 1, merged_at=m) for number, m in enumerate(moments)]
    train, held = split_newest(rows, 3)

    assert [row.origin for row in held] == ["prs.jsonl:4", "prs.jsonl:5", "prs.jsonl:3"]
    assert [row.origin for row in train] == ["prs.jsonl:1", "prs.jsonl:2"]


@given(st.lists(st.integers(1, 28), max_size=12), st.integers(0, 14))
def test_holdout_is_a_split_in_time(days: list[int], count: int) -> None:
    """Every row is on one side, and no row to train on is newer than one that is held out."""
    rows = [
        make_data_row(number + 1, merged_at=f"2024-01-{day:02}T00:00:00Z")
        for number, day in enumerate(days)
    ]
    train, held = split_newest(rows, count)
    newest = max((row.pr.merged_at or "" for row in train), default="")

    assert sorted(row.origin for row in (*train, *held)) == sorted(row.origin for row in rows)
    assert len(held) == min(count, len(rows))
    assert all((row.pr.merged_at or "") >= newest for row in held)


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
