"""Datasets with their cards, published to folders, to a real S3 server and to a hub of tests."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from bucket_server import BucketServer, leading_to_server
from hub_uploads import UploadHub, running_uploads
from make_dataset import SECRET_ROW, make_dataset, make_finished_row
from make_pulls import ANSWERS

from tunebench_api.v1alpha1 import Answers, TrainSource
from tunebench_jobs.data.github import GitHubPlace
from tunebench_jobs.data.opened import Row
from tunebench_jobs.data.publish.command import main
from tunebench_jobs.data.sources import open_source
from tunebench_jobs.files import build_file_digest
from tunebench_jobs.storage.sources import fetch_source

pytestmark = pytest.mark.jobs

PUBLISHED = ["README.md", "eval.parquet", "lengths.png", "manifest.json", "train.parquet"]
TOKEN, OTHER = "hub" * 8, "bad" * 8
# In a process of its own, without a cache and without a hub.
LOAD = """
import json, sys
from datasets import load_dataset
sets = load_dataset(sys.argv[1])
rows = {name: [dict(row) for row in rows] for name, rows in sets.items()}
print(json.dumps([rows, {name: rows.column_names for name, rows in sets.items()}]))
"""


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """Return the folder of a finished dataset without a card."""
    return make_dataset(tmp_path / "dataset")


def load_files(folder: Path) -> dict[str, bytes]:
    """Return what is in a folder."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def load_with_library(folder: Path, cache: Path) -> list[Any]:
    """Return the rows and the columns that the `datasets` library reads."""
    done = subprocess.run(
        [sys.executable, "-c", LOAD, str(folder)],
        env={**os.environ, "HF_HOME": str(cache), "HF_HUB_OFFLINE": "1"},
        stdout=subprocess.PIPE,
        check=True,
    )
    found: list[Any] = json.loads(done.stdout)
    return found


def publish(*arguments: str, **environment: str) -> tuple[int, Any]:
    """Run the command in a process of its own; return its exit code and its document."""
    command = [sys.executable, "-P", "-m", "tunebench_operator", "dataset", "publish"]
    done = subprocess.run(
        [*command, *arguments, "-o", "json"],
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        check=False,
    )
    return done.returncode, json.loads(done.stdout)


def test_the_library_reads_a_published_folder(dataset: Path, tmp_path: Path) -> None:
    """`load_dataset` finds both splits by the card, with nested files and answers."""
    code, document = publish(str(dataset), "--to", str(tmp_path / "out"))
    rows, columns = load_with_library(tmp_path / "out", tmp_path / "cache")

    assert code == 0
    assert document["load"] == f"load_dataset({str(tmp_path / 'out')!r})"
    assert sorted(load_files(tmp_path / "out")) == PUBLISHED
    assert {name: len(found) for name, found in rows.items()} == {"train": 8, "test": 2}
    assert columns["train"] == columns["test"]
    assert {"id", "files", "answers", "answered_by", "languages"} <= set(columns["train"])
    assert rows["test"][0]["answers"] == ANSWERS
    assert rows["train"][0]["files"][0]["patch"].startswith("@@ -1 +1 @@")


def test_a_run_reads_a_published_file(dataset: Path, tmp_path: Path) -> None:
    """What `spec.dataset.train.uri` names holds the same pull requests."""
    out = tmp_path / "out"

    assert main([str(dataset), "--to", str(out)]) == 0
    assert load_pulls(out / "train.parquet") == [f"acme/shop#{n}" for n in range(1, 9)]


def load_pulls(path: Path) -> list[str]:
    """Return the ids of a file, as a run reads it."""
    source = TrainSource.from_wire({"uri": str(path)})
    clones, github = path.parent / "clones", GitHubPlace(path.parent / "github")
    opened = open_source(source, "train", answers=Answers.ROWS, clones=clones, collections=github)
    return [row.pr.id for row in opened.rows if isinstance(row, Row)]


def test_nothing_kept_aside_is_published_unasked(dataset: Path, tmp_path: Path) -> None:
    """What was left out may hold secrets; folders, keys and servers are nobody's business."""
    main([str(dataset), "--to", str(tmp_path / "out")])
    main([str(dataset), "--to", str(tmp_path / "all"), "--with-dropped"])
    everything = b"".join(load_files(tmp_path / "out").values())
    manifest = json.loads((tmp_path / "out/manifest.json").read_text())

    assert SECRET_ROW.encode() not in everything
    for private in (b"/data/ada", b"secret-project", b"user:pass", b"token=abc", b"llm-keys"):
        assert private not in everything
    assert b"internal.example" not in everything
    assert list(manifest["files"]) == ["train.parquet", "eval.parquet"]
    assert {"dropped.parquet", "candidates.jsonl"} < set(load_files(tmp_path / "all"))


def test_a_published_folder_can_be_published(dataset: Path, tmp_path: Path) -> None:
    """It is whole, and gives the same bytes again."""
    main([str(dataset), "--to", str(tmp_path / "one")])
    main([str(tmp_path / "one"), "--to", str(tmp_path / "two")])

    assert load_files(tmp_path / "one") == load_files(tmp_path / "two")


