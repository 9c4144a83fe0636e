"""The text of a dataset card, whatever strangers named their repositories."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from tunebench_jobs.data.card.counts import SetFacts
from tunebench_jobs.data.card.front_matter import build_front_matter, find_hub_licenses
from tunebench_jobs.data.card.limits import build_limits
from tunebench_jobs.data.card.public import hide_private
from tunebench_jobs.data.card.sections import (
    CardFacts,
    build_contents,
    build_funnel,
    build_overview,
    build_provenance,
)
from tunebench_jobs.markdown import build_code, build_table, show

HOSTILE = "a|b](http://evil.example)<script>alert(1)</script>\n# ![x](y) `c` \u202egnp"


def make_facts(name: str = HOSTILE, **manifest: Any) -> CardFacts:
    """Return the facts of a small dataset with one name everywhere."""
    counts = SetFacts(
        rows=3,
        repositories=Counter({name: 3}),
        licenses=Counter({name: 2, "MIT": 1}),
        languages=Counter({name: 3}),
    )
    sizes = {"train.parquet": 10, "eval.parquet": 20}
    return CardFacts({"files": {}, **manifest}, counts, counts, sizes)


@pytest.mark.parametrize(
    ("tools", "words"),
    [
        pytest.param(["Describe"], "good answers of the tool Describe:", id="one"),
        pytest.param(["Describe", "Improve"], "the tools Describe and Improve:", id="two"),
        pytest.param(None, "the tools Describe, Review and Improve:", id="not told"),
    ],
)
def test_a_card_names_the_tools_that_have_answers(tools: list[str] | None, words: str) -> None:
    """And no other ones."""
    assert words in build_overview(make_facts(tools=tools))


def test_names_have_no_power_over_the_page() -> None:
    """No tag, link, image, heading, cell or hidden direction comes out of a name."""
    text = build_contents(make_facts())

    assert "<script" not in text
    assert "](" not in text.replace(r"\](", "")
    assert "\u202e" not in text
    assert "http://" not in text
    for line in text.splitlines():
        assert line.replace(r"\|", "").count("|") in {0, 4}


@given(st.text())
def test_a_name_is_one_line_of_printable_text(name: str) -> None:
    """It can be read, and breaks no table."""
    shown = show(name)

    assert all(character.isprintable() for character in shown)
    assert build_table(("name",), [[shown]]).count("\n") == 2
    assert "<" not in shown


@pytest.mark.parametrize(
    ("expressions", "expected"),
    [
        pytest.param(["MIT", "Apache-2.0", "MIT"], ["apache-2.0", "mit"], id="known"),
        pytest.param(["MIT OR Apache-2.0"], ["apache-2.0", "mit"], id="expression"),
        pytest.param(["GPL-2.0-or-later", "GPL-2.0-only"], ["gpl-2.0"], id="variants"),
        pytest.param(["Apache-2.0 WITH LLVM-exception"], ["apache-2.0"], id="exception"),
        pytest.param(["", "MIT", HOSTILE], ["mit", "other", "unknown"], id="strange"),
        pytest.param(["|"], ["other"], id="no words"),
        pytest.param([], ["unknown"], id="none"),
    ],
)
def test_licences_have_the_names_of_the_hub(expressions: list[str], expected: list[str]) -> None:
    """The hub refuses a card with any other."""
    assert find_hub_licenses(expressions) == expected


@pytest.mark.parametrize(
    ("rows", "word"),
    [(0, "n<1K"), (999, "n<1K"), (1000, "1K<n<10K"), (25_100, "10K<n<100K"), (10**6, "1M<n<10M")],
)
def test_front_matter_is_yaml(rows: int, word: str) -> None:
    """It stands between two lines of dashes, and names the files of both splits."""
    text = build_front_matter(rows, [HOSTILE, "MIT"])
    _, front, rest = text.split("---\n")
    found = yaml.safe_load(front)

    assert not rest
    assert found["license"] == ["mit", "other"]
    assert found["size_categories"] == [word]
    assert found["configs"][0]["data_files"] == [
        {"split": "train", "path": "train.parquet"},
        {"split": "test", "path": "eval.parquet"},
    ]


def test_a_spec_cannot_leave_its_block() -> None:
    """Backticks and line breaks of a run file stay inside of the code, and its YAML is whole."""
    hostile = "x\n```\n# Owned"
    facts = make_facts(dataset={"train": {"uri": hostile}}, tools=["Describe"], seed=1)
    text = build_provenance(facts)
    block = text.split("````yaml\n")[1].split("\n````\n")[0]

    assert "\n# Owned" not in text
    assert yaml.safe_load(block)["spec"]["dataset"]["train"]["uri"] == hostile
    assert build_code("````", "").startswith("`````\n")


def test_nothing_of_a_machine_is_told() -> None:
    """Paths become names; passwords, queries, servers and keys are gone; all else stays."""
    raw = {
        "uri": "/data/ada/prs.jsonl",
        "git": [{"repository": "https://ada:secret@git.example/a/b.git?x=1#y", "ref": "main"}],
        "ssh": "ssh://ada@git.example/a/b",
        "teacher": {"apiBase": "http://internal", "secretRef": {"name": "k"}, "model": "m"},
        "file": "file:///srv/prs.parquet",
        "broken": "https://[",
        "bucket": "s3://bench/prs.parquet",
        "count": 3,
    }

    assert hide_private(raw) == {
        "uri": "prs.jsonl",
        "git": [{"repository": "https://git.example/a/b.git", "ref": "main"}],
        "ssh": "ssh://git.example/a/b",
        "teacher": {"model": "m"},
        "file": "prs.parquet",
        "broken": "an address that cannot be read",
        "bucket": "s3://bench/prs.parquet",
        "count": 3,
    }


def test_the_funnel_shows_each_step() -> None:
    """With what it left out by reason, and what went to the other set."""
    step = {"step": "clean", "set": "train", "unit": "rows", "in": 1200, "out": 1190}
    dropped = {"Secret": 7, HOSTILE: 1}
    text = build_funnel(make_facts(steps=[{**step, "moved": 2, "dropped": dropped}]))

    assert "| clean | train | rows | 1,200 | 1,190 | 2 to the other set, Secret 7, a\\|b" in text
    assert "Nobody compared the splits." in text


@pytest.mark.parametrize(
    ("dataset", "said"),
    [
        pytest.param({"cleaning": {}}, "were looked for by their patterns", id="searched"),
        pytest.param({"cleaning": {"skip": ["Secrets"]}}, "were not looked for", id="skipped"),
        pytest.param({}, "Nothing was cleaned", id="not cleaned"),
        pytest.param({"eval": {"holdout": "Newest"}}, "not a sample of the whole", id="holdout"),
    ],
)
def test_limits_follow_from_what_was_done(dataset: dict[str, Any], said: str) -> None:
    """A card does not promise what nobody did."""
    assert said in build_limits(make_facts(dataset=dataset))
