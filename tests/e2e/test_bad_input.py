"""Every mistake is found before a model is trained, and its message says what to do."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from make_tiny_run import COMMAND, make_pull_request, make_tiny_run, run_tunebench

from tunebench_operator.yaml_text import build_yaml, parse_yaml

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

Edit = Callable[[dict[str, Any], Path], None]


def edit_run(file: Path, edit: Edit) -> None:
    """Change the run in place."""
    body = parse_yaml(file.read_text())
    edit(body["spec"], file.parent)
    file.write_text(build_yaml(body))


def write_rows(path: Path, *rows: object) -> None:
    """Write rows as JSON lines."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def _rename_field(spec: dict[str, Any], _folder: Path) -> None:
    spec["models"][0]["tuning"]["epoch"] = 3


def _change_type(spec: dict[str, Any], _folder: Path) -> None:
    spec["models"][0]["tuning"]["epochs"] = "many"


def _repeat_name(spec: dict[str, Any], _folder: Path) -> None:
    spec["models"] *= 2


def _lose_dataset(spec: dict[str, Any], _folder: Path) -> None:
    spec["dataset"]["train"]["uri"] = "nowhere.jsonl"


def _ask_for_unsupported(spec: dict[str, Any], _folder: Path) -> None:
    spec["prompts"] = {"uri": "gs://bucket/prompts"}


def _break_row(_spec: dict[str, Any], folder: Path) -> None:
    write_rows(folder / "train.jsonl", make_pull_request(1, "acme/train"), {"id": "x"})


def _empty_dataset(_spec: dict[str, Any], folder: Path) -> None:
    (folder / "train.jsonl").write_text("")


def _leak(_spec: dict[str, Any], folder: Path) -> None:
    rows = [make_pull_request(1, "acme/train"), make_pull_request(101, "acme/eval")]
    write_rows(folder / "train.jsonl", *rows)


def _lose_base(spec: dict[str, Any], _folder: Path) -> None:
    spec["models"][0]["base"] = "./no-such-model"


def _break_prompts(spec: dict[str, Any], folder: Path) -> None:
    prompts = folder / "prompts"
    prompts.mkdir()
    text = '[pr_description_prompt]\nsystem = "Describe"\nuser = "{{ headline }} {{ diff }}"\n'
    (prompts / "pr_description_prompts.toml").write_text(text)
    spec["prompts"] = {"uri": "./prompts"}


def _lose_key(spec: dict[str, Any], _folder: Path) -> None:
    secret = {"name": "llm-keys", "key": "TUNEBENCH_TEST_ABSENT_KEY"}
    spec["judges"] = [{"name": "vendor", "model": "openai/gpt-4o", "secretRef": secret}]


def _break_several(spec: dict[str, Any], folder: Path) -> None:
    _lose_key(spec, folder)
    _lose_base(spec, folder)
    spec["judges"].append(
        {"name": "own", "model": "openai/mine", "apiBase": "http://127.0.0.1:9/v1"}
    )


@pytest.mark.parametrize(
    ("edit", "expected"),
    [
        pytest.param(_rename_field, ["spec.models[0].tuning.epoch", "epochs"], id="unknown field"),
        pytest.param(_change_type, ["spec.models[0].tuning.epochs", "whole number"], id="type"),
        pytest.param(_repeat_name, ["spec.models", "tiny-1"], id="two models of one name"),
        pytest.param(_ask_for_unsupported, ["spec.prompts.uri", "not supported"], id="unsupported"),
        pytest.param(_lose_dataset, ["spec.dataset.train.uri", "nowhere"], id="missing file"),
        pytest.param(_break_row, ["train.jsonl:2", "repository"], id="broken row"),
        pytest.param(_empty_dataset, ["EmptyDataset", "spec.dataset.train"], id="empty dataset"),
        pytest.param(_leak, ["train.jsonl:2", "eval.jsonl:2"], id="leak"),
        pytest.param(_lose_base, ["no-such-model"], id="missing base"),
        pytest.param(_break_prompts, ["pr_description_prompts.toml", "headline"], id="prompts"),
        pytest.param(_lose_key, ["TUNEBENCH_TEST_ABSENT_KEY", "spec.judges"], id="missing key"),
        pytest.param(
            _break_several,
            [
                "`spec.judges[vendor].secretRef`",
                "`spec.judges[own].apiBase`",
                "`spec.models[tiny-1]`",
            ],
            id="all at once",
        ),
    ],
)
def test_a_mistake_is_named_with_its_remedy(
    tmp_path: Path, edit: Edit, expected: list[str]
) -> None:
    """Exit code 2 before training starts, and a message that names field or file."""
    file = make_tiny_run(tmp_path / "run")
    edit_run(file, edit)

    done = run_tunebench("run", str(file), "--store", str(tmp_path / "store"))

    assert done.returncode == 2, done.stderr
    for words in expected:
        assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert not list((tmp_path / "store").glob("train/*"))


def test_a_full_disk_is_named_and_earlier_work_kept(tmp_path: Path) -> None:
    """A store without space ends with code 1 and says so; with space the run goes on."""
    file = make_tiny_run(tmp_path / "run", retries=0)
    store = tmp_path / "store"
    store.mkdir()
    # A small file system of our own, with the first results on it and no room for a model.
    script = (
        'mount -t tmpfs -o size=600k tmpfs "$1" && shift && "$@"; code=$?; ls "$store"; exit $code'
    )
    command = ["unshare", "--map-root-user", "--mount", "sh", "-c", script, "sh", str(store)]
    command += [*COMMAND, "run", str(file), "--store", str(store)]
    environment = os.environ | {"store": str(store)}

    done = subprocess.run(
        command, capture_output=True, text=True, timeout=280, check=False, env=environment
    )

    assert done.returncode == 1, done.stderr
    assert "full" in done.stderr or "No space left" in done.stderr
    assert "kept" in done.stderr
    assert "data" in done.stdout.split()
