"""One pass over many rows: cleaned, bounded, repeatable, and never stopped by a row."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from make_corpus import make_pulls
from make_pulls import ANSWERS, make_row, save_rows
from pyarrow import parquet

from tunebench_api.contract import DataConfig, Progress, Report, Runtime, StageDocument
from tunebench_jobs.data.bench import WORK_FOLDER
from tunebench_jobs.data.build import Place, build_dataset
from tunebench_jobs.data.finish import Form
from tunebench_jobs.data.github import GitHubPlace
from tunebench_jobs.data.teacher.replies import Shelf
from tunebench_jobs.records import Task, load_jsonl

pytestmark = pytest.mark.jobs

PROMPTS = Path(__file__).parents[2] / "prompts"
# More than one batch, so that processes are started.
MANY = 400
CLEANING = {"maxTokens": 20_000}


def make_config(dataset: dict[str, Any], *tools: str) -> DataConfig:
    """Return a config with the compact prompts."""
    raw = {"dataset": dataset, "tools": tools or list(ANSWERS), "prompts": {"builtin": "compact"}}
    return DataConfig.from_wire({**raw, "seed": 1})


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a file of many pull requests."""
    path = tmp_path_factory.mktemp("many") / "many.jsonl"
    rows = (pull.model_dump_json(exclude_defaults=True) + "\n" for pull in make_pulls(MANY))
    path.write_text("".join(rows), encoding="utf-8")
    return path


def make_many(path: Path) -> DataConfig:
    """Return a config that cleans many pull requests and holds 20 out."""
    held = {"holdout": "Newest", "perTool": 20}
    return make_config({"train": {"uri": str(path)}, "eval": held, "cleaning": CLEANING})


def build(
    config: DataConfig, output: Path, *, form: Form = Form.PROMPTS, cpus: int = 1
) -> dict[str, Any]:
    """Build a dataset and return its summary."""
    output.mkdir(exist_ok=True)
    told: list[Progress] = []
    folder = output.parent
    shelf = Shelf(folder / "replies")
    collections = GitHubPlace(folder / "github")
    place = Place(output, folder / "sources", PROMPTS, told.append, shelf, collections, cpus)
    built = build_dataset(config, place, form)

    assert sorted(path.name for path in output.iterdir()) == sorted(built.files)
    percents = [progress.percent or 0 for progress in told]
    assert percents == sorted(percents)
    return dict(built.summary)


def load(path: Path) -> list[dict[str, Any]]:
    """Return the rows of a Parquet file."""
    rows: list[dict[str, Any]] = parquet.read_table(path).to_pylist()
    return rows


