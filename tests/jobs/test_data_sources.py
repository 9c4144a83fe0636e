"""Sources of every kind open as streams, and nothing in them ends the pass."""

from __future__ import annotations

import gzip
import json
import resource
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from importlib import metadata
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from bucket_server import BucketServer, leading_to_server
from local_http import QuietHandler, serving
from make_pulls import make_row, save_rows
from make_repository import MadeCommit, make_repository
from pyarrow import parquet

from tunebench_api.v1alpha1 import Answers, TrainSource
from tunebench_jobs.data import read_file
from tunebench_jobs.data.github import GitHubPlace
from tunebench_jobs.data.license_text import detect_license, is_license_name
from tunebench_jobs.data.opened import BrokenRow, OpenedSource, Row
from tunebench_jobs.data.sources import open_source
from tunebench_jobs.errors import InputError, RetryableError

pytestmark = pytest.mark.jobs


def open_train(tmp_path: Path, source: dict[str, Any]) -> OpenedSource:
    """Open a training source."""
    train = TrainSource.from_wire(source)
    clones, collections = tmp_path / "clones", GitHubPlace(tmp_path / "github")
    return open_source(train, "train", answers=Answers.ROWS, clones=clones, collections=collections)


def read(tmp_path: Path, source: dict[str, Any]) -> tuple[list[str], list[BrokenRow], Any]:
    """Return the ids and the broken rows of a source, and its facts."""
    opened = open_train(tmp_path, source)
    rows = list(opened.rows)
    ids = [row.pr.id.rpartition("#")[2] for row in rows if isinstance(row, Row)]
    return ids, [row for row in rows if isinstance(row, BrokenRow)], opened.facts


def make_folder(tmp_path: Path) -> Path:
    """Return a folder with a file of each kind, and others that are none."""
    folder = tmp_path / "prs"
    (folder / "more").mkdir(parents=True)
    (folder / ".cache").mkdir()
    lines = json.dumps(make_row(1)).encode()
    (folder / "a.jsonl.gz").write_bytes(gzip.compress(lines))
    (folder / "b.jsonl.zst").write_bytes(pa.compress(lines, "zstd", asbytes=True))
    (folder / "c.json").write_text(json.dumps([make_row(3), make_row(4)]))
    (folder / "d.json").write_text(json.dumps(make_row(5)))
    languages = pa.array([[("Go", 7)]], pa.map_(pa.string(), pa.int64()))
    table = pa.Table.from_pylist([make_row(6)]).append_column("languages", languages)
    parquet.write_table(table, folder / "more" / "e.parquet")
    save_rows(folder / ".cache" / "x.jsonl", [make_row(9)])
    save_rows(folder / "_unfinished.jsonl", [make_row(9)])
    (folder / "README.md").write_text("# ours")
    return folder


def test_a_folder_is_all_of_its_files(tmp_path: Path) -> None:
    """JSONL, JSON and Parquet, compressed or not, in the order of their names."""
    ids, broken, facts = read(tmp_path, {"uri": str(make_folder(tmp_path))})

    assert (ids, broken) == (["1", "1", "3", "4", "5", "6"], [])
    assert facts["rows"] == 6
    assert [(file["name"], file["rows"]) for file in facts["files"]] == [
        ("a.jsonl.gz", 1),
        ("b.jsonl.zst", 1),
        ("c.json", 2),
        ("d.json", 1),
        ("more/e.parquet", 1),
    ]


def test_a_pattern_is_what_matches(tmp_path: Path) -> None:
    """A star stands for a part of a name, two stars for folders in between."""
    folder = make_folder(tmp_path)

    assert read(tmp_path, {"uri": f"{folder}/[bc].*"})[0] == ["1", "3", "4"]
    assert read(tmp_path, {"uri": f"{folder}/**/*.parquet"})[0] == ["6"]
    with pytest.raises(InputError, match="at least one file that ends in"):
        open_train(tmp_path, {"uri": f"{folder}/*.csv"})


