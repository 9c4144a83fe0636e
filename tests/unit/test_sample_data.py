"""The committed sample data keeps the promises of its README, without asking git."""

import json
import re
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import make_sample_data as maker
import pytest
import yaml

HUNK = re.compile(r"@@ -\d+(?:,\d+)? \+(\d+)(?:,\d+)? @@")
FILE_KEYS = ["filename", "language", "changes_summary", "changes_title", "label"]
REVIEW_KEYS = [
    "estimated_effort_to_review_[1-5]",
    "relevant_tests",
    "possible_issues",
    "security_concerns",
]
FEEDBACK_KEYS = ["relevant_file", "language", "suggestion", "relevant_line"]
SUGGESTION_KEYS = [
    "relevant_file",
    "language",
    "suggestion_content",
    "existing_code",
    "improved_code",
    "one_sentence_summary",
    "relevant_lines_start",
    "relevant_lines_end",
    "label",
]
TYPES = {"Bug fix", "Tests", "Enhancement", "Documentation", "Other"}


def load_rows(name: str) -> list[dict[str, Any]]:
    """Load one committed JSONL file."""
    text = (maker.DATA / name).read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


TRAIN = load_rows(maker.SPLITS["train"])
EVAL = load_rows(maker.SPLITS["eval"])
BASELINE = load_rows(maker.BASELINE)

each_row = pytest.mark.parametrize("row", [pytest.param(r, id=r["id"]) for r in TRAIN + EVAL])


def answer_of(row: dict[str, Any], tool: str) -> Any:
    """Parse the answer of a row."""
    return yaml.safe_load(row["answers"][tool])


def patch_of(row: dict[str, Any], path: str) -> str:
    """Return the hunks of a file, which must be in the row."""
    return str({file["path"]: file["patch"] for file in row["files"]}[path])


def new_lines(patch: str) -> Iterator[tuple[int, str]]:
    """Yield the number and the text of every line of the new file that a patch shows."""
    number = 0
    for line in patch.splitlines():
        if match := HUNK.match(line):
            number = int(match[1])
        elif not line.startswith("-"):
            yield number, line[1:]
            number += 1


def keys_of(completion: str, tool: str) -> list[list[str]] | None:
    """Return the keys of a completion, level by level, or None when it is no YAML."""
    try:
        parsed = yaml.safe_load(completion)
    except yaml.YAMLError:
        return None
    lists = {"Describe": "pr_files", "Review": "code_feedback", "Improve": "code_suggestions"}
    review = [list(parsed["review"])] if tool == "Review" else []
    return [list(parsed), *review, *(list(item) for item in parsed[lists[tool]])]


def test_counts() -> None:
    """There is enough to train on, to judge, and to compare with."""
    assert len(TRAIN) >= 24
    assert len(EVAL) >= 8
    assert len(BASELINE) == len(EVAL) * len(maker.TOOLS)


def test_ids_are_unique() -> None:
    """An id names one pull request, and starts with its repository."""
    ids = [row["id"] for row in TRAIN + EVAL]

    assert len(set(ids)) == len(ids)
    assert all(row["id"].startswith(row["repository"] + "#") for row in TRAIN + EVAL)


def test_train_and_eval_share_no_repository() -> None:
    """No repository, change or later date of the evaluation leaks into the training data."""
    train, evaluation = ({row["repository"] for row in rows} for rows in (TRAIN, EVAL))
    patches = [{file["patch"] for row in rows for file in row["files"]} for rows in (TRAIN, EVAL)]
    dates = [[datetime.fromisoformat(row["merged_at"]) for row in rows] for rows in (TRAIN, EVAL)]

    assert not train & evaluation
    assert not patches[0] & patches[1]
    assert max(dates[0]) < min(dates[1])


@pytest.mark.parametrize("rows", [TRAIN, EVAL], ids=["train", "eval"])
def test_rows_are_varied(rows: list[dict[str, Any]]) -> None:
    """Both splits hold several languages, all change types and unlike kinds of file changes."""
    types = {kind for row in rows for kind in answer_of(row, "Describe")["type"]}

    assert len({row["language"] for row in rows}) >= 6
    assert types == TYPES
    assert {"added", "modified", "renamed"} <= {f["status"] for row in rows for f in row["files"]}


@pytest.mark.parametrize("rows", [TRAIN, EVAL], ids=["train", "eval"])
def test_some_changes_are_flawed_and_some_are_clean(rows: list[dict[str, Any]]) -> None:
    """A model that always answers `No` is wrong somewhere, and so is one that never does."""
    issues = [answer_of(row, "Review")["review"]["possible_issues"] for row in rows]

    assert issues.count("No") >= 2
    assert len(issues) - issues.count("No") >= 2


