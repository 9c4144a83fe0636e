"""The data stage, from files and repositories to prompts, tasks and the manifest."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from data_stage import run_stage
from github_server import GitHubServer
from github_world import make_repository as make_github
from make_pulls import ANSWERS, make_pull, make_row, save_rows
from make_repository import MadeCommit, make_repository
from pyarrow import parquet

from tunebench_api.contract import DataConfig, Report
from tunebench_jobs.errors import InputError
from tunebench_jobs.records import Task, load_jsonl
from tunebench_jobs.rows import PullRequest

pytestmark = pytest.mark.jobs

TOOLS = ["Describe", "Review", "Improve"]


def make_config(dataset: dict[str, Any], *tools: str, **changes: Any) -> DataConfig:
    """Return a config with the compact prompts."""
    raw = {"dataset": dataset, "tools": tools or TOOLS, "prompts": {"builtin": "compact"}}
    return DataConfig.from_wire({**raw, "seed": 1, **changes})


def load_manifest(tmp_path: Path) -> dict[str, Any]:
    """Return the manifest of the run."""
    manifest: dict[str, Any] = json.loads((tmp_path / "data/one/manifest.json").read_text())
    return manifest


def load_dropped(tmp_path: Path) -> list[dict[str, Any]]:
    """Return what the run left out, without what is absent."""
    table = parquet.read_table(tmp_path / "data/one/dropped.parquet")
    return [
        {name: value for name, value in row.items() if value is not None}
        for row in table.to_pylist()
    ]


def load_tasks(tmp_path: Path) -> list[Task]:
    """Return the tasks of the run."""
    return list(load_jsonl(tmp_path / "data/one/eval.jsonl", Task))


def load_examples(tmp_path: Path) -> list[dict[str, Any]]:
    """Return the training examples of the run."""
    rows: list[dict[str, Any]] = parquet.read_table(tmp_path / "data/one/train.parquet").to_pylist()
    return rows


def make_sets(
    tmp_path: Path, train: list[dict[str, Any]], held: list[dict[str, Any]]
) -> dict[str, Any]:
    """Write both files and return the dataset that names them."""
    return {
        "train": {"uri": str(save_rows(tmp_path / "train.jsonl", train))},
        "eval": {"uri": str(save_rows(tmp_path / "eval.jsonl", held))},
    }


def test_files_become_examples_and_tasks(tmp_path: Path) -> None:
    """Every row gives an example and a task for each tool, with its answer."""
    dataset = make_sets(tmp_path, [make_row(1), make_row(2)], [make_row(3)])
    outcome = run_stage(tmp_path, make_config(dataset))
    example = load_examples(tmp_path)[0]
    task = load_tasks(tmp_path)[0]

    assert outcome.summary["examples"] == dict.fromkeys(sorted(TOOLS), 2)
    assert "asks for 100 pull requests, got 1" in outcome.summary["warnings"][0]
    assert outcome.summary["warnings"][0] in outcome.message
    assert (example["pr"], example["tool"]) == ("acme/shop#1", "Describe")
    assert example["answer"] == ANSWERS["Describe"]
    assert "+a = 1" in example["user"]
    assert (task.id, task.reference) == ("acme/shop#3:Describe", ANSWERS["Describe"])
    assert Report.model_validate_json((tmp_path / "report.json").read_text()).progress.percent == 90


def test_same_input_gives_the_same_bytes(tmp_path: Path) -> None:
    """A second run writes the same files."""
    config = make_config(make_sets(tmp_path, [make_row(1), make_row(2)], [make_row(3)]))
    outcome = run_stage(tmp_path, config)
    run_stage(tmp_path, config, "data/two")

    for name in outcome.artefacts:
        one, two = (tmp_path / "data" / part / name for part in ("one", "two"))
        assert one.read_bytes() == two.read_bytes()


def test_rows_without_a_valid_answer_are_dropped_for_that_tool(tmp_path: Path) -> None:
    """Each dropped answer is kept with its row and reason, and counted in the manifest."""
    answers = {**ANSWERS, "Review": None, "Improve": "Looks good to me."}
    dataset = make_sets(
        tmp_path, [make_row(1), make_row(2, answers=answers)], [make_row(3, answers={})]
    )
    run_stage(tmp_path, make_config(dataset))
    manifest = load_manifest(tmp_path)
    row = f"{tmp_path}/train.jsonl:2"

    assert manifest["examples"] == {"Describe": 2, "Improve": 1, "Review": 1}
    assert [
        (d["row"], d["tool"], d["reason"], d.get("answer"))
        for d in load_dropped(tmp_path)
        if d["set"] == "train"
    ] == [
        (row, "Review", "NoAnswer", None),
        (row, "Improve", "AnswerInvalid", "Looks good to me."),
    ]
    assert [task.reference for task in load_tasks(tmp_path)] == [None, None, None]
    assert [step for step in manifest["steps"] if step["step"] == "answers"] == [
        {
            "step": "answers",
            "set": "eval",
            "unit": "references",
            "in": 3,
            "out": 0,
            "dropped": {"NoAnswer": 3},
        },
        {
            "step": "answers",
            "set": "train",
            "unit": "answers",
            "in": 6,
            "out": 4,
            "dropped": {"AnswerInvalid": 1, "NoAnswer": 1},
        },
    ]


def test_duplicate_id_in_a_file_is_refused(tmp_path: Path) -> None:
    """The error names the id and both rows."""
    rows = [make_row(1), make_row(2), make_row(1)]

    with pytest.raises(InputError, match=r"`acme/shop#1` in .*train\.jsonl:1 and .*:3") as caught:
        run_stage(tmp_path, make_config(make_sets(tmp_path, rows, [make_row(9)])))
    assert caught.value.reason == "DuplicateId"


def test_limits_keep_the_first_rows(tmp_path: Path) -> None:
    """`limit` and `perTool` count pull requests, and the others are kept whole."""
    dataset = make_sets(tmp_path, [make_row(n) for n in (1, 2, 3)], [make_row(n) for n in (4, 5)])
    dataset["train"]["limit"] = 2
    dataset["eval"]["perTool"] = 1
    run_stage(tmp_path, make_config(dataset))
    manifest = load_manifest(tmp_path)

    assert manifest["prs"] == {"train": 2, "eval": 1}
    assert [(drop["pr"], drop["reason"]) for drop in load_dropped(tmp_path)] == [
        ("acme/shop#5", "OverLimit"),
        ("acme/shop#3", "OverLimit"),
    ]
    assert [PullRequest.model_validate_json(drop["data"]) for drop in load_dropped(tmp_path)] == [
        make_pull(5),
        make_pull(3),
    ]


def test_holdout_drops_copies_of_what_it_holds_out(tmp_path: Path) -> None:
    """The newest rows become tasks, and an older copy of one is not trained on."""
    files = [{"path": "b.py", "patch": "@@ -1 +1 @@\n-x\n+y"}]
    rows = [make_row(1, files=files), make_row(2), make_row(9, files=files)]
    dataset = {
        "train": {"uri": str(save_rows(tmp_path / "prs.jsonl", rows))},
        "eval": {"holdout": "Newest", "perTool": 1},
    }
    run_stage(tmp_path, make_config(dataset))

    assert {example["pr"] for example in load_examples(tmp_path)} == {"acme/shop#2"}
    assert {task.pr for task in load_tasks(tmp_path)} == {"acme/shop#9"}
    (dropped,) = load_dropped(tmp_path)
    assert PullRequest.model_validate_json(dropped.pop("data")).id == "acme/shop#1"
    assert dropped == {
        "set": "train",
        "row": f"{tmp_path}/prs.jsonl:1",
        "pr": "acme/shop#1",
        "reason": "DuplicateOfEval",
        "detail": f"of {tmp_path}/prs.jsonl:3 (SamePatch)",
    }


def test_row_in_both_files_is_refused(tmp_path: Path) -> None:
    """Contamination names both rows, and nothing is written."""
    config = make_config(make_sets(tmp_path, [make_row(1), make_row(2)], [make_row(2)]))

    with pytest.raises(InputError, match=r"train\.jsonl:2 and .*eval\.jsonl:1") as caught:
        run_stage(tmp_path, config)
    assert caught.value.reason == "Contaminated"
    assert not (tmp_path / "data/one/manifest.json").exists()


@pytest.mark.parametrize(
    ("train", "held", "words"),
    [
        pytest.param([], [make_row(1)], "`spec.dataset.train` must have", id="no rows to train on"),
        pytest.param([make_row(1)], [], "`spec.dataset.eval` must have", id="no rows to ask"),
        pytest.param([make_row(1, answers={})], [make_row(2)], "NoAnswer: 3", id="no answers"),
    ],
)
def test_empty_set_is_refused(
    tmp_path: Path, train: list[dict[str, Any]], held: list[dict[str, Any]], words: str
) -> None:
    """A set that is empty, or becomes so, is an error that says why."""
    with pytest.raises(InputError, match=words) as caught:
        run_stage(tmp_path, make_config(make_sets(tmp_path, train, held)))
    assert caught.value.reason == "EmptyDataset"


def test_holdout_of_everything_is_refused(tmp_path: Path) -> None:
    """When the holdout takes all rows, the error points to it."""
    dataset = {
        "train": {"uri": str(save_rows(tmp_path / "prs.jsonl", [make_row(1)]))},
        "eval": {"holdout": "Newest"},
    }

    with pytest.raises(InputError, match=r"lower `spec\.dataset\.eval\.perTool`"):
        run_stage(tmp_path, make_config(dataset))


def test_variables_reach_the_prompts_and_the_manifest(tmp_path: Path) -> None:
    """Values of the run replace the templates' defaults, with their type."""
    variables = [
        {"name": "extra_instructions", "value": "Answer in Danish."},
        {"name": "num_code_suggestions", "value": "2"},
        {"name": "enable_semantic_files_types", "value": "false"},
    ]
    dataset = make_sets(tmp_path, [make_row(1)], [make_row(2)])
    run_stage(
        tmp_path, make_config(dataset, prompts={"builtin": "compact", "variables": variables})
    )
    describe, _, improve = load_tasks(tmp_path)

    assert "Answer in Danish." in describe.system
    assert "at most 2 entries" in improve.system
    assert (describe.semantic_files, "pr_files" in describe.system) == (False, False)
    assert load_manifest(tmp_path)["prompts"]["variables"] == {
        "extra_instructions": "Answer in Danish.",
        "num_code_suggestions": 2,
        "enable_semantic_files_types": False,
    }