def test_links_that_lead_back_are_not_followed(tmp_path: Path) -> None:
    """Two of them would make a pattern's folders without number, and each row a copy."""
    folder = tmp_path / "prs"
    (folder / "deep").mkdir(parents=True)
    save_rows(folder / "deep/a.jsonl", [make_row(1)])
    (folder / "deep/back").symlink_to("..")
    (folder / "again").symlink_to(".")
    (folder / "self.jsonl").symlink_to("self.jsonl")

    assert read(tmp_path, {"uri": f"{folder}/**/*.jsonl"})[0] == ["1"]
    assert read(tmp_path, {"uri": f"{folder}/**"})[0] == ["1"]
    assert read(tmp_path, {"uri": str(folder)})[0] == ["1"]
    with pytest.raises(InputError, match=r"`spec\.dataset\.train\.uri` must be a pattern"):
        open_train(tmp_path, {"uri": f"{folder}/a**/x.jsonl"})


LARGE = pa.map_(pa.string(), pa.uint64())
MAP_OF_STRUCTS = pa.map_(pa.struct([("a", pa.int64())]), pa.int64())


@pytest.mark.parametrize(
    "column",
    [
        pytest.param(("merged_at", pa.array([2**62], pa.timestamp("us"))), id="moment far away"),
        pytest.param(("merged_at", pa.array([1], pa.timestamp("s", "Mars/Base"))), id="zone"),
        pytest.param(("merged_at", pa.array([2**60], pa.date64())), id="day far away"),
        pytest.param(("merged_at", pa.array([2**62], pa.duration("s"))), id="duration"),
        pytest.param(("title", pa.array([b"\xff"], pa.binary())), id="bytes"),
        pytest.param(("languages", pa.array([[("Go", 2**64 - 1)]], LARGE)), id="large number"),
        pytest.param(("languages", pa.array([[({"a": 1}, 7)]], MAP_OF_STRUCTS)), id="odd keys"),
    ],
)
def test_types_that_no_row_has_cost_one_row(tmp_path: Path, column: tuple[str, Any]) -> None:
    """What Arrow can say and a row cannot is a broken row, and the other file is read."""
    row = make_row(1)
    row.pop(column[0], None)
    table = pa.Table.from_pylist([row]).append_column(*column)
    parquet.write_table(table, tmp_path / "a.parquet")
    save_rows(tmp_path / "b.jsonl", [make_row(2)])
    ids, broken, _ = read(tmp_path, {"uri": str(tmp_path)})

    assert ids == ["2"]
    assert len(broken) == 1
    assert "a.parquet:row 1" in broken[0].origin


def test_hostile_rows_do_not_end_the_stream(tmp_path: Path) -> None:
    """Each is a broken row at its line, and all good rows are read."""
    lines = [
        json.dumps(make_row(1)).encode(),
        b'{"a":',
        b"[" * 100_000,
        b"\xff\xfe",
        json.dumps(make_row(2, files=[{"path": "../x"}])).encode(),
        json.dumps(make_row(3)).encode(),
    ]
    path = tmp_path / "prs.jsonl"
    path.write_bytes(b"\n".join(lines))
    ids, broken, facts = read(tmp_path, {"uri": str(path)})

    assert ids == ["1", "3"]
    assert [row.origin for row in broken] == [f"{path}:{number}" for number in (2, 3, 4, 5)]
    assert (facts["rows"], facts["broken"]) == (2, 4)
    assert f"{path}:2: broken row: must be JSON" in str(broken[0].build_error())


def test_an_endless_line_takes_no_memory(tmp_path: Path) -> None:
    """A line of 500 MB is read past, and what follows is read."""
    path = tmp_path / "prs.jsonl.gz"
    with gzip.open(path, "wb", compresslevel=1) as file:
        for _ in range(500):
            file.write(b"x" * 1_000_000)
        file.write(b"\n" + json.dumps(make_row(1)).encode())
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    ids, broken, _ = read(tmp_path, {"uri": str(path)})
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) << 10

    assert ids == ["1"]
    assert "at most 32 MiB, got 500000001 bytes" in broken[0].detail
    assert grown < 4 * read_file.MAX_ROW_BYTES


@pytest.mark.parametrize("ending", ["jsonl.gz", "jsonl.xz", "jsonl.bz2", "jsonl.zst", "parquet"])
def test_damage_costs_no_other_file(tmp_path: Path, ending: str) -> None:
    """A file that is not what its name says is a broken row."""
    save_rows(tmp_path / "b.jsonl", [make_row(1)])
    (tmp_path / f"a.{ending}").write_bytes(b"\x1f\x8bgarbage" * 9)
    ids, broken, _ = read(tmp_path, {"uri": str(tmp_path)})

    assert ids == ["1"]
    assert len(broken) == 1
    assert f"a.{ending}" in broken[0].origin


