"""Answers are read as far as they can be, and never harm the reader."""

import time
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from tunebench_api.v1alpha1 import Tool
from tunebench_jobs.answers import (
    answer_text,
    build_human_describe_answer,
    parse_answer,
    parse_yaml_tolerant,
)
from tunebench_jobs.answers.guarded_yaml import MAX_BYTES, load_guarded
from tunebench_jobs.answers.human import infer_type
from tunebench_jobs.errors import InputError
from tunebench_jobs.rows import ChangedFile, PullRequest

DESCRIBE = """\
type:
- Bug fix
pr_files:
- filename: |
    stock.py
  language: |
    python
  changes_summary: |
    - counts reserved items
  changes_title: |
    Count reserved items
  label: |
    bug fix
description: |
  Reserved items are not free.
title: |
  Count reserved items
"""
REVIEW = """\
review:
  estimated_effort_to_review_[1-5]: |
    2, because it is short
  relevant_tests: No
  possible_issues: |
    `free` may be negative
  security_concerns: No
code_feedback:
- relevant_file: stock.py
  language: python
  suggestion: Use max().
  relevant_line: '+    return total - reserved'
"""
REVIEW_HEAD = """\
review:
  estimated_effort_to_review_[1-5]: 2
  relevant_tests: No
  key_issues_to_review:
  - relevant_file: stock.py
    issue_header: Possible bug
    issue_content: may be negative
    start_line: 3
    end_line: 4
  security_concerns: No
"""
IMPROVE = """\
code_suggestions:
- relevant_file: stock.py
  language: python
  suggestion_content: Never return less than nothing.
  existing_code: |
    return total - reserved
  improved_code: |
    return max(0, total - reserved)
  one_sentence_summary: Clamp at zero.
  relevant_lines_start: 3
  relevant_lines_end: 3
  label: possible bug
"""
SECOND = IMPROVE.split("\n", 1)[1].replace("stock.py", "cart.py")
ANSWERS = {Tool.DESCRIBE: DESCRIBE, Tool.REVIEW: REVIEW, Tool.IMPROVE: IMPROVE}
FILES = (ChangedFile(path="src/stock.py", patch="@@ -1 +1 @@\n-a\n+b"),)


def make_pr(title: str = "Count items", description: str = "Text.", **values: Any) -> PullRequest:
    """Make a pull request."""
    values.setdefault("files", FILES)
    return PullRequest(id="a/b#1", repository="a/b", title=title, description=description, **values)


@pytest.mark.parametrize("tool", Tool)
@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param("", "", id="bare"),
        pytest.param("```yaml\n", "```", id="fenced"),
        pytest.param("", "```\n", id="closing fence"),
        pytest.param("\n```yaml\n", "", id="opening fence"),
    ],
)
def test_proper_answers_are_strict(tool: Tool, before: str, after: str) -> None:
    """A proper answer is strict with or without its fences."""
    answer = parse_answer(tool, before + ANSWERS[tool] + after)

    assert (answer.level, answer.problem) == ("strict", None)
    assert answer.data == parse_answer(tool, ANSWERS[tool]).data


@pytest.mark.parametrize(
    ("tool", "text"),
    [
        pytest.param(Tool.REVIEW, REVIEW_HEAD, id="review of HEAD"),
        pytest.param(Tool.IMPROVE, "code_suggestions: []", id="nothing to improve"),
        pytest.param(Tool.DESCRIBE, DESCRIBE + "mood: fine\n", id="unknown key"),
        pytest.param(
            Tool.IMPROVE,
            "\n".join(line for line in IMPROVE.split("\n") if "relevant_lines" not in line),
            id="improve of HEAD",
        ),
    ],
)
def test_other_schemas_are_strict(tool: Tool, text: str) -> None:
    """HEAD's keys, unknown keys and empty lists hold to the schema."""
    assert parse_answer(tool, text).level == "strict"


def test_values_have_the_types_of_the_schema() -> None:
    """Words stay words, numbers become numbers only where the schema wants them."""
    review = parse_answer(Tool.REVIEW, REVIEW_HEAD).data
    improve = parse_answer(Tool.IMPROVE, IMPROVE).data

    assert review is not None
    assert review["review"]["relevant_tests"] == "No"
    assert review["review"]["estimated_effort_to_review_[1-5]"] == "2"
    assert improve is not None
    assert improve["code_suggestions"][0]["relevant_lines_start"] == 3


