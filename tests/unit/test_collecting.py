"""What `tunebench dataset collect` is asked for."""

from __future__ import annotations

from typing import Any

import pytest
from make_run import make_body

from tunebench_api.validation import parse_run
from tunebench_operator.collecting import Split, build_source, find_source
from tunebench_operator.errors import UserError
from tunebench_operator.graph import build_graph

SHOP = {"repositories": ["acme/shop"]}
TOOLS = {"search": "language:go", "limit": 7}


def make_run(train: dict[str, Any], held: dict[str, Any]) -> Any:
    """Return a run with these sources."""
    return parse_run(make_body(dataset={"train": train, "eval": held}))


def test_the_source_of_a_run_is_found() -> None:
    """The first one, or that of the set that is named."""
    run = make_run({"gitHub": SHOP}, {"gitHub": TOOLS})
    only = make_run({"uri": "train.jsonl"}, {"gitHub": TOOLS})

    assert find_source(run, None).field == "spec.dataset.train.gitHub"
    assert find_source(run, Split.EVAL).source.limit == 7
    assert find_source(only, None).field == "spec.dataset.eval.gitHub"
    with pytest.raises(UserError, match=r"`spec\.dataset\.train` must have `gitHub`"):
        find_source(only, Split.TRAIN)


def test_options_are_a_source() -> None:
    """A variable for the token is a secret reference; what is absent has its default."""
    asked = build_source("MY_TOKEN", repositories=["a/b"], limit=None, apiBase="https://ghe/api/v3")

    assert asked.field == ""
    assert asked.source.secret_ref is not None
    assert asked.source.secret_ref.key == "MY_TOKEN"
    assert asked.source.limit == 1000
    assert asked.source.api_base == "https://ghe/api/v3"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        pytest.param(
            {"repositories": ["a"]}, "`--repository` must be OWNER/NAME, got 'a'", id="one"
        ),
        pytest.param({"repositories": ["a/.."]}, "must be OWNER/NAME", id="dots"),
        pytest.param({"repositories": ["a/b?c"]}, "must be OWNER/NAME", id="query"),
        pytest.param({}, "`--repository` or `--search` must be given", id="nothing"),
        pytest.param({**SHOP, "search": "x"}, "and not both", id="both"),
        pytest.param({**SHOP, "apiBase": "ghe"}, "`--api-base` must be an address", id="address"),
        pytest.param({**SHOP, "limit": 10**9}, "`--limit` must be right", id="bound"),
    ],
)
def test_a_wrong_option_is_named(options: dict[str, Any], words: str) -> None:
    """In the words of the command line."""
    with pytest.raises(UserError) as caught:
        build_source(None, **options)

    assert words in str(caught.value)


def test_the_preflight_knows_every_source_of_github() -> None:
    """With its place in the run, for what must change."""
    run = make_run({"gitHub": SHOP}, {"gitHub": TOOLS})
    config = build_graph(run, {}).preflight.config.to_wire()

    assert [each["field"] for each in config["gitHub"]] == [
        "spec.dataset.train.gitHub",
        "spec.dataset.eval.gitHub",
    ]
