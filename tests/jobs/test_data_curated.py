"""From a built set to decisions, and from decisions to the set that is built anew."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from data_stage import run_stage
from make_pulls import ANSWERS, make_row, save_rows
from pyarrow import parquet

from tunebench_api.contract import DataConfig
from tunebench_jobs.context import Outcome
from tunebench_jobs.curate.candidates import load_candidates
from tunebench_jobs.curate.decision_file import DecisionFile
from tunebench_jobs.curate.desk import Desk, Wish
from tunebench_jobs.errors import InputError
from tunebench_jobs.records import Task, load_jsonl

pytestmark = pytest.mark.jobs


def build(folder: Path, dataset: dict[str, Any], *tools: str) -> Outcome:
    """Run the data stage in a folder."""
    prompts = {"builtin": "compact"}
    raw = {"dataset": dataset, "tools": tools or ["Describe"], "prompts": prompts, "seed": 1}
    return run_stage(folder, DataConfig.from_wire(raw), "data")


def make_dataset(folder: Path, rows: list[dict[str, Any]], **changes: object) -> dict[str, Any]:
    """Write a training row and evaluation rows, and return the dataset that names them."""
    folder.mkdir()
    held = {"uri": str(save_rows(folder / "eval.jsonl", rows)), **changes}
    return {"train": {"uri": str(save_rows(folder / "train.jsonl", [make_row(20)]))}, "eval": held}


def decide(folder: Path, decisions: Path, *wishes: dict[str, Any]) -> None:
    """Decide about candidates of a built set by their ids."""
    moments = iter(f"2026-01-01T00:00:{second:02}Z" for second in range(60))
    candidates = load_candidates(folder / "data", io.BytesIO(), per_tool=4, seed=1)
    places = {item.candidate.id: place for place, item in enumerate(candidates.items)}
    desk = Desk(candidates, DecisionFile(decisions), by="Ada", clock=lambda: next(moments))
    for wish in wishes:
        desk.decide(Wish.model_validate({**wish, "place": places[wish["place"]]}))


def load_tasks(folder: Path) -> dict[str, Task]:
    """Return the tasks of a built set by their pull request."""
    return {task.pr: task for task in load_jsonl(folder / "data/eval.jsonl", Task)}


def load_manifest(folder: Path) -> dict[str, Any]:
    """Return the manifest of a built set."""
    manifest: dict[str, Any] = json.loads((folder / "data/manifest.json").read_text())
    return manifest


def test_decisions_survive_a_rebuild(tmp_path: Path) -> None:
    """Other ids, order and places change nothing; what changed is told and not applied."""
    first, second = tmp_path / "first", tmp_path / "second"
    rows = [make_row(number) for number in range(1, 7)]
    build(first, make_dataset(first, rows))
    better = ANSWERS["Describe"].replace("Counts stock.", "Counts all stock.")
    edits = {"title": "Count it all", "answers": {"Describe": better}}
    decide(
        first,
        tmp_path / "decisions.jsonl",
        {"place": "acme/shop#1", "decision": "Rejected", "reason": "trivial"},
        {"place": "acme/shop#2", "decision": "Accepted", "edits": edits},
        {"place": "acme/shop#3", "decision": "Rejected", "reason": "trivial"},
        {"place": "acme/shop#6", "decision": "Accepted"},
    )
    changed = {"files": [{"path": "a.py", "patch": "@@ -1 +1 @@\n-a = 0\n+a = 33"}]}
    moved = {"files": [{"path": "a.py", "patch": "@@ -70 +80 @@ class Shop:\n-a = 0\n+ a = 1"}]}
    rebuilt = [
        make_row(6),
        make_row(5),
        make_row(3, **changed),
        make_row(2, id="shop-two"),
        make_row(1, **moved),
    ]
    decisions = str(tmp_path / "decisions.jsonl")
    outcome = build(second, make_dataset(second, rebuilt, perTool=3, decisions=decisions))
    tasks, manifest = load_tasks(second), load_manifest(second)

    assert set(tasks) == {"acme/shop#6", "acme/shop#5", "shop-two"}
    assert tasks["shop-two"].reference == better
    assert "Count it all" in tasks["shop-two"].user
    assert manifest["decisions"] == {
        "accepted": 2,
        "rejected": 1,
        "edited": ["shop-two"],
        "asked_without_decision": 1,
        "stale": ["acme/shop#3"],
        "unknown": [],
        "conflicts": [],
    }
    assert [
        (drop["set"], drop["row"], drop["pr"], drop["detail"])
        for drop in parquet.read_table(second / "data/dropped.parquet").to_pylist()
        if drop["reason"] == "Rejected"
    ] == [("eval", f"{second}/eval.jsonl:5", "acme/shop#1", "by Ada: trivial")]
    assert "acme/shop#3" in outcome.message
    assert "nobody decided about 1 of 3" in outcome.message


def test_people_edit_answers_that_people_wrote(tmp_path: Path) -> None:
    """With human answers, an edited answer stands in the place of title and description."""
    first, second = tmp_path / "first", tmp_path / "second"
    rows = [make_row(number, answers={}) for number in range(1, 4)]
    build(first, {**make_dataset(first, rows), "answers": "Human"})
    answer = "type:\n- Bug fix\ntitle: Count\ndescription: Counts it.\n"
    edits = {"answers": {"Describe": answer}}
    wish = {"place": "acme/shop#1", "decision": "Accepted", "edits": edits}
    decide(first, tmp_path / "d.jsonl", wish)
    dataset = make_dataset(second, rows, decisions=str(tmp_path / "d.jsonl"))
    build(second, {**dataset, "answers": "Human"})
    tasks = load_tasks(second)

    assert tasks["acme/shop#1"].reference == answer
    assert "Stock was not counted." in (tasks["acme/shop#2"].reference or "")


def test_a_diverse_holdout_is_chosen_from_the_newest(tmp_path: Path) -> None:
    """Four times as many newest rows are kept from training; those that differ are asked."""
    languages = ["Go"] * 20 + ["Rust", "Go", "Go", "Go", "Go", "Go", "Go", "Go"]
    rows = [make_row(number, language=each) for number, each in enumerate(languages, start=1)]
    folder = tmp_path / "one"
    folder.mkdir()
    uri = str(save_rows(folder / "prs.jsonl", rows))
    held = {"holdout": "Newest", "perTool": 2, "selection": "Diverse"}
    build(folder, {"train": {"uri": uri}, "eval": held})
    manifest = load_manifest(folder)

    assert {task.language for task in load_tasks(folder).values()} == {"Go", "Rust"}
    assert manifest["selection"]["candidates"] == 8
    assert manifest["selection"]["language"]["counts"] == {
        "Go": {"candidates": 7, "chosen": 1},
        "Rust": {"candidates": 1, "chosen": 1},
    }
    assert manifest["prs"] == {"train": 20, "eval": 2}
    assert len((folder / "data/candidates.jsonl").read_text().splitlines()) == 8


def test_an_absent_file_of_decisions_is_named(tmp_path: Path) -> None:
    """The error names the field and the file."""
    dataset = make_dataset(tmp_path / "one", [make_row(1)], decisions=str(tmp_path / "none"))

    with pytest.raises(InputError, match=r"`spec\.dataset\.eval\.decisions` must name a file"):
        build(tmp_path / "one", dataset)


def test_files_of_two_people_are_merged(tmp_path: Path) -> None:
    """The command writes one file, in either order the same, and tells what contradicts."""
    build(tmp_path / "set", make_dataset(tmp_path / "set", [make_row(n) for n in (1, 2, 3)]))
    accept = {"place": "acme/shop#1", "decision": "Accepted"}
    reject = {"place": "acme/shop#1", "decision": "Rejected", "reason": "trivial"}
    second = {"place": "acme/shop#2", "decision": "Accepted"}
    decide(tmp_path / "set", tmp_path / "a.jsonl", accept)
    decide(tmp_path / "set", tmp_path / "b.jsonl", second, reject)
    command = [sys.executable, "-m", "tunebench_operator", "dataset", "merge-decisions"]
    said = []
    for name, files in (("ab", ("a", "b")), ("ba", ("b", "a"))):
        paths = [str(tmp_path / f"{each}.jsonl") for each in files]
        options = ["--out", str(tmp_path / f"{name}.jsonl"), "-o", "json"]
        done = subprocess.run(
            [*command, *paths, *options], capture_output=True, text=True, check=True
        )
        said.append(json.loads(done.stdout))

    assert (tmp_path / "ab.jsonl").read_bytes() == (tmp_path / "ba.jsonl").read_bytes()
    assert [each["decisions"] for each in said] == [2, 2]
    assert [each["kept"]["decision"] for each in said[0]["conflicts"]] == ["Rejected"]


def test_git_merges_what_two_people_decided(tmp_path: Path) -> None:
    """With `merge=union`, branches come together without a hand, and the newer decision counts."""
    build(tmp_path / "set", make_dataset(tmp_path / "set", [make_row(n) for n in range(1, 7)]))
    repository = tmp_path / "git"
    decisions = repository / "decisions.jsonl"

    def git(*arguments: str) -> None:
        who = ["-c", "user.name=Ada", "-c", "user.email=ada@example.org"]
        subprocess.run(["git", *who, *arguments], cwd=repository, check=True, capture_output=True)

    repository.mkdir()
    git("init", "-b", "main")
    (repository / ".gitattributes").write_text("decisions.jsonl merge=union\n")
    decisions.touch()
    git("add", "-A")
    git("commit", "-m", "start")
    for branch, choice in (("ada", "Accepted"), ("lin", "Rejected")):
        git("switch", "-c", branch, "main")
        shared = {"place": "acme/shop#1", "decision": choice, "reason": branch}
        numbers = (2, 3) if branch == "ada" else (4, 5, 6)
        own = [{"place": f"acme/shop#{n}", "decision": "Accepted"} for n in numbers]
        decide(tmp_path / "set", decisions, *(own if branch == "lin" else []), shared)
        if branch == "ada":
            decide(tmp_path / "set", decisions, *own)
        git("commit", "-am", branch)
    git("merge", "ada", "-m", "merge")
    file = DecisionFile(decisions)

    assert len(file.load()) == 6
    assert [str(each.kept.decision) for each in file.conflicts] == ["Rejected"]
