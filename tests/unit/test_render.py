"""Prompts of training rows are whole, or the row is left out with the reason."""

from pathlib import Path
from typing import Any

import pytest

from tunebench_api.contract import DataConfig
from tunebench_api.v1alpha1 import Tool
from tunebench_jobs.data.answering import Answering
from tunebench_jobs.data.drops import DETAIL_CHARACTERS, RowDrop
from tunebench_jobs.data.finish import Finished, Finisher, Form, SetBatch
from tunebench_jobs.data.layout import EVAL, TRAIN
from tunebench_jobs.data.parcels import Parcel
from tunebench_jobs.data.render import Renderer
from tunebench_jobs.data.teacher.makers import Makers
from tunebench_jobs.data.teacher.quality import Scoring
from tunebench_jobs.prompt_source import load_configured_prompts
from tunebench_jobs.records import Task
from tunebench_jobs.rows import ChangedFile, PullRequest

ANSWER = "type:\n- Tests\npr_files: []\ndescription: d\ntitle: t\n"
SMALL = ChangedFile(path="a.py", patch="@@ -1 +1 @@\n-a\n+b")
LONG = ChangedFile(path="long.py", patch="@@ -1 +1 @@\n" + "+line\n" * 20_000)
LOCK = ChangedFile(path="yarn.lock", patch="@@ -1 +1 @@\n-a\n+b")


def finish(
    folder: Path, dataset: str, *rows: tuple[ChangedFile, ...], metadata: str = ""
) -> Finished:
    """Finish rows that have an answer to learn."""
    config = make_config(folder, metadata)
    parcels = [Parcel.pack(make_pull(*files), f"train.jsonl:{n}") for n, files in enumerate(rows)]
    return Finisher(config, None, Form.PROMPTS).finish(SetBatch(dataset, parcels))


def make_config(folder: Path, metadata: str = "", **dataset: Any) -> DataConfig:
    """Return a config whose prompt set has Describe only."""
    system = "S{{ enable_semantic_files_types }}"
    text = f"[pr_description_prompt]\nsystem = '{system}'\nuser = '{{{{ diff }}}}'\n"
    (folder / "describe.toml").write_text(text, encoding="utf-8")
    (folder / "promptset.toml").write_text(metadata, encoding="utf-8")
    sources = {"train": {"uri": "t.jsonl"}, "eval": {"uri": "e.jsonl"}}
    raw = {
        "tools": ["Describe"],
        "dataset": sources | dataset,
        "prompts": {"uri": str(folder)},
        "seed": 1,
    }
    return DataConfig.from_wire(raw)


def make_pull(*files: ChangedFile) -> PullRequest:
    """Return a pull request that has an answer to learn."""
    return PullRequest(id="a/b#1", repository="a/b", files=files, answers={Tool.DESCRIBE: ANSWER})


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
    finished = finish(tmp_path, TRAIN, files)
    (drop,) = finished.drops

    assert finished.content.num_rows == 0
    assert finished.unused == {0}
    assert (drop.finding.reason, drop.tool, drop.answer) == (reason, Tool.DESCRIBE, ANSWER)
    assert words in drop.finding.detail
    assert len(drop.finding.detail) <= DETAIL_CHARACTERS


def test_nobody_is_paid_for_an_answer_to_a_cut_prompt(tmp_path: Path) -> None:
    """Only a whole prompt without an answer is open to a teacher."""
    teacher = {"model": "openai/scripted", "budgetUSD": "1"}
    config = make_config(tmp_path, answers="Teacher", teacher=teacher)
    prompts = load_configured_prompts(config.prompts, None)
    makers = Makers(Scoring(prompts.prompt_set, 0))
    answering = Answering(config, Renderer(prompts, config.dataset.answers), makers)
    drafts = [
        next(answering.draft_row(Parcel.pack(pr.model_copy(update=answers), "train.jsonl:1")))
        for pr in (make_pull(SMALL), make_pull(LONG))
        for answers in ({"answers": {}}, {"answers": {Tool.DESCRIBE: ANSWER}})
    ]

    assert [draft.is_open for draft in drafts] == [True, False, False, False]
    assert [draft.finding and draft.finding.reason for draft in drafts] == [
        None,
        None,
        RowDrop.TOO_MANY_TOKENS,
        RowDrop.TOO_MANY_TOKENS,
    ]


def test_a_cut_prompt_may_be_asked(tmp_path: Path) -> None:
    """In the evaluation everybody gets the prompt that PR-Agent would send."""
    finished = finish(tmp_path, EVAL, (SMALL, LONG))
    task = Task.model_validate_json(finished.content)

    assert "long.py" in task.user
    assert "+line" not in task.user
    assert task.reference == ANSWER
    assert finished.drops == []


def test_a_whole_prompt_is_learned(tmp_path: Path) -> None:
    """A file that the prompt set does not show is no cut, and without a limit nothing is."""
    metadata = "[diff]\nmax_model_tokens = 0\n"
    finished = finish(tmp_path, TRAIN, (SMALL, LOCK), (SMALL, LONG), metadata=metadata)
    shown = finished.content.column("user").to_pylist()

    assert [LONG.patch in user for user in shown] == [False, True]
    assert finished.drops == []
