"""Choosing pull requests that differ, and telling what a change is for."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from make_pulls import make_pull

from tunebench_jobs.data.kinds import Kind, find_kind
from tunebench_jobs.data.select import (
    FACETS,
    Candidate,
    Selection,
    build_candidate,
    select_diverse,
)

CANDIDATES = st.lists(
    st.builds(
        Candidate,
        id=st.text("abcdef0123456789", min_size=1, max_size=4),
        repository=st.sampled_from(["a", "b", "c", "d"]),
        language=st.sampled_from(["Go", "Python", "Rust"]),
        changed_lines=st.sampled_from([1, 30, 100, 500, 5000]),
        files=st.just(1),
        kind=st.sampled_from(list(Kind)),
        merged_at=st.sampled_from([None, "2024-01-01T00:00:00Z"]),
    ),
    max_size=25,
    unique_by=lambda each: each.id,
)


def make_candidate(number: int, **values: Any) -> Candidate:
    """Return one of many that are alike."""
    return replace(Candidate(f"r#{number}", "r", "Go", 5, 1, Kind.OTHER), **values)


def measure(chosen: list[Candidate]) -> float:
    """Return the value of a set by its definition."""
    counts = Counter((name, facet(each)) for each in chosen for name, facet in FACETS.items())
    return math.fsum(math.sqrt(count) for count in counts.values())


@given(CANDIDATES, st.integers(0, 30), st.integers(0, 3), st.randoms())
def test_order_of_the_input_makes_no_difference(
    candidates: list[Candidate],
    count: int,
    seed: int,
    random: Random,
) -> None:
    """The same candidates in another order give the same choice and the same spread."""
    shuffled = list(candidates)
    random.shuffle(shuffled)

    assert select_diverse(shuffled, count, seed) == select_diverse(candidates, count, seed)


@given(CANDIDATES, st.integers(0, 30))
def test_each_step_gains_as_much_as_any_could(candidates: list[Candidate], count: int) -> None:
    """Gains that were left uncomputed would not have been better: the choice is greedy."""
    by_id = {each.id: each for each in candidates}
    chosen: list[Candidate] = []
    ids = select_diverse(candidates, count, 1).ids
    for identity in ids:
        best = max(measure([*chosen, each]) for each in candidates if each not in chosen)
        chosen.append(by_id[identity])

        assert measure(chosen) == pytest.approx(best)
    assert len(ids) == min(count, len(candidates))
    assert len(set(ids)) == len(ids)


@given(CANDIDATES, st.integers(1, 10))
def test_a_longer_choice_begins_with_a_shorter_one(candidates: list[Candidate], count: int) -> None:
    """So the whole list, in the order of choice, is the order in which to read candidates."""
    every = select_diverse(candidates, len(candidates), 5).ids

    assert every[:count] == select_diverse(candidates, count, 5).ids


def test_what_is_rare_is_not_missed() -> None:
    """One Rust change among a hundred of Go is chosen, and small languages get their share."""
    candidates = [make_candidate(number) for number in range(100)]
    candidates += [make_candidate(100 + n, language="Python", repository="s") for n in range(4)]
    candidates.append(make_candidate(200, language="Rust", kind=Kind.DOCS))
    spread = select_diverse(candidates, 9, 7).spread

    assert spread["language"]["counts"] == {
        "Go": {"candidates": 100, "chosen": 4},
        "Python": {"candidates": 4, "chosen": 4},
        "Rust": {"candidates": 1, "chosen": 1},
    }
    assert spread["kind"]["chosen_values"] == 2
    assert 2.6 < spread["language"]["effective"] < 3


def test_accepted_ones_are_part_of_the_choice() -> None:
    """What a person accepted is chosen first, and what is chosen next differs from it."""
    candidates = [make_candidate(n, language="Go") for n in range(5)]
    candidates += [make_candidate(n, language="Rust") for n in range(5, 10)]
    selection = select_diverse(candidates, 3, 1, chosen=["r#1", "r#2", "gone"])
    languages = [next(c.language for c in candidates if c.id == i) for i in selection.ids]

    assert set(selection.ids[:2]) == {"r#1", "r#2"}
    assert languages[2] == "Rust"
    assert len(select_diverse(candidates, 1, 1, chosen=["r#1", "r#2"]).ids) == 1


def test_seed_decides_between_equals() -> None:
    """Another seed gives another choice of the same spread."""
    candidates = [make_candidate(number) for number in range(50)]
    one, two = (select_diverse(candidates, 5, seed) for seed in (1, 2))

    assert set(one.ids) != set(two.ids)
    assert one.spread == two.spread


def test_nothing_to_choose_from() -> None:
    """No candidates give no choice and a spread of zeros."""
    selection = select_diverse([], 5, 1)

    assert selection == Selection((), selection.spread)
    assert selection.spread["language"]["effective"] == 0


def test_candidate_of_a_pull_request() -> None:
    """Added and removed lines count, and a language that the row lacks is found by the paths."""
    files = [
        {"path": "cart/price.go", "patch": "@@ -1,2 +1,2 @@\n a\n-b\n+c\n+d"},
        {"path": "docs/price.md", "patch": "@@ -1 +1 @@\n+x"},
    ]
    pull = make_pull(1, language="", files=files, title="feat(cart): round prices")

    assert build_candidate(pull) == Candidate(
        id="acme/shop#1",
        repository="acme/shop",
        language="Go",
        changed_lines=4,
        files=2,
        kind=Kind.FEATURE,
        merged_at="2024-01-01T00:00:00Z",
    )
    assert build_candidate(pull).size == "XS"


@pytest.mark.parametrize(
    ("title", "paths", "kind"),
    [
        pytest.param("fix(parser): keep comments", ["a.py"], Kind.BUG_FIX, id="conventional"),
        pytest.param("feat!: drop Python 3.8", ["a.py"], Kind.FEATURE, id="breaking"),
        pytest.param("docs: fix a typo", ["a.py"], Kind.DOCS, id="prefix before words"),
        pytest.param("chore: bump ruff", ["a.py"], Kind.BUILD, id="chore tells nothing"),
        pytest.param("net/http: fix a race", ["a.go"], Kind.BUG_FIX, id="a package is no type"),
        pytest.param("Fix it", ["tests/a.py", "b/test_x.py"], Kind.TESTS, id="only tests"),
        pytest.param("Say more", ["README.md", "docs/x.txt"], Kind.DOCS, id="only documentation"),
        pytest.param("Add a job", [".github/workflows/a.yml"], Kind.BUILD, id="only CI"),
        pytest.param("Add a job", ["a.py", "Makefile"], Kind.FEATURE, id="mixed paths"),
        pytest.param("Rename the shelf, add a door", ["a.py"], Kind.REFACTORING, id="first word"),
        pytest.param("Prefixes are kept", ["a.py"], Kind.OTHER, id="part of a word"),
        pytest.param("", [], Kind.OTHER, id="nothing"),
        pytest.param("a" * 10_000 + ": fix", ["x" * 4000], Kind.OTHER, id="long"),
    ],
)
def test_kind_of_a_change(title: str, paths: list[str], kind: Kind) -> None:
    """The prefix tells, else the paths, else the first telling word."""
    assert find_kind(title, paths) is kind
