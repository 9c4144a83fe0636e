"""`tunebench dataset build`, from a run file to a folder that other runs name."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from make_pulls import ANSWERS, make_row, save_rows
from make_run import make_body

from tunebench_jobs.data.load import load_rows
from tunebench_jobs.folder_lock import hold_shown_folder

pytestmark = pytest.mark.jobs


def save_run(folder: Path, **dataset: Any) -> Path:
    """Write a run file whose dataset is five rows, of which one is held out."""
    save_rows(folder / "prs.jsonl", [make_row(number) for number in range(1, 6)])
    body = make_body()
    body["spec"]["dataset"] = {
        "train": {"uri": "prs.jsonl"},
        "eval": {"holdout": "Newest", "perTool": 1},
        **dataset,
    }
    body["spec"]["baseline"]["completions"] = {"uri": "prs.jsonl"}
    path = folder / "run.yaml"
    path.write_text(json.dumps(body), encoding="utf-8")
    return path


def build(run: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Run the command beside the run file."""
    arguments = ["dataset", "build", str(run), "--out", "built", "--store", "runs", *options]
    command = [sys.executable, "-P", "-m", "tunebench_operator", *arguments]
    return subprocess.run(command, cwd=run.parent, capture_output=True, text=True, check=False)


def test_a_folder_is_built_from_a_run_file(tmp_path: Path) -> None:
    """Nothing is trained; the funnel is printed, and progress goes to standard error."""
    done = build(save_run(tmp_path))
    train = [row.pr for row in load_rows(tmp_path / "built/train.parquet", "uri")]

    assert done.returncode == 0
    assert [pr.id for pr in train] == [f"acme/shop#{number}" for number in range(1, 5)]
    assert train[0].answers == ANSWERS
    assert "built: 4 pull requests to train on, 1 to ask about" in done.stdout
    assert "split train rows 5 4 1 to the other set" in [
        " ".join(line.split()) for line in done.stdout.splitlines()
    ]
    assert "reading the sources" in done.stderr
    assert not (tmp_path / "built/.work").exists()


def test_the_summary_is_one_document(tmp_path: Path) -> None:
    """With -o json, for programs; what cleaning drops is counted in it."""
    rows = [{"id": "broken"}, make_row(6, author="renovate[bot]")]
    run = save_run(tmp_path, cleaning={})
    with (tmp_path / "prs.jsonl").open("a") as file:
        file.writelines(f"{json.dumps(row)}\n" for row in rows)
    done = build(run, "-o", "json")
    summary = json.loads(done.stdout)

    assert summary["out"] == "built"
    assert sorted(summary["files"]) == sorted(path.name for path in (tmp_path / "built").iterdir())
    assert summary["dropped"]["BrokenRow"] == 1
    assert summary["dropped"]["Bot"] == 1
    assert summary["contamination"]["eval"] == 1


def test_two_builds_keep_out_of_each_others_folder(tmp_path: Path) -> None:
    """The second one says so, and leaves the work of the first one alone."""
    run = save_run(tmp_path)
    work = tmp_path / "built/.work"
    work.mkdir(parents=True)
    with hold_shown_folder(tmp_path / "built", wait=False):
        done = build(run)

    assert done.returncode == 1
    assert "`--out` must be a folder that no other build works in, got `built`" in done.stderr
    assert work.is_dir()


@pytest.mark.parametrize("place", ["run.yaml", "run.yaml/built"])
def test_a_path_that_cannot_be_used_is_named(tmp_path: Path, place: str) -> None:
    """A folder cannot lie where a file is: no traceback, and code 2."""
    done = build(save_run(tmp_path), "--out", place)

    assert done.returncode == 2
    assert f"`{place}` must be a path that can be used" in done.stderr
    assert "Traceback" not in done.stderr


def test_what_is_wrong_is_said_in_both_ways(tmp_path: Path) -> None:
    """A set that is empty ends with code 2, a sentence, and a document where that is asked for."""
    run = save_run(tmp_path, eval={"holdout": "Newest", "perTool": 5})
    done = build(run, "-o", "json")
    (problem,) = json.loads(done.stdout)["problems"]

    assert done.returncode == 2
    assert problem["field"] == "spec.dataset.train"
    assert "lower `spec.dataset.eval.perTool`" in done.stderr
