"""The reference judge: deterministic, fair to both places, and no friend of empty answers."""

from __future__ import annotations

from itertools import pairwise

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from tunebench_api.v1alpha1 import Tool
from tunebench_jobs.errors import InputError
from tunebench_jobs.judge.comparisons import Comparison, Order
from tunebench_jobs.judge.reference import (
    ReferenceCase,
    build_f1,
    build_reference_reply,
    score_completion,
)
from tunebench_jobs.judge.reference_provider import build_reference_case
from tunebench_jobs.judge.verdicts import Winner, parse_verdict
from tunebench_jobs.records import Task

GOOD = """\
type:
- Bug fix
description: |
  Count reserved stock as taken, so that it is not sold twice.
title: Count reserved items as taken
pr_files:
- filename: inventory/stock.py
  changes_title: Subtract reservations
  label: bug fix
"""
MIDDLING = """\
type:
- Bug fix
description: Changes how stock is counted.
title: Fix stock
pr_files:
- filename: inventory/stock.py
  changes_title: Fix
  label: bug fix
"""
NULL = """\
type:
- Other
description: This pull request makes changes.
title: Changes
pr_files: []
"""
BROKEN = "I think this pull request is: about stock: and so on"
REVIEW = """\
review:
  estimated_effort_to_review_[1-5]: 3, because the logic is subtle
  relevant_tests: "yes"
  possible_issues: The lock is not released on errors.
  security_concerns: "No"
"""
COMPLETIONS = (GOOD, MIDDLING, NULL, BROKEN, GOOD.replace("taken", "free"), f"```yaml\n{GOOD}```")


def make_case(first: str, second: str, reference: str = GOOD) -> ReferenceCase:
    """Return a comparison of two descriptions."""
    return ReferenceCase(
        tool=Tool.DESCRIBE, semantic_files=True, reference=reference, first=first, second=second
    )


def judge(first: str, second: str) -> Winner:
    """Return the winner, `first` being the model's."""
    return parse_verdict(
        build_reference_reply(make_case(first, second)), model_is_first=True
    ).winner


def test_better_answers_win() -> None:
    """Good beats middling, middling beats constant, constant beats unreadable."""
    ranked = (GOOD, MIDDLING, NULL, BROKEN)

    for better, worse in pairwise(ranked):
        assert judge(better, worse) is Winner.MODEL


@given(st.sampled_from(COMPLETIONS), st.sampled_from(COMPLETIONS))
def test_places_do_not_matter(first: str, second: str) -> None:
    """Whoever wins in one order wins in the other."""
    swapped = parse_verdict(build_reference_reply(make_case(second, first)), model_is_first=False)

    assert swapped.winner is judge(first, second)


@given(st.sampled_from(COMPLETIONS), st.text(max_size=60))
def test_the_good_answer_never_loses(other: str, noise: str) -> None:
    """Nothing is liker to the good answer than itself."""
    assert judge(GOOD, other) is not Winner.BASELINE
    assert judge(GOOD, other + noise) is not Winner.BASELINE


@given(st.sampled_from(COMPLETIONS), st.text(max_size=60))
def test_a_repairable_reference_never_loses_either(other: str, noise: str) -> None:
    """A good answer that needs repair is held to its own level."""
    reference = GOOD.replace("title: Count", "title: Count: all")
    scores = [
        score_completion(make_case("", "", reference), text) for text in (reference, other + noise)
    ]

    assert scores[0] == 1.0
    assert scores[1] <= 1.0


@given(st.sampled_from(COMPLETIONS))
def test_equal_completions_tie(completion: str) -> None:
    """The self control ties."""
    assert judge(completion, completion) is Winner.TIE


def test_an_invalid_completion_has_no_score() -> None:
    """What cannot be read is worth nothing, however many right words it holds."""
    assert score_completion(make_case("", ""), BROKEN) == 0
    assert score_completion(make_case("", ""), GOOD.replace("title: Count", "headline: Count")) == 0


def test_facts_count_beside_words() -> None:
    """Of two answers in the same words, the one with the right verdicts is better."""
    case = ReferenceCase(
        tool=Tool.REVIEW, semantic_files=True, reference=REVIEW, first="", second=""
    )
    other = REVIEW.replace('"No"', '"Yes"').replace("3, because", "1, because")

    assert score_completion(case, REVIEW) - score_completion(case, other) > 0.02


def test_repeating_words_does_not_pay() -> None:
    """A loop of the right words loses precision."""
    looped = GOOD.replace("sold twice.", "sold twice." + " stock" * 60)

    assert judge(GOOD, looped) is Winner.MODEL


@given(st.lists(st.sampled_from("abc")), st.lists(st.sampled_from("abc")))
def test_f1_is_bounded_and_symmetric(left: list[str], right: list[str]) -> None:
    """F1 lies between 0 and 1, is 1 for the same items only, and knows no sides."""
    value = build_f1(left, right)

    assert 0 <= value <= 1
    assert value == build_f1(right, left)
    assert (value == 1) == (sorted(left) == sorted(right))


def test_the_reply_is_the_yaml_that_judges_are_asked_for() -> None:
    """The very same parsing reads it."""
    reply = yaml.safe_load(build_reference_reply(make_case(MIDDLING, GOOD)))

    assert list(reply) == [
        "which_response_was_better",
        "why",
        "score_response1",
        "score_response2",
    ]
    assert (reply["which_response_was_better"], reply["score_response2"]) == (2, 10)


@pytest.mark.parametrize(
    ("reference", "reason"),
    [
        pytest.param(None, "MissingReference", id="none"),
        pytest.param("no answer", "InvalidReference", id="invalid"),
    ],
)
def test_a_task_without_a_good_answer_is_refused(reference: str | None, reason: str) -> None:
    """The user learns which task, and what to do."""
    task = Task(
        id="acme/x#1:Describe",
        pr="acme/x#1",
        repository="acme/x",
        language="Go",
        tool=Tool.DESCRIBE,
        system="s",
        user="u",
        reference=reference,
    )
    with pytest.raises(InputError) as caught:
        build_reference_case(Comparison(task, Order.MODEL_FIRST, GOOD, NULL), "spec.judges[0]")

    assert caught.value.reason == reason
    assert "`acme/x#1:Describe`" in str(caught.value)
    assert "`answers.Describe`" in str(caught.value)