def test_parquet_text_that_is_no_utf8_costs_one_row(tmp_path: Path) -> None:
    """Arrow holds any bytes; the rows around them are read."""
    table = pa.Table.from_pylist([make_row(n) for n in range(1, 4)])
    place = table.column_names.index("title")
    titles = pa.array([b"Count the stock", b"\xff\xfe", b"Count again"]).view(pa.string())
    parquet.write_table(table.set_column(place, "title", titles), tmp_path / "prs.parquet")
    ids, broken, _ = read(tmp_path, {"uri": str(tmp_path / "prs.parquet")})

    assert ids == ["1", "3"]
    assert broken[0].origin.endswith("prs.parquet:row 2")


class _Handler(QuietHandler, BaseHTTPRequestHandler):
    """Serves rows, errors and bodies that end too early."""

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path not in {"/prs.jsonl", "/short.jsonl", "/list.txt"}:
            self.send_error({"/denied.jsonl": 403, "/down.jsonl": 503}.get(path, 404))
            return
        body = json.dumps(make_row(1)).encode()
        if path == "/list.txt":
            body = b"/etc\n"
        self.send_response(200)
        self.send_header("Content-Length", str(len(body) + 9 * (path == "/short.jsonl")))
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def web() -> Iterator[str]:
    """Return the address of a web server without ranges or listings."""
    with serving(_Handler) as address:
        yield address.replace("://", "://ada:secret@")


def test_rows_come_over_http(tmp_path: Path, web: str) -> None:
    """The facts have a digest of what came, and no password or signature."""
    ids, _, facts = read(tmp_path, {"uri": f"{web}/prs.jsonl?signature=abc"})

    assert ids == ["1"]
    assert facts["uri"] == f"{web.replace('ada:secret@', '')}/prs.jsonl"
    assert len(facts["sha256"]) == 64


@pytest.mark.parametrize(
    ("name", "error", "words"),
    [
        ("absent.jsonl", InputError, "must name a file that exists"),
        ("denied.jsonl", InputError, "is refused.*403"),
        ("down.jsonl", RetryableError, "503"),
        ("short.jsonl", RetryableError, "does not answer as it should"),
        ("page.html", InputError, r"must end in \.jsonl"),
    ],
)
def test_a_server_that_fails_is_named(
    tmp_path: Path, web: str, name: str, error: type[Exception], words: str
) -> None:
    """What may heal is retried, what may not is for the user; passwords stay out of it."""
    with pytest.raises(error, match=words) as caught:
        read(tmp_path, {"uri": f"{web}/{name}"})

    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("uri", "words"),
    [
        ("gs://bucket/a.jsonl", "needs another package"),
        ("http://127.0.0.1:9/a.jsonl::file:///etc/x", "one URL and not a chain"),
    ],
)
def test_urls_that_cannot_be_read_are_named(tmp_path: Path, uri: str, words: str) -> None:
    """A package that is missing is named by its own library."""
    with pytest.raises(InputError, match=words):
        read(tmp_path, {"uri": uri})


@pytest.fixture
def bucket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[BucketServer]:
    """Run an S3 server that this environment leads to."""
    with leading_to_server(tmp_path, monkeypatch) as running:
        yield running


def test_a_bucket_has_folders_and_patterns(tmp_path: Path, bucket: BucketServer) -> None:
    """Rows are known by their addresses, not by those of the copies."""
    make_folder(bucket.bucket)
    folder, _, _ = read(tmp_path, {"uri": "s3://bench/prs"})
    opened = open_train(tmp_path, {"uri": "s3://bench/prs/[cd].json"})
    origins = [row.origin for row in opened.rows]

    assert folder == ["1", "1", "3", "4", "5", "6"]
    assert origins == [
        f"s3://bench/prs/{part}" for part in ("c.json:row 1", "c.json:row 2", "d.json:1")
    ]


