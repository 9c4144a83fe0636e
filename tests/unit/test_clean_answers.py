"""An answer is learnt if it is valid, whole, about the diff, and not too long."""

from __future__ import annotations

import pytest
from make_pulls import ANSWERS, make_pull

from tunebench_api.v1alpha1 import Tool
from tunebench_api.v1alpha1.dataset import CleaningStep
from tunebench_jobs.data.clean import check_answer, check_length
from tunebench_jobs.data.drops import Finding, RowDrop
from tunebench_jobs.prompts import Messages
from tunebench_jobs.rows import PullRequest

LONG = "The stock of an aisle was counted twice when its door stood open"
REVIEW_END = f"""\
review:
  relevant_tests: No
  possible_issues: No
  security_concerns: {LONG}"""
MOVED = {"path": "b.py", "status": "renamed", "previous_path": "old/b.py", "patch": "@@ -1 +1 @@"}


@pytest.mark.parametrize("tool", list(Tool))
def test_good_answers_pass(tool: Tool) -> None:
    """With and without the fence, which a prompt may have opened."""
    text = ANSWERS[tool]
    pr = make_pull(1)

    for good in (text, f"```yaml\n{text}```", f"{text}```"):
        assert check_answer(pr, tool, good) is None


@pytest.mark.parametrize(
    ("tool", "text", "detail"),
    [
        pytest.param(Tool.REVIEW, f"```yaml\n{ANSWERS['Review']}", "a fence", id="open fence"),
        pytest.param(Tool.DESCRIBE, ANSWERS["Describe"][:-12], "no value", id="key without value"),
        pytest.param(Tool.IMPROVE, ANSWERS["Improve"] + "- relev", "entry lacks", id="half a key"),
        pytest.param(Tool.IMPROVE, ANSWERS["Improve"] + "-", "no value", id="dash"),
        pytest.param(
            Tool.IMPROVE,
            ANSWERS["Improve"] + "- relevant_file: a.py\n  suggestion_content: Name it.\n",
            "entry lacks keys",
            id="half an entry",
        ),
        pytest.param(Tool.REVIEW, REVIEW_END[:-30] + " 'x: \"a", "whole YAML", id="open quote"),
        pytest.param(Tool.REVIEW, f"{REVIEW_END} and the", "sentence", id="half a sentence"),
        pytest.param(Tool.REVIEW, f"{REVIEW_END},", "sentence", id="comma"),
        pytest.param(
            Tool.DESCRIBE,
            f"type: Tests\npr_files: []\ntitle: Count\ndescription: |\n  {LONG}:\n  ```py\n  a = 1",
            "a fence",
            id="open fence in a text",
        ),
    ],
)
def test_cut_answers_are_found(tool: Tool, text: str, detail: str) -> None:
    """An answer that ends in the middle says how it shows, and can be let through."""
    finding = check_answer(make_pull(1), tool, text)
    skipped = check_answer(make_pull(1), tool, text, skip=(CleaningStep.ANSWER_COMPLETE,))

    assert finding is not None
    assert finding.reason is RowDrop.ANSWER_CUT_OFF
    assert detail in finding.detail
    assert skipped is None or skipped.reason is RowDrop.ANSWER_INVALID


@pytest.mark.parametrize(
    "end",
    [
        pytest.param(".", id="full stop"),
        pytest.param("", id="word"),
        pytest.param(" (see `a.py`)", id="bracket"),
        pytest.param(' "to"', id="quoted preposition"),
    ],
)
def test_whole_sentences_are_not_cut(end: str) -> None:
    """Models leave out full stops; only what no sentence ends with counts."""
    assert check_answer(make_pull(1), Tool.REVIEW, f"{REVIEW_END}{end}") is None


def test_writer_that_stopped_at_its_limit_was_cut() -> None:
    """What a server says counts, even where the text looks whole."""
    text = ANSWERS["Review"]

    assert check_answer(make_pull(1), Tool.REVIEW, text, finish_reason="stop") is None
    assert check_answer(make_pull(1), Tool.REVIEW, text, finish_reason="length") == Finding(
        RowDrop.ANSWER_CUT_OFF, "its writer stopped at `length`"
    )


def test_missing_and_invalid_answers_are_told_apart() -> None:
    """No text, and text that breaks the schema of its tool."""
    missing = check_answer(make_pull(1), Tool.REVIEW, " \n")
    invalid = check_answer(make_pull(1), Tool.REVIEW, "I cannot help with that.")

    assert missing is not None
    assert invalid is not None
    assert (missing.reason, invalid.reason) == (RowDrop.NO_ANSWER, RowDrop.ANSWER_INVALID)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        pytest.param("b.py", True, id="name"),
        pytest.param("`./b.py`", True, id="quoted"),
        pytest.param("/b.py", True, id="from the root"),
        pytest.param("old/b.py", True, id="old name"),
        pytest.param("B.py", False, id="other case"),
        pytest.param("src/b.py", False, id="other folder"),
        pytest.param("b", False, id="no suffix"),
    ],
)
@pytest.mark.parametrize("tool", list(Tool))
def test_files_must_be_those_of_the_diff(tool: Tool, name: str, *, expected: bool) -> None:
    """Names are compared with their case, and the old name of a moved file is known."""
    pr: PullRequest = make_pull(1, files=[MOVED])
    text = ANSWERS[tool].replace("a.py", f'"{name}"')
    if tool is Tool.REVIEW:
        text += f'code_feedback:\n- relevant_file: "{name}"\n  suggestion: Name it.\n'
    finding = check_answer(pr, tool, text)

    assert (finding is None) is expected
    assert expected or finding == Finding(RowDrop.ANSWER_FILES, f"`{name}` is not in the diff")
    assert check_answer(pr, tool, text, skip=(CleaningStep.ANSWER_FILES,)) is None


def test_files_of_newer_answers_are_checked() -> None:
    """HEAD's findings and its proposals to split name files too."""
    review = "review:\n  key_issues_to_review:\n  - relevant_file: {}\n    issue_content: Wrong.\n"
    split = "  can_be_split:\n  - title: One\n    relevant_files: [{}]\n"
    good = review.format("a.py") + split.format("a.py")

    assert check_answer(make_pull(1), Tool.REVIEW, good) is None
    for bad in (review.format("z.py"), review.format("a.py") + split.format("z.py")):
        finding = check_answer(make_pull(1), Tool.REVIEW, bad)

        assert finding is not None
        assert finding.reason is RowDrop.ANSWER_FILES


def test_long_examples_are_left_out_and_never_cut() -> None:
    """The prompt counts with its answer; text of fewer bytes than the limit is not counted."""
    counted = []

    def count(text: str) -> int:
        counted.append(text)
        return len(text.split())

    messages = Messages(system="a b", user="c")

    assert check_length(messages, "d", None, count) is None
    assert check_length(messages, "d", 5, count) is None
    assert counted == []
    assert check_length(messages, "d " * 5, 8, count) is None
    assert check_length(messages, "d " * 5, 7, count) == Finding(
        RowDrop.TOO_MANY_TOKENS, "8 tokens, 7 are allowed"
    )


def test_tokens_are_those_of_cl100k() -> None:
    """Where nothing else is said, as PR-Agent counts them."""
    messages = Messages(system="", user="hello world")

    assert check_length(messages, "!", 3) is None
    assert check_length(messages, "!", 2) == Finding(
        RowDrop.TOO_MANY_TOKENS, "3 tokens, 2 are allowed"
    )