@pytest.mark.parametrize(
    ("tool", "text"),
    [
        pytest.param(Tool.DESCRIBE, "Sure, here you are.\n\n" + DESCRIBE, id="talk before"),
        pytest.param(Tool.DESCRIBE, f"Here:\n```yaml\n{DESCRIBE}```\nBye.", id="talk around"),
        pytest.param(Tool.DESCRIBE, DESCRIBE + "```\n\nI hope this helps!", id="talk after"),
        pytest.param(Tool.DESCRIBE, DESCRIBE.replace("  Reserved", "  a\n...\n  b"), id="dots"),
        pytest.param(Tool.DESCRIBE, DESCRIBE.replace("  ", "\t"), id="tabs"),
        pytest.param(Tool.DESCRIBE, "{\n" + DESCRIBE + "}", id="braces"),
        pytest.param(
            Tool.DESCRIBE,
            DESCRIBE.replace("title: |\n  Count", "title: Fix: count"),
            id="colon in a text",
        ),
        pytest.param(
            Tool.DESCRIBE,
            DESCRIBE.replace("description: |\n  Reserved", "description: `free`\n  reserved"),
            id="backtick at the start of a text",
        ),
        pytest.param(
            Tool.DESCRIBE,
            DESCRIBE.replace("|\n    - counts", "\n    - sums\n    - counts"),
            id="list for a text",
        ),
        pytest.param(Tool.REVIEW, REVIEW.replace("code_feedback:", "code_feedback"), id="colon"),
        pytest.param(
            Tool.REVIEW, REVIEW.replace("No\n  poss", "No: none\n  poss"), id="colon in review"
        ),
        pytest.param(
            Tool.IMPROVE,
            IMPROVE.replace("    return max", "if x:\n    return max"),
            id="code not indented",
        ),
        pytest.param(
            Tool.IMPROVE,
            IMPROVE.replace("    return max", "        return max").replace(
                "  one_", "    end()\n  one_"
            ),
            id="first line indented deeper",
        ),
        pytest.param(
            Tool.IMPROVE,
            "\n".join("+" + line for line in IMPROVE.split("\n")),
            id="plus signs of a diff",
        ),
        pytest.param(Tool.IMPROVE, IMPROVE.split("\n", 1)[1], id="list without its key"),
        pytest.param(Tool.IMPROVE, IMPROVE + SECOND[:60], id="cut off in an entry"),
        pytest.param(Tool.IMPROVE, IMPROVE + SECOND + "- 'open", id="cut off in a quote"),
        pytest.param(
            Tool.IMPROVE, IMPROVE + SECOND.replace("  label: possible bug\n", ""), id="lacks a key"
        ),
        pytest.param(Tool.IMPROVE, IMPROVE.replace("Clamp", "\x07Clamp"), id="control character"),
    ],
)
def test_broken_answers_are_fixed(tool: Tool, text: str) -> None:
    """The ways in which models break YAML are repaired, and the answer says so."""
    answer = parse_answer(tool, text)

    assert answer.level == "fixed"
    assert answer.problem
    assert answer.data is not None
    assert set(answer.data) >= set(yaml.safe_load(ANSWERS[tool]))


def test_repairs_keep_the_text() -> None:
    """Code that was not indented comes out as it was written."""
    text = IMPROVE.replace("    return max(0", "if x > 0:\n    return max(0")
    answer = parse_answer(Tool.IMPROVE, text)

    assert answer.data is not None
    assert answer.data["code_suggestions"][0]["improved_code"] == (
        "if x > 0:\n    return max(0, total - reserved)"
    )


def test_broken_entries_cost_only_themselves() -> None:
    """Of two suggestions, the one that holds to the schema is kept, wherever it stands."""
    broken = SECOND.replace("  label: possible bug\n", "")
    answer = parse_answer(Tool.IMPROVE, "code_suggestions:\n" + broken + IMPROVE.split("\n", 1)[1])

    assert answer.data is not None
    assert [s["relevant_file"] for s in answer.data["code_suggestions"]] == ["stock.py"]
    assert "label" in str(answer.problem)