def make_hub_folder(tmp_path: Path) -> Path:
    """Return a dataset in the layout of the hub, with columns of its own."""
    folder = tmp_path / "dataset"
    (folder / "data").mkdir(parents=True)
    rows = [
        {"key": f"acme/shop#{n}", "repo": "acme/shop", "pr": {"title": f"Count aisle {n}"},
         "files": make_row(n)["files"], "say": "title: x", "stars": 3}
        for n in (1, 2, 3)
    ]  # fmt: skip
    for number, row in enumerate(rows):
        parquet.write_table(
            pa.Table.from_pylist([row]), folder / "data" / f"train-{number}.parquet"
        )
    (folder / "README.md").write_text(
        "---\nconfigs:\n- config_name: prs\n  data_files: data/*\n---\n"
    )
    return folder


COLUMNS = [
    {"name": "id", "source": "key"},
    {"name": "repository", "source": "repo"},
    {"name": "title", "source": "pr.title"},
    {"name": "answers.Describe", "source": "say"},
]


def test_a_dataset_of_the_hub_is_mapped(tmp_path: Path) -> None:
    """Columns come from where the run says, others are named as ignored."""
    folder = make_hub_folder(tmp_path)
    opened = open_train(tmp_path, {"huggingFace": {"path": str(folder), "columns": COLUMNS}})
    rows = list(opened.rows)
    pulls = [row.pr for row in rows if isinstance(row, Row)]

    assert [pull.id for pull in pulls] == ["acme/shop#1", "acme/shop#2", "acme/shop#3"]
    assert (pulls[0].title, pulls[0].answers) == ("Count aisle 1", {"Describe": "title: x"})
    assert rows[0].origin == f"{folder}[train]:row 1"
    assert (opened.facts["rows"], opened.facts["ignored_columns"]) == (3, ["stars"])
    assert len(opened.facts["sha256"]) == 64


def test_media_of_a_dataset_are_not_opened(tmp_path: Path) -> None:
    """A dataset that calls a column an image names any file of this machine by it."""
    image = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    secret = tmp_path / "secret.png"
    secret.write_text("ours")
    titles = pa.array([{"bytes": None, "path": str(secret)}], image)
    row = make_row(1, title=None)
    table = pa.Table.from_pylist([{name: row[name] for name in ("id", "repository", "files")}])
    text = {"dtype": "string", "_type": "Value"}
    files = [{"path": text, "patch": text}]
    features = {"id": text, "repository": text, "files": files, "title": {"_type": "Image"}}
    told = {b"huggingface": json.dumps({"info": {"features": features}}).encode()}
    table = table.append_column("title", titles).replace_schema_metadata(told)
    (tmp_path / "hub").mkdir()
    parquet.write_table(table, tmp_path / "hub/train.parquet")
    ids, broken, _ = read(tmp_path, {"huggingFace": {"path": str(tmp_path / "hub")}})

    assert ids == []
    assert "`title`" in broken[0].detail