def test_history_with_human_answers(tmp_path: Path) -> None:
    """A repository is trained on in people's words, which no prompt shows."""
    path = make_repository(
        tmp_path / "shop",
        [
            MadeCommit(f"Count aisle {n} as well\n\nIt was forgotten.", {"a.py": b"%d\n" % n})
            for n in range(4)
        ]
        + [MadeCommit("wip", {"a.py": b"9\n"})],
    )
    dataset = {
        "train": {"git": {"repository": str(path)}},
        "eval": {"holdout": "Newest", "perTool": 1},
        "answers": "Human",
    }
    outcome = run_stage(tmp_path, make_config(dataset, "Describe"))
    manifest = load_manifest(tmp_path)
    (task,) = load_tasks(tmp_path)

    assert task.reference is not None
    assert "Count aisle 3 as well" in task.reference
    assert not task.semantic_files
    assert not any("ount aisle" in row["system"] + row["user"] for row in load_examples(tmp_path))
    assert "ount aisle" not in task.user
    assert outcome.summary["commits"]["train"]["commits_dropped"] == {"NoDescription": 1}
    assert [drop["detail"] for drop in load_dropped(tmp_path)] == ["wip"]
    assert manifest["human_descriptions"] == {"description": 4}


def test_human_answers_are_for_describe_only(tmp_path: Path) -> None:
    """Nobody wrote an answer to Review, so asking for it is an error at `spec.tools`."""
    dataset = {**make_sets(tmp_path, [make_row(1)], [make_row(2)]), "answers": "Human"}

    with pytest.raises(InputError, match=r"`spec\.tools` must be \[Describe\]"):
        run_stage(tmp_path, make_config(dataset, "Describe", "Review"))


def test_pull_requests_of_github_are_a_source(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are held out and rendered as those of files, and the manifest says what was dropped."""
    monkeypatch.setenv("SHOP_TOKEN", "not-a-secret")
    shop = make_github(7, "acme/shop", 12)
    shop.pulls[0].files = []
    server = GitHubServer(shop)
    source = {
        "repositories": ["acme/shop", "acme/absent"],
        "apiBase": server.url,
        "secretRef": {"name": "github", "key": "SHOP_TOKEN"},
    }
    dataset = {
        "train": {"gitHub": source},
        "eval": {"holdout": "Newest", "perTool": 3},
        "answers": "Human",
    }
    outcome = run_stage(tmp_path, make_config(dataset, "Describe"))
    server.close()
    facts = load_manifest(tmp_path)["sources"][0]

    assert [task.pr for task in load_tasks(tmp_path)] == [
        f"acme/shop#{number}" for number in (12, 11, 9)
    ]
    assert outcome.summary["train_prs"] == 6
    assert facts["repositories_unavailable"] == {"acme/absent": "Gone"}
    assert facts["pulls_dropped"] == {"NoChange": 1}
    assert {each.token for each in server.asked} == {"not-a-secret"}
