"""Addresses that datasets are published to, and how they are read there."""

from __future__ import annotations

import pytest

from tunebench_jobs.data.publish.target import (
    Target,
    TargetKind,
    build_load_line,
    build_uris,
    parse_target,
)
from tunebench_jobs.errors import InputError


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("hf://datasets/acme/prs", Target(TargetKind.HUB, "acme/prs")),
        ("hf://datasets/acme/prs-2.0/", Target(TargetKind.HUB, "acme/prs-2.0")),
        ("s3://bench/sets/prs/", Target(TargetKind.BUCKET, "s3://bench/sets/prs")),
        ("../out", Target(TargetKind.FOLDER, "../out")),
    ],
)
def test_an_address_says_where(text: str, target: Target) -> None:
    """The hub, a bucket or a folder."""
    assert parse_target(text) == target


@pytest.mark.parametrize(
    "text",
    [
        "hf://acme/prs",
        "hf://datasets/prs",
        "hf://datasets/acme/prs/train.parquet",
        "hf://datasets/acme/../prs",
        'hf://datasets/acme/p"+x',
        "s3://bench",
        "s3://bench/a/../b",
        "s3://B/x",
        "gs://bench/prs",
        "",
    ],
)
def test_a_strange_address_is_refused(text: str) -> None:
    """The message says what it must be."""
    with pytest.raises(InputError, match="`--to` must"):
        parse_target(text)


def test_a_dataset_is_read_from_where_it_is() -> None:
    """By one line of Python, and by two addresses of a run file; the hub's are pinned."""
    hub, bucket = parse_target("hf://datasets/acme/prs"), parse_target("s3://bench/prs")

    assert build_load_line(hub, "abc") == 'load_dataset("acme/prs", revision="abc")'
    assert build_uris(hub, "abc")[1] == "hf://datasets/acme/prs@abc/eval.parquet"
    assert '"test": "s3://bench/prs/eval.parquet"' in build_load_line(bucket)
    assert build_uris(bucket)[0] == "s3://bench/prs/train.parquet"