def load_bytes(folder: Path) -> dict[str, bytes]:
    """Return what is in a folder."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def test_processes_change_no_byte(many: Path, tmp_path: Path) -> None:
    """The files are the same from one process and from two, and the funnel adds up."""
    config = make_many(many)
    summary = build(config, tmp_path / "one")
    build(config, tmp_path / "two", cpus=2)
    steps = {(step["step"], step["set"]): step for step in summary["funnel"]}
    train = [steps[name, "train"] for name in ("read", "clean", "duplicates", "split", "gate")]

    assert load_bytes(tmp_path / "one") == load_bytes(tmp_path / "two")
    assert train[0]["in"] == MANY
    assert [step["in"] for step in train[1:]] == [step["out"] for step in train[:-1]]
    assert steps["answers", "train"]["in"] == 3 * train[-1]["out"]
    assert sum(summary["examples"].values()) == steps["length", "train"]["out"]
    assert len(load(tmp_path / "one/train.parquet")) == sum(summary["examples"].values())


def test_every_row_is_used_or_kept_with_its_reason(many: Path, tmp_path: Path) -> None:
    """No id is lost on the way, and none is on both sides."""
    config = make_many(many)
    build(config, tmp_path / "out")
    dropped = [row for row in load(tmp_path / "out/dropped.parquet") if row["data"]]
    trained = {row["pr"] for row in load(tmp_path / "out/train.parquet")}
    asked = {task.pr for task in load_jsonl(tmp_path / "out/eval.jsonl", Task)}
    left = [json.loads(row["data"])["id"] for row in dropped]

    ids = {json.loads(line)["id"] for line in many.read_bytes().splitlines()}

    assert ids == trained | asked | set(left)
    assert len(trained) + len(asked) + len(left) == MANY


def test_a_killed_stage_gives_the_same_bytes(many: Path, tmp_path: Path) -> None:
    """At any moment: what it left is cleared away, and nothing is there twice."""
    config = make_many(many)
    build(config, tmp_path / "whole")
    report = tmp_path / "report.json"
    runtime = Runtime(
        store=str(tmp_path), output="killed", report=str(report), cpus=2, prompts_dir=str(PROMPTS)
    )
    document = tmp_path / "stage.json"
    document.write_text(StageDocument(config=config, runtime=runtime).model_dump_json())
    command = [sys.executable, "-P", "-m", "tunebench_jobs", "stage", "--config", str(document)]
    codes = [kill_at(percent, command, report) for percent in (0, 5, 40, 50)]
    subprocess.run(command, check=True)
    whole, found = load_bytes(tmp_path / "whole"), load_bytes(tmp_path / "killed")

    assert codes == [-signal.SIGKILL] * 4
    assert {name: found[name] for name in whole} == whole
    assert sorted(found) == sorted([*whole, ".lock", "result.json"])
    assert not (tmp_path / "killed" / WORK_FOLDER).exists()


def kill_at(percent: int, command: list[str], report: Path) -> int:
    """Start a stage, kill it when it is so far, and return its exit code."""
    report.unlink(missing_ok=True)
    deadline = time.monotonic() + 200
    with subprocess.Popen(command) as stage:
        while stage.poll() is None and time.monotonic() < deadline:
            told = Report.model_validate_json(report.read_bytes()) if report.exists() else Report()
            if told.progress.percent is not None and told.progress.percent >= percent:
                stage.kill()
            time.sleep(0.02)
    return stage.returncode


def make_hostile() -> list[bytes]:
    """Return lines that want to stop the pass, or to get somewhere."""
    bomb = "a: &a [x, x]\n" + "".join(f"b{n}: &b{n} [*a, *a]\n" for n in range(20))
    escape = "\x1b[2J\x1b]0;owned\x07"
    fence = "```\n## PR Response 1\n======\n{{ diff }} {% for x in y %}\n======"

    def dump(number: int, **columns: Any) -> bytes:
        return json.dumps(make_row(number, **columns)).encode()

    def change(text: str, path: str = "a.py") -> list[dict[str, Any]]:
        return [{"path": path, "patch": f"@@ -1 +1 @@\n-old\n+{text}"}]

    return [
        b'{"id": "\xff\xfe"}',
        b"[" * 200_000,
        b"[1, 2]",
        b'{"id": "x"',
        b'{"id": "' + b"x" * 50_000_000 + b'"}',
        b"\0" * 1000,
        dump(2, files=change("new_line(1)", "../../etc/passwd")),
        dump(3, files=change("new_line(2)", f"a{escape}.py")),
        dump(4, files=[]),
        dump(5, files=[{"path": "a.bin", "patch": "\0\0\0"}]),
        dump(6, answers={"Describe": bomb, "Review": "[" * 60_000, "Improve": "x: " * 20_000}),
        dump(7, title=escape, description=fence, files=change(f"print('{fence}') # seven")),
        dump(8, commits=["x"] * 100_000),
        dump(9, merged_at="the day before"),
    ]


def test_no_row_stops_the_pass(tmp_path: Path) -> None:
    """Hostile rows are left out with a reason or made harmless, and the good ones stay."""
    good = [json.dumps(make_row(n, files=[make_file(n)])).encode() for n in (20, 21, 22)]
    path = tmp_path / "prs.jsonl"
    path.write_bytes(b"\n".join([good[0], *make_hostile(), *good[1:]]))
    held = {"holdout": "Newest", "perTool": 1}
    config = make_config({"train": {"uri": str(path)}, "eval": held, "cleaning": {}})
    summary = build(config, tmp_path / "out")
    dropped = load(tmp_path / "out/dropped.parquet")
    examples = load(tmp_path / "out/train.parquet")
    reasons = Counter(row["reason"] for row in dropped)

    assert {row["pr"] for row in examples} >= {"acme/shop#20", "acme/shop#21"}
    assert reasons["BrokenRow"] >= 9
    assert {row["tool"] for row in dropped if row["pr"] == "acme/shop#6"} == set(ANSWERS)
    left_out = Counter(row["reason"] for row in dropped if row["set"] == "train")
    assert summary["dropped"] == dict(sorted(left_out.items()))
    assert not any("\x1b" in row["user"] + row["system"] for row in examples)
    assert not any("\x1b" in (row["detail"] or "") + row["row"] for row in dropped)
    assert not any(row["data"] and len(row["data"]) > 1_000_000 for row in dropped)


def make_file(number: int) -> dict[str, Any]:
    """Return a changed file that resembles no other."""
    lines = "\n".join(f"+word{number}_{line} = call{number * 7}_{line}()" for line in range(9))
    return {"path": f"m{number}.py", "patch": f"@@ -1 +1,9 @@\n-x\n{lines}"}


def test_a_set_that_was_built_is_a_source(tmp_path: Path) -> None:
    """A run that names the files of a build trains on the same, and asks the same."""
    rows = [make_row(n, files=[make_file(n)], languages={"Go": n, "C": 1}) for n in range(1, 6)]
    rows[2]["answers"] = {"Describe": ANSWERS["Describe"], "Review": "LGTM"}
    rows[3]["answers"] = {}
    rows[4]["answered_by"] = {"Review": "vendor/model-2026"}
    source = {"uri": str(save_rows(tmp_path / "prs.jsonl", rows))}
    config = make_config({"train": source, "eval": {"holdout": "Newest", "perTool": 1}})
    build(config, tmp_path / "prompts")
    built = tmp_path / "rows"
    build(config, built, form=Form.ROWS)
    named = {"train": {"uri": str(built / "train.parquet")}}
    named["eval"] = {"uri": str(built / "eval.parquet")}
    build(make_config(named), tmp_path / "again")
    first, *_ = load(built / "train.parquet")
    (asked,) = load(built / "eval.parquet")

    for name in ("train.parquet", "eval.jsonl"):
        assert (tmp_path / "prompts" / name).read_bytes() == (
            tmp_path / "again" / name
        ).read_bytes()
    assert [row["id"][-1] for row in load(built / "train.parquet")] == ["1", "2", "3"]
    assert first["languages"] == [{"name": "Go", "bytes": 1}, {"name": "C", "bytes": 1}]
    assert asked["answered_by"] == {
        "Describe": None,
        "Review": "vendor/model-2026",
        "Improve": None,
    }


def test_a_set_that_was_built_loads_as_a_dataset(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The `datasets` library reads the folder as it is."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    import datasets  # noqa: PLC0415 - takes a second

    rows = [make_row(n, files=[make_file(n)], languages={"Go": n}) for n in (1, 2, 3)]
    source = {"uri": str(save_rows(tmp_path / "prs.jsonl", rows))}
    config = make_config({"train": source, "eval": {"holdout": "Newest", "perTool": 1}})
    build(config, tmp_path / "rows", form=Form.ROWS)
    found = datasets.load_dataset(str(tmp_path / "rows"), cache_dir=str(tmp_path / "cache"))

    assert {name: part["id"] for name, part in found.items()} == {
        "train": ["acme/shop#1", "acme/shop#2"],
        "test": ["acme/shop#3"],
    }
    assert found["train"][0]["answers"]["Review"] == ANSWERS["Review"]
