"""Warnings about runs that are valid."""

from __future__ import annotations

from typing import Any

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


@pytest.mark.parametrize(
    ("source", "field"),
    [
        pytest.param({"uri": "https://x/y.jsonl"}, "uri", id="web"),
        pytest.param({"uri": "hf://datasets/a/b@main/c.jsonl"}, "uri", id="branch of the hub"),
        pytest.param(
            {"uri": f"hf://datasets/a/b@{'a' * 40}/c.jsonl"}, None, id="commit of the hub"
        ),
        pytest.param({"uri": "s3://b/c.jsonl"}, None, id="bucket"),
        pytest.param({"git": {"repository": "https://x/y"}}, "git.ref", id="clone"),
        pytest.param({"git": {"repository": "git@x:y"}}, "git.ref", id="clone by ssh"),
        pytest.param({"git": {"repository": "https://x/y", "ref": "a" * 40}}, None, id="commit"),
        pytest.param({"git": {"repository": "../y"}}, None, id="repository here"),
        pytest.param({"git": {"list": "https://x/list.txt"}}, "git.list", id="list elsewhere"),
        pytest.param({"huggingFace": {"path": "a/b"}}, "huggingFace.revision", id="dataset"),
        pytest.param({"huggingFace": {"path": "./b"}}, None, id="folder"),
    ],
)
def test_data_that_may_change_unseen_is_a_warning(
    source: dict[str, Any], field: str | None
) -> None:
    """What lies elsewhere has no digest, so results outlive what they were made from."""
    dataset = {"train": source, "eval": {"holdout": "Newest"}}
    model = {"name": "m", "base": "/models/one"}
    warnings = find_warnings(make_run(models=[model], dataset=dataset))

    assert [each.field for each in warnings] == ([f"spec.dataset.train.{field}"] if field else [])
