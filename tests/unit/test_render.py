"""Prompts of training rows are whole, or the row is left out with the reason."""

from pathlib import Path

import pytest

from tunebench_api.v1alpha1 import Answers, Tool
from tunebench_jobs.data.drops import DETAIL_CHARACTERS, RowDrop
from tunebench_jobs.data.load import Row
from tunebench_jobs.data.render import Renderer, build_examples, build_tasks
from tunebench_jobs.prompt_source import ConfiguredPrompts
from tunebench_jobs.prompts import load_prompt_set
from tunebench_jobs.rows import ChangedFile, PullRequest

ANSWER = "type:\n- Tests\npr_files: []\ndescription: d\ntitle: t\n"
SMALL = ChangedFile(path="a.py", patch="@@ -1 +1 @@\n-a\n+b")
LONG = ChangedFile(path="long.py", patch="@@ -1 +1 @@\n" + "+line\n" * 20_000)
LOCK = ChangedFile(path="yarn.lock", patch="@@ -1 +1 @@\n-a\n+b")


def make_renderer(folder: Path, metadata: str = "") -> Renderer:
    """Make a renderer of a prompt set that has Describe only."""
    system = "S{{ enable_semantic_files_types }}"
    text = f"[pr_description_prompt]\nsystem = '{system}'\nuser = '{{{{ diff }}}}'\n"
    (folder / "describe.toml").write_text(text, encoding="utf-8")
    (folder / "promptset.toml").write_text(metadata, encoding="utf-8")
    return Renderer(ConfiguredPrompts(load_prompt_set(folder), {}), next(iter(Answers)))


def make_row(*files: ChangedFile) -> Row:
    """Make a row that has an answer to learn."""
    pr = PullRequest(id="a/b#1", repository="a/b", files=files, answers={Tool.DESCRIBE: ANSWER})
    return Row(pr, "train.jsonl:1")


@pytest.mark.parametrize(
    ("files", "reason", "words"),
    [
        pytest.param((SMALL, LONG), RowDrop.TOO_MANY_TOKENS, "long.py", id="over the limit"),
        pytest.param((LOCK,), RowDrop.GENERATED_ONLY, "none of the files", id="nothing is shown"),
    ],
)
def test_a_prompt_that_was_cut_is_not_learned(
    tmp_path: Path, files: tuple[ChangedFile, ...], reason: RowDrop, words: str
) -> None:
    """The row is left out for the tool, and the detail says what the prompt lacked."""
    examples, dropped = build_examples([make_row(*files)], [Tool.DESCRIBE], make_renderer(tmp_path))

    assert examples == []
    assert [(drop.reason, drop.tool) for drop in dropped] == [(reason, Tool.DESCRIBE)]
    assert words in dropped[0].detail
    assert len(dropped[0].detail) <= DETAIL_CHARACTERS


def test_a_cut_prompt_may_be_asked(tmp_path: Path) -> None:
    """In the evaluation everybody gets the prompt that PR-Agent would send."""
    tasks, dropped = build_tasks([make_row(SMALL, LONG)], [Tool.DESCRIBE], make_renderer(tmp_path))

    assert "long.py" in tasks[0].user
    assert "+line" not in tasks[0].user
    assert dropped == []


def test_a_whole_prompt_is_learned(tmp_path: Path) -> None:
    """A file that the prompt set does not show is no cut, and without a limit nothing is."""
    renderer = make_renderer(tmp_path, "[diff]\nmax_model_tokens = 0\n")
    rows = [make_row(SMALL, LOCK), make_row(SMALL, LONG)]
    examples, dropped = build_examples(rows, [Tool.DESCRIBE], renderer)

    assert [LONG.patch in example.user for example in examples] == [False, True]
    assert dropped == []
