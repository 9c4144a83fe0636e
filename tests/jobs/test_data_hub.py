"""The hub itself, as its library and fsspec speak to it: a server on this machine stands for it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hub_server import COMMIT, Hub, running_hub
from make_pulls import make_row

pytestmark = pytest.mark.jobs

ROWS = b"".join(json.dumps(make_row(n)).encode() + b"\n" for n in (1, 2))
SESAME = "open-for-readers"
CARD = b"---\nconfigs:\n- config_name: default\n  data_files: data/*.jsonl\n---\n"
FILES = {"README.md": CARD, "data/train.jsonl": ROWS}
# In a process of its own, because the library reads the address when it is loaded.
PROGRAM = """
import json, pathlib, sys
from tunebench_api.v1alpha1 import Answers, TrainSource
from tunebench_jobs.data.github import GitHubPlace
from tunebench_jobs.data.sources import open_source
from tunebench_jobs.errors import JobError
source = TrainSource.from_wire(json.loads(sys.argv[1]))
try:
    clones, collections = pathlib.Path("clones"), GitHubPlace(pathlib.Path("github"))
    opened = open_source(
        source, "train", answers=Answers.ROWS, clones=clones, collections=collections
    )
    print(json.dumps([[row.pr.id for row in opened.rows], opened.facts]))
except JobError as error:
    print(json.dumps([type(error).__name__, str(error)]))
"""


def ask(tmp_path: Path, hub: Hub, source: dict[str, Any], **environment: str) -> list[Any]:
    """Return the ids and facts of a source of the hub, or the kind and text of the error."""
    with running_hub(hub) as address:
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, json.dumps(source)],
            env={**os.environ, "HF_ENDPOINT": address, "HF_HOME": str(tmp_path), **environment},
            stdout=subprocess.PIPE,
            check=True,
        )
    found: list[Any] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("place", ["data/train.jsonl", "data", "**/*.jsonl"])
def test_files_of_the_hub_are_read(tmp_path: Path, place: str) -> None:
    """`hf://` names a file, a folder or a pattern."""
    ids, facts = ask(tmp_path, Hub("a/b", FILES), {"uri": f"hf://datasets/a/b/{place}"})

    assert ids == ["acme/shop#1", "acme/shop#2"]
    assert facts["rows"] == 2
    assert len(facts["sha256"]) == 64


def test_a_dataset_of_the_hub_is_known_by_its_commit(tmp_path: Path) -> None:
    """Its token comes from where `secretRef` says, and goes to the hub only."""
    token = SESAME
    hub = Hub("a/b", FILES, token)
    source = {"path": "a/b", "secretRef": {"name": "hub", "key": "HUB_TOKEN"}}
    ids, facts = ask(tmp_path, hub, {"huggingFace": source}, HUB_TOKEN=token)

    assert ids == ["acme/shop#1", "acme/shop#2"]
    assert facts["revision"] == COMMIT
    assert token not in json.dumps(facts)


@pytest.mark.parametrize(
    "source",
    [{"huggingFace": {"path": "a/none"}}, {"uri": "hf://datasets/a/none/x.jsonl"}],
    ids=["dataset", "file"],
)
def test_what_the_hub_does_not_have_is_named(tmp_path: Path, source: dict[str, Any]) -> None:
    """The user must act, and is told where."""
    kind, text = ask(tmp_path, Hub("a/b", FILES), source)

    assert kind == "InputError"
    assert "a/none" in text