@pytest.mark.parametrize(
    ("tool", "text"),
    [
        pytest.param(Tool.DESCRIBE, "", id="nothing"),
        pytest.param(Tool.DESCRIBE, "I cannot do that.", id="refusal"),
        pytest.param(Tool.DESCRIBE, "title: x\ndescription: y", id="no type"),
        pytest.param(
            Tool.DESCRIBE, DESCRIBE.replace("  Reserved items are not free.", ""), id="blank"
        ),
        pytest.param(Tool.DESCRIBE, IMPROVE, id="answer to another tool"),
        pytest.param(Tool.REVIEW, "review: fine", id="word for a mapping"),
        pytest.param(Tool.REVIEW, "review:\n  relevant_tests: No", id="no findings"),
        pytest.param(Tool.IMPROVE, "code_suggestions:\n- relevant_file: x", id="no whole entry"),
        pytest.param(Tool.IMPROVE, IMPROVE + "#" * MAX_BYTES, id="too long"),
    ],
)
def test_hopeless_answers_are_invalid(tool: Tool, text: str) -> None:
    """What lacks the content is invalid, with the reason."""
    answer = parse_answer(tool, text)

    assert (answer.level, answer.data) == ("invalid", None)
    assert answer.problem


def test_files_are_required_when_asked_for() -> None:
    """`pr_files` must be there only where the prompt asked for it."""
    text = "type: [Tests]\ndescription: Adds tests.\ntitle: Tests"

    assert parse_answer(Tool.DESCRIBE, text).level == "invalid"
    assert parse_answer(Tool.DESCRIBE, text, semantic_files=False).level == "strict"


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("a: &x [1, 1]\nb: [*x, *x]", id="alias"),
        pytest.param("a: &x 1", id="anchor"),
        pytest.param("a: !!python/object/apply:os.getcwd []", id="object"),
        pytest.param("a: !secret b", id="tag"),
        pytest.param("[" * 40 + "]" * 40, id="deep"),
        pytest.param("a: " + "9" * MAX_BYTES, id="long"),
        pytest.param("? [a]\n: b", id="list as a key"),
    ],
)
def test_harmful_yaml_is_refused(text: str) -> None:
    """Bombs, objects and depth are problems and no exceptions."""
    loaded = load_guarded(text)

    assert loaded.value is None
    assert loaded.problem


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("[" * 60_000, id="brackets"),
        pytest.param("title: [\n" * 7_000, id="keys"),
        pytest.param("+title: |\n" * 6_000, id="plus signs"),
        pytest.param("```yaml\ntitle: [\n" * 3_800, id="fences"),
        pytest.param("- relevant_file: [\n  label: &x *y\n" * 1_800, id="entries"),
        pytest.param("title: " + "9" * 60_000, id="digits"),
        pytest.param(" " * 65_000, id="spaces"),
    ],
)
def test_hostile_answers_cost_little(text: str) -> None:
    """The longest answers that are read at all are given up within seconds."""
    start = time.monotonic()
    levels = {parse_answer(tool, text).level for tool in Tool}

    assert levels == {"invalid"}
    assert time.monotonic() - start < 20


FRAGMENTS = st.sampled_from(
    [
        *("type:", "title:", "description: |", "pr_files:", "- filename:", "review:", "- "),
        *(
            "code_suggestions:",
            "- relevant_file:",
            "existing_code: |",
            "label",
            "security_concerns",
        ),
        *("```yaml", "```", "\n", "\n  ", "\n    ", "\t", "...", "---", "{", "}", "[", "]", "&a"),
        *("*a", "!!int", ": ", "'", '"', "|2", ">", "+", "#", "`x`", "%", "@", "\x00", "\ud800"),
    ]
)


@given(text=st.lists(FRAGMENTS, max_size=60).map("".join) | st.text(), tool=st.sampled_from(Tool))
@settings(deadline=5000)
def test_parsers_never_raise(text: str, tool: Tool) -> None:
    """Any text has a level, and data exactly when it could be read."""
    answer = parse_answer(tool, text)
    value, level = parse_yaml_tolerant(text, ["title", "label"])

    assert (answer.data is None) == (answer.level == "invalid")
    assert (value is None) == (level == "invalid")
    assert isinstance(answer_text(tool, answer.data or {}), str)