def test_a_damaged_file_of_a_dataset_costs_no_other(tmp_path: Path) -> None:
    """It is a broken row, and a limit counts rows as they come."""
    folder = make_hub_folder(tmp_path)
    whole = (folder / "data" / "train-1.parquet").read_bytes()
    (folder / "data" / "train-1.parquet").write_bytes(whole[:20] + b"\xff" * 90 + whole[110:])
    source = {"path": str(folder), "columns": COLUMNS}
    ids, broken, _ = read(tmp_path, {"huggingFace": source})
    first, _, _ = read(tmp_path, {"huggingFace": {**source, "limit": 1}})

    assert (ids, first) == (["1", "3"], ["1"])
    assert broken[0].origin == f"{folder}[train]:file 2"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        pytest.param({"split": "test"}, "split", id="split"),
        pytest.param({"name": "other"}, "configuration", id="configuration"),
        pytest.param({"path": "/absent"}, "existing folder", id="folder"),
        pytest.param(
            {"columns": [{"name": "headline", "source": "x"}]}, r"columns\[0\]\.name", id="ours"
        ),
        pytest.param(
            {"columns": [{"name": "title", "source": "x.y"}]}, r"columns\[0\]\.source", id="theirs"
        ),
        pytest.param({"secretRef": {"name": "s", "key": "ABSENT"}}, "`ABSENT`", id="secret"),
    ],
)
def test_what_a_dataset_lacks_is_named(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    """A mistake is told by its field before a row is read."""
    source = {"path": str(make_hub_folder(tmp_path)), **changes}

    with pytest.raises(InputError, match=words):
        open_train(tmp_path, {"huggingFace": source})


@pytest.mark.parametrize("name", ["dataset.py", "a.txt", "a.pkl"])
def test_a_dataset_runs_nothing_of_its_own(tmp_path: Path, name: str) -> None:
    """Scripts, pickles and loaders other than those of rows are refused."""
    (tmp_path / "dataset").mkdir()
    (tmp_path / "dataset" / name).write_text("raise SystemExit")

    with pytest.raises(InputError):
        open_train(tmp_path, {"huggingFace": {"path": str(tmp_path / "dataset")}})


def make_list(tmp_path: Path) -> Path:
    """Return a list of repositories, of which two cannot be read."""
    for team in ("one", "two"):
        (tmp_path / team).mkdir()
        commit = MadeCommit(f"Count the stock of team {team} (#1)", {"a.py": team.encode()})
        path = make_repository(tmp_path / team / "shop", [commit])
        subprocess.run(["git", "branch", "old"], cwd=path, check=True)
    listed = tmp_path / "list.txt"
    listed.write_text(
        f"# ours\n\none/shop old\n./absent\nfile://{tmp_path}/two/shop  # cloned\none/shop old\n"
    )
    return listed


def test_a_list_names_many_repositories(tmp_path: Path) -> None:
    """Each is read in its turn; one that fails, or is there twice, is named by its line."""
    listed = make_list(tmp_path)
    opened = open_train(tmp_path, {"git": {"list": str(listed)}})
    rows = list(opened.rows)
    ids = [row.pr.id for row in rows if isinstance(row, Row)]
    broken = {row.origin: row.detail for row in rows if isinstance(row, BrokenRow)}

    assert ids == ["shop#1", "two/shop#1"]
    assert list(broken) == [f"{listed}:4", f"{listed}:6"]
    assert "must be an existing folder" in broken[f"{listed}:4"]
    assert "listed in line 3 already" in broken[f"{listed}:6"]
    assert [each.get("commits_kept") for each in opened.facts["repositories"]] == [1, None, 1, None]
    assert (opened.facts["commits_seen"], opened.facts["commits_kept"]) == (2, 2)


def test_a_list_from_elsewhere_names_no_paths(tmp_path: Path, web: str) -> None:
    """A stranger's list cannot read repositories of this machine."""
    _, broken, _ = read(tmp_path, {"git": {"list": f"{web}/list.txt"}})

    assert "must have clone addresses, got /etc" in broken[0].detail


def test_from_git_takes_a_list(tmp_path: Path) -> None:
    """The command writes the rows of all, or says which line is wrong and writes nothing."""
    listed, out = make_list(tmp_path), tmp_path / "prs.jsonl"
    command = [sys.executable, "-m", "tunebench_operator", "dataset", "from-git", "--out", str(out)]

    def run() -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*command, "--list", str(listed), "--file-texts"],
            capture_output=True, text=True, check=False,
        )  # fmt: skip

    failed = run()
    assert failed.returncode == 2
    assert "list.txt:4: broken row: the repository cannot be read" in failed.stderr
    assert not out.exists()

    listed.write_text("one/shop\ntwo/shop\n")
    assert run().returncode == 0
    ids, _, _ = read(tmp_path, {"uri": str(out)})
    assert ids == ["1", "1"]
    assert json.loads(out.read_text().splitlines()[0])["files"][0]["new_text"] == "one"


def test_licences_of_installed_packages_are_recognised() -> None:
    """What a package says of itself is what its only licence file is taken for, or unknown."""
    wrong, right = [], 0
    for package in metadata.distributions():
        said = package.metadata.get("License-Expression")
        files = [file for file in package.files or () if is_license_name(file.name)]
        if said not in {"MIT", "BSD-3-Clause", "BSD-2-Clause", "Apache-2.0"} or len(files) != 1:
            continue
        found = detect_license(Path(str(files[0].locate())).read_text("utf-8", errors="replace"))
        right += found == said
        wrong += [(package.name, said, found)] if found not in {said, None} else []

    assert not wrong
    assert right > 30