@each_row
def test_row_has_hunks(row: dict[str, Any]) -> None:
    """A patch starts at its first hunk, and a previous path means a rename."""
    assert list(row["answers"]) == list(maker.TOOLS)
    for file in row["files"]:
        assert HUNK.match(file["patch"])
        assert (file["previous_path"] is not None) == (file["status"] == "renamed")


@each_row
def test_describe_answer(row: dict[str, Any]) -> None:
    """A Describe answer has all keys in order and tells of every file of the diff."""
    answer = answer_of(row, "Describe")

    assert list(answer) == ["type", "pr_files", "description", "title"]
    assert set(answer["type"]) <= TYPES
    assert 1 <= len(answer["type"]) <= 2
    assert [f["filename"] for f in answer["pr_files"]] == [f["path"] for f in row["files"]]
    for file in answer["pr_files"]:
        assert list(file) == FILE_KEYS
        assert all(isinstance(value, str) and value for value in file.values())


@each_row
def test_review_answer(row: dict[str, Any]) -> None:
    """A Review answer has all keys in order and quotes an added line of the file it names."""
    answer = answer_of(row, "Review")
    review = answer["review"]

    assert list(answer) == ["review", "code_feedback"]
    assert list(review) == REVIEW_KEYS
    assert re.match(r"[1-5], because ", review["estimated_effort_to_review_[1-5]"])
    assert review["relevant_tests"] in {"yes", "no"}
    assert isinstance(review["possible_issues"], str)
    assert isinstance(review["security_concerns"], str)
    assert answer["code_feedback"]
    for feedback in answer["code_feedback"]:
        assert list(feedback) == FEEDBACK_KEYS
        assert feedback["relevant_line"].startswith("+")
        patch = patch_of(row, feedback["relevant_file"])
        assert feedback["relevant_line"] in patch.splitlines()


@each_row
def test_improve_answer(row: dict[str, Any]) -> None:
    """An Improve answer quotes code that the diff shows at the lines it names."""
    answer = answer_of(row, "Improve")

    assert list(answer) == ["code_suggestions"]
    assert answer["code_suggestions"]
    for suggestion in answer["code_suggestions"]:
        assert list(suggestion) == SUGGESTION_KEYS
        shown = dict(new_lines(patch_of(row, suggestion["relevant_file"])))
        span = range(suggestion["relevant_lines_start"], suggestion["relevant_lines_end"] + 1)
        quoted = [line.strip() for line in suggestion["existing_code"].splitlines()]
        assert [shown[number].strip() for number in span] == quoted
        assert suggestion["existing_code"] != suggestion["improved_code"]


@pytest.mark.parametrize("split", list(maker.SPLITS))
def test_answers_agree_with_their_sources(split: str) -> None:
    """Nobody edited an answer in the JSONL only; `--check` compares the diffs too."""
    rows = {row["id"]: row["answers"] for row in load_rows(maker.SPLITS[split])}

    assert rows == {s["id"]: maker.build_answers(s) for s in maker.load_sources(split)}


def test_baseline_answers_every_eval_task_once() -> None:
    """The baseline has one completion for every evaluation pull request and tool."""
    wanted = [(row["id"], tool) for row in EVAL for tool in maker.TOOLS]

    assert [(row["pr"], row["tool"]) for row in BASELINE] == wanted


def test_baseline_is_mostly_valid() -> None:
    """About one in six baseline completions breaks the schema, as the README says."""
    good = {(row["id"], tool): row["answers"][tool] for row in EVAL for tool in maker.TOOLS}
    broken = 0
    for row in BASELINE:
        tool = row["tool"]
        wanted = keys_of(good[row["pr"], tool], tool) or []
        broken += keys_of(row["completion"], tool) != wanted

    assert broken == 5


def test_misplaced_code_is_an_error() -> None:
    """A suggestion about code that the file does not hold cannot reach the data."""
    suggestion = {"relevant_file": "a.py", "existing_code": "x = 2\n", "label": "possible bug"}

    with pytest.raises(maker.SourceError, match=r"must stand once in a\.py, got 0 places"):
        maker.place_suggestions({"code_suggestions": [suggestion]}, {"a.py": "x = 1\n"})


def test_licence_is_named() -> None:
    """Every row and the README carry the same licence."""
    text = (maker.DATA / "README.md").read_text(encoding="utf-8")

    assert {row["license"] for row in TRAIN + EVAL} == {maker.LICENSE}
    assert f"Licence: {maker.LICENSE}" in text