@pytest.mark.parametrize("name", ["train.parquet", "eval.parquet"])
def test_a_changed_file_is_not_published(
    dataset: Path, tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A file that is not the manifest's is named, and nothing is written."""
    (dataset / name).write_bytes((dataset / name).read_bytes() + b" ")

    assert main([str(dataset), "--to", str(tmp_path / "out")]) == 2
    assert name in caplog.text
    assert not (tmp_path / "out").exists()


def test_a_folder_is_never_taken_for_whole_too_early(
    dataset: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Another dataset's manifest is gone before the first file is replaced; what is there stays."""
    out = tmp_path / "out"
    main([str(make_dataset(tmp_path / "older", [make_finished_row(20)])), "--to", str(out)])
    (out / "README.md").unlink()
    (out / "README.md").mkdir()

    assert main([str(dataset), "--to", str(out)]) == 2
    assert f"`{out}/README.md` must be a path that can be used" in caplog.text
    assert not (out / "manifest.json").exists()
    before = (out / "train.parquet").stat().st_ino
    (out / "README.md").rmdir()
    assert main([str(dataset), "--to", str(out)]) == 0
    assert (out / "train.parquet").stat().st_ino == before
    assert build_file_digest(out / "train.parquet") == build_file_digest(dataset / "train.parquet")


def test_a_bucket_gets_what_it_lacks(
    dataset: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Objects that are whole are not sent again, damaged ones are, and a run reads them."""
    with leading_to_server(tmp_path, monkeypatch) as server:
        to = "s3://bench/sets/prs"
        sent = [send(dataset, to, capsys)]
        main([str(dataset), "--to", str(tmp_path / "out")])
        capsys.readouterr()
        objects = server.bucket / "sets/prs"
        first = load_files(objects)
        sent.append(send(dataset, to, capsys))
        (objects / "eval.parquet").write_bytes(b"x" * (objects / "eval.parquet").stat().st_size)
        (objects / "manifest.json").unlink()
        sent.append(send(dataset, to, capsys))

        assert sent == [5, 0, 2]
        assert first == load_files(objects) == load_files(tmp_path / "out")
        assert_readable(server)


def send(dataset: Path, to: str, capsys: pytest.CaptureFixture[str]) -> int:
    """Publish, and return how many files were sent."""
    assert main([str(dataset), "--to", to, "-o", "json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["train"] == f"{to}/train.parquet"
    return int(document["sent"])


def assert_readable(server: BucketServer) -> None:
    """Fail unless a run can fetch and read what lies in the bucket."""
    path = fetch_source("s3://bench/sets/prs/train.parquet", "spec.dataset.train.uri")

    assert path.is_relative_to(server.folder.parent / "cache")
    assert len(load_pulls(path)) == 8


def test_the_hub_gets_one_private_commit(dataset: Path, tmp_path: Path) -> None:
    """All files arrive in one commit, which the line to load it names; again adds nothing."""
    hub = UploadHub("acme/prs", TOKEN)
    codes, documents = [], []
    with running_uploads(hub) as address:
        for _ in range(2):
            code, document = publish_to_hub(dataset, address, tmp_path)
            codes.append(code)
            documents.append(document)
    main([str(dataset), "--to", str(tmp_path / "out")])

    assert codes == [0, 0]
    assert hub.private
    assert hub.commits == 1
    assert hub.files == load_files(tmp_path / "out")
    for document in documents:
        assert document["load"] == f'load_dataset("acme/prs", revision="{hub.sha}")'
        assert document["train"] == f"hf://datasets/acme/prs@{hub.sha}/train.parquet"


def publish_to_hub(
    dataset: Path, address: str, home: Path, *options: str, token: str = TOKEN
) -> tuple[int, Any]:
    """Publish to a hub; its own storage of chunks, which the tests lack, is switched off."""
    environment = {"HF_ENDPOINT": address, "HF_TOKEN": token, "HF_HUB_DISABLE_XET": "1"}
    to = "hf://datasets/acme/prs"
    return publish(str(dataset), "--to", to, *options, HF_HOME=str(home / "hub"), **environment)


def test_an_interrupted_upload_goes_on(dataset: Path, tmp_path: Path) -> None:
    """Nobody sees a part of it, and large files that arrived are not sent again."""
    hub = UploadHub("acme/prs", TOKEN, failures=1)
    with running_uploads(hub) as address:
        code, _ = publish_to_hub(dataset, address, tmp_path)

        assert code != 0
        assert not hub.files
        assert len(hub.stored) == 2
        code, _ = publish_to_hub(dataset, address, tmp_path)

    assert code == 0
    assert hub.puts == 4
    assert sorted(hub.files) == PUBLISHED


def test_an_open_dataset_is_not_written_to_unasked(dataset: Path, tmp_path: Path) -> None:
    """What was to be private stays so; `--public` says that it need not be."""
    hub = UploadHub("acme/prs", TOKEN, private=False)
    with running_uploads(hub) as address:
        refused, document = publish_to_hub(dataset, address, tmp_path)
        allowed, _ = publish_to_hub(dataset, address, tmp_path, "--public")

    assert (refused, allowed) == (2, 0)
    assert "--public" in document["problems"][0]["message"]
    assert hub.commits == 1


def test_a_wrong_token_is_named(dataset: Path, tmp_path: Path) -> None:
    """The user must act, and is told which variable; the token is not shown."""
    with running_uploads(UploadHub("acme/prs", TOKEN)) as address:
        code, document = publish_to_hub(dataset, address, tmp_path, token=OTHER)

    assert code == 2
    assert "HF_TOKEN" in document["problems"][0]["message"]
    assert OTHER not in json.dumps(document)