@given(cut=st.integers(0, len(IMPROVE + SECOND)))
def test_a_cut_off_answer_keeps_its_whole_entries(cut: int) -> None:
    """However short the end is cut, entries that were complete before it survive."""
    answer = parse_answer(Tool.IMPROVE, (IMPROVE + SECOND)[:cut])

    if cut >= len(IMPROVE):
        assert answer.data is not None
        assert answer.data["code_suggestions"][0]["label"] == "possible bug"


def test_verdicts_are_read_too() -> None:
    """A judge's reply is read with the same repairs; whole numbers are numbers, others text."""
    keys = ["which_response_was_better", "why", "score_response1"]
    plain, level = parse_yaml_tolerant("which_response_was_better: 1\nwhy: It: wins\n", keys)
    quoted, _ = parse_yaml_tolerant('Well.\n```yaml\nwhich_response_was_better: "2"\n```', keys)

    assert (plain, level) == ({"which_response_was_better": 1, "why": "It: wins"}, "fixed")
    assert quoted == {"which_response_was_better": "2"}
    assert parse_yaml_tolerant("no verdict: here", keys) == (None, "invalid")


def test_the_text_of_an_answer_is_its_content() -> None:
    """Values come in a fixed order, without keys, languages and line numbers."""
    data = {
        "extra": "ignored",
        "title": "T",
        "pr_files": [{"label": "tests", "filename": "a.py", "language": "python"}],
        "type": ["Tests"],
        "description": "D\n",
    }

    assert answer_text(Tool.DESCRIBE, data) == "Tests\nT\nD\na.py\ntests"
    assert "3" not in answer_text(Tool.IMPROVE, parse_answer(Tool.IMPROVE, IMPROVE).data or {})
    assert answer_text(Tool.REVIEW, data) == ""


@given(title=st.text(), description=st.text())
def test_what_people_wrote_is_a_strict_answer(title: str, description: str) -> None:
    """Any title and description become an answer that can be read back, unless one is blank."""
    pr = make_pr(title, description)
    if not (title.strip() and description.strip()):
        with pytest.raises(InputError, match="must have text"):
            build_human_describe_answer(pr)
        return
    answer = parse_answer(Tool.DESCRIBE, build_human_describe_answer(pr), semantic_files=False)

    assert answer.level == "strict"
    assert answer.data is not None
    assert str(answer.data["title"]).split() == title.split()


def test_what_people_wrote_looks_like_the_answers_asked_for() -> None:
    """Texts of several lines are block scalars, in the order that the prompts ask for."""
    text = build_human_describe_answer(make_pr("fix: count items", "One: a \r\n\r\n- two\n"))

    assert text == (
        "type:\n- Bug fix\ndescription: |-\n  One: a\n\n  - two\ntitle: 'fix: count items'\n"
    )


@pytest.mark.parametrize(
    ("title", "paths", "expected"),
    [
        pytest.param("fix(api)!: x", ["README.md"], "Bug fix", id="prefix goes first"),
        pytest.param("feat: fix it", ["a.py"], "Enhancement", id="prefix before words"),
        pytest.param("chore: bump", ["a.py"], "Other", id="chore"),
        pytest.param("Fix it", ["tests/test_a.py", "src/a.test.ts"], "Tests", id="only tests"),
        pytest.param("Fix it", ["docs/a.md", "README"], "Documentation", id="only documents"),
        pytest.param("Fix crash in tests", ["a.py"], "Bug fix", id="word for fixing"),
        pytest.param("Correct a typo", ["a.py"], "Documentation", id="word for documents"),
        pytest.param("Add an endpoint", ["a.py"], "Enhancement", id="word for enhancing"),
        pytest.param("Bump version", ["a.py", "tests/a.py"], "Other", id="nothing applies"),
    ],
)
def test_types_follow_the_rules(title: str, paths: list[str], expected: str) -> None:
    """The first rule that applies decides the type."""
    files = tuple(ChangedFile(path=path, patch="@@ -1 +1 @@") for path in paths)

    assert infer_type(make_pr(title, files=files)) == expected
