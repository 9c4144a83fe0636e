"""What people decided: files that merge, and rows that they are applied to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from make_pulls import make_pull

from tunebench_api.v1alpha1 import EvalSource, Tool
from tunebench_jobs.data.choose import choose_eval, count_pool
from tunebench_jobs.data.curation import apply_decisions, build_subject
from tunebench_jobs.data.decisions import (
    Choice,
    Decision,
    Merged,
    dump_decisions,
    merge_decisions,
    parse_decisions,
)
from tunebench_jobs.data.opened import Row
from tunebench_jobs.errors import InputError

DECISIONS = st.lists(
    st.builds(
        Decision,
        pr=st.sampled_from(["r#1", "r#2", "r#10"]),
        patch=st.sampled_from(["a" * 64, "b" * 64]),
        decision=st.sampled_from(list(Choice)),
        reason=st.sampled_from(["", "trivial"]),
        by=st.sampled_from(["Ada", "Lin"]),
        at=st.sampled_from(["2026-01-01T00:00:00Z", "2026-01-01T01:00:00+01:00", "2026-01-02"]),
    ),
    max_size=8,
)


def make_row(number: int, **columns: Any) -> Row:
    """Return a row of the evaluation set."""
    return Row(make_pull(number, **columns), f"eval.jsonl:{number}")


def decide(row: Row, decision: str, **values: Any) -> Decision:
    """Return a decision about a row."""
    subject = build_subject(row.pr)
    fields = {"pr": subject.id, "patch": subject.patch, "at": "2026-01-01T00:00:00Z", **values}
    return Decision.model_validate({"decision": decision, **fields})


def parse(text: str) -> list[Decision]:
    """Read the text of a file."""
    return list(parse_decisions(text.encode(), Path("d.jsonl")))


@given(DECISIONS, DECISIONS, DECISIONS)
def test_merging_is_the_same_in_any_order(
    one: list[Decision], two: list[Decision], three: list[Decision]
) -> None:
    """However files are merged, and how often, the same decisions come out."""
    whole = merge_decisions(one, two, three)

    assert merge_decisions(three, two, one) == whole
    left = merge_decisions(one, two).decisions
    assert merge_decisions(left, three).decisions == whole.decisions
    assert merge_decisions(whole.decisions, whole.decisions) == Merged(whole.decisions)


@given(DECISIONS)
def test_a_file_reads_back_and_has_one_text(decisions: list[Decision]) -> None:
    """What was written is read, and writing it again changes no byte."""
    merged = merge_decisions(decisions).decisions
    text = dump_decisions(reversed(merged))

    assert tuple(parse(text)) == merged
    assert dump_decisions(parse(text)) == text


def test_the_newer_decision_counts_and_the_conflict_is_told() -> None:
    """Two people, one pull request: the later word stands, and the line names both."""
    row = make_row(1)
    old = decide(row, "Accepted", by="Ada", at="2026-01-01T00:00:00Z")
    new = decide(row, "Rejected", by="Lin", at="2026-01-01T00:30:00+00:00")
    same = decide(row, "Rejected", by="Kim", at="2025-01-01T00:00:00Z", reason="other words")
    merged = merge_decisions([old, same], [new])

    assert merged.decisions == (new,)
    (conflict,) = merged.conflicts
    assert str(conflict) == (
        "acme/shop#1: Rejected by Lin at 2026-01-01T00:30:00+00:00 counts, "
        "not Accepted by Ada at 2026-01-01T00:00:00Z"
    )


@pytest.mark.parametrize(
    ("line", "words"),
    [
        pytest.param("<<<<<<< HEAD", "merge-decisions", id="conflict of git"),
        pytest.param("{", "d.jsonl:2", id="no JSON"),
        pytest.param('{"version":2}', "version", id="newer version"),
        pytest.param('{"pr":"x","at":"soon"}', "RFC 3339", id="no time"),
        pytest.param(
            '{"pr":"x","patch":"%s","decision":"Rejected","at":"2026-01-01","edits":{"title":"t"}}'
            % ("a" * 64),
            "must have no `edits`",
            id="edits of what is rejected",
        ),
    ],
)
def test_a_broken_line_is_named(line: str, words: str) -> None:
    """An error says where it is and what to do."""
    good = dump_decisions([decide(make_row(1), "Accepted")])

    with pytest.raises(InputError, match=words) as caught:
        parse(f"{good}{line}\n")
    assert "d.jsonl:2" in str(caught.value)


def test_rejected_rows_go_and_edited_ones_change() -> None:
    """Who rejected it and why is kept with the row; edits stand in the place of the source's."""
    rows = [make_row(n) for n in (1, 2, 3)]
    decisions = [
        decide(rows[0], "Rejected", by="Ada", reason="trivial", note="one digit"),
        decide(rows[1], "Accepted", edits={"title": "Count!", "answers": {"Describe": "d"}}),
    ]
    applied = apply_decisions(rows, decisions)
    edited = applied.kept[0]

    assert [row.pr.id for row in applied.kept] == ["acme/shop#2", "acme/shop#3"]
    assert [str(drop.reason) for drop in applied.dropped] == ["Rejected"]
    assert applied.dropped[0].detail == "by Ada: trivial: one digit"
    assert (edited.pr.title, edited.pr.answers[Tool.DESCRIBE]) == ("Count!", "d")
    assert edited.pr.answers[Tool.REVIEW] == rows[1].pr.answers[Tool.REVIEW]
    assert edited.edited_tools == {Tool.DESCRIBE}
    assert (applied.accepted, applied.edited) == (("acme/shop#2",), ("acme/shop#2",))


def test_decisions_find_what_has_another_id_or_order() -> None:
    """Files in another order, moved hunks, another indent or another id are the same change."""
    patches = ("@@ -1 +1 @@\n-a\n+b", "@@ -9,2 +9,2 @@\n x\n-c\n+d")
    files = [{"path": f"{n}.py", "patch": patch} for n, patch in enumerate(patches)]
    row = make_row(1, files=files)
    moved = [
        {"path": "1.py", "patch": "@@ -20,2 +30,2 @@ def f\n y\n-  c\n+  d\r"},
        {"path": "0.py", "patch": "@@ -7 +7 @@\n-a\n+b"},
    ]
    rebuilt = make_row(1, files=moved, id="shop#00001", title="Another title")
    applied = apply_decisions([rebuilt], [decide(row, "Rejected")])

    assert [drop.pr for drop in applied.dropped] == ["shop#00001"]
    assert (applied.stale, applied.unknown) == ((), ())


def test_what_changed_or_went_is_told_and_not_applied() -> None:
    """A decision about another patch of the same id is stale; one about nothing is unknown."""
    before, gone = make_row(1), make_row(2)
    after = make_row(1, files=[{"path": "a.py", "patch": "@@ -1 +1 @@\n-a = 0\n+a = -1"}])
    decisions = [decide(before, "Rejected"), decide(gone, "Rejected")]
    applied = apply_decisions([after], decisions)

    assert applied.kept == (after,)
    assert [each.pr for each in applied.stale] == ["acme/shop#1"]
    assert [each.pr for each in applied.unknown] == ["acme/shop#2"]


def test_a_decision_of_its_own_goes_before_that_of_a_copy() -> None:
    """Of two pull requests with one patch, each keeps what was decided about it."""
    files = [{"path": "a.py", "patch": "@@ -1 +1 @@\n-a\n+b"}]
    one, two, three = (make_row(number, files=files) for number in (1, 2, 3))
    decisions = [
        decide(one, "Rejected", at="2026-01-02T00:00:00Z"),
        decide(two, "Accepted"),
    ]
    applied = apply_decisions([one, two, three], decisions)

    assert [row.pr.id for row in applied.kept] == ["acme/shop#2", "acme/shop#3"]
    assert applied.accepted == ("acme/shop#2",)


def test_changes_without_lines_are_known_by_id() -> None:
    """Two renamings or binary files do not share a decision because neither has lines."""
    files = [{"path": "logo.png", "is_binary": True}]
    one, two = make_row(1, files=files), make_row(2, files=files)
    applied = apply_decisions([one, two], [decide(one, "Rejected")])

    assert [row.pr.id for row in applied.kept] == ["acme/shop#2"]


def test_accepted_rows_are_asked_before_others() -> None:
    """People's choice comes first, in either selection; the rest is counted as unread."""
    rows = [make_row(n) for n in range(1, 7)]
    decisions = Merged((decide(rows[5], "Accepted"), decide(rows[0], "Rejected")))
    for selection in ("First", "Diverse"):
        source = EvalSource.from_wire({"uri": "e", "perTool": 2, "selection": selection})
        chosen = choose_eval(rows, source, decisions, 1)
        reasons = [(drop.pr, str(drop.reason)) for drop in chosen.dropped]

        assert chosen.rows[-1].pr.id == "acme/shop#6"
        assert len(chosen.rows) == 2
        assert reasons[0] == ("acme/shop#1", "Rejected")
        assert [reason for _, reason in reasons[1:]] == ["OverLimit"] * 3
        assert chosen.warnings == ["nobody decided about 1 of 2 evaluation pull requests"]
        assert chosen.facts["selection"]["chosen"] == 2


def test_without_decisions_the_first_rows_are_asked() -> None:
    """A run that names no file of decisions is told nothing about them."""
    rows = [make_row(n) for n in (1, 2, 3)]
    chosen = choose_eval(rows, EvalSource.from_wire({"uri": "e", "perTool": 2}), None, 1)

    assert [row.pr.id for row in chosen.rows] == ["acme/shop#1", "acme/shop#2"]
    assert (chosen.warnings, "decisions" in chosen.facts) == ((), False)


@pytest.mark.parametrize(
    ("selection", "rejected", "rows", "pool"),
    [
        pytest.param("First", 0, 1000, 10, id="no choice"),
        pytest.param("Diverse", 0, 1000, 40, id="a choice"),
        pytest.param("First", 3, 1000, 13, id="rejected ones are replaced"),
        pytest.param("Diverse", 3, 50, 25, id="half is left to train on"),
        pytest.param("Diverse", 0, 12, 10, id="what was asked for goes first"),
    ],
)
def test_pool_of_a_holdout(selection: str, rejected: int, rows: int, pool: int) -> None:
    """A holdout keeps enough of the newest rows to choose from."""
    source = EvalSource.from_wire({"holdout": "Newest", "perTool": 10, "selection": selection})
    decisions = Merged(tuple(decide(make_row(n), "Rejected") for n in range(1, rejected + 1)))

    assert count_pool(source, decisions, rows) == pool
