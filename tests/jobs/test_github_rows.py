"""What pull requests hold comes through, be it large, odd or hostile."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from github_collecting import collect, list_merged
from github_server import GitHubServer
from github_world import FakeFile, FakePull, FakeRepository, make_moment

from tunebench_jobs.data.opened import BrokenRow, Row
from tunebench_jobs.data.parse_row import parse_row
from tunebench_jobs.errors import InputError
from tunebench_jobs.rows import PullRequest

pytestmark = pytest.mark.jobs


def test_patches_that_the_list_lacks_come_from_the_raw_diff(tmp_path: Path) -> None:
    """Large files have their patch there only; binary ones need no request."""
    large = FakeFile("large.py", "@@ -1 +1,2 @@\n-a\n+b\n+c", hidden=True)
    moment = make_moment(1)
    pulls = [
        FakePull(1, moment, moment, files=[large, FakeFile("b.py")]),
        FakePull(2, moment, moment, files=[FakeFile("i.png", binary=True)]),
    ]
    server = GitHubServer(FakeRepository(7, "acme/shop", pulls))
    _, rows = collect(server, tmp_path)
    server.close()

    assert rows[1].files[0].patch == large.patch
    assert rows[0].files[0].is_binary
    assert server.count(r"/pulls/1$") == 1
    assert server.count(r"/pulls/2$") == 0


def test_giant_pull_requests_are_counted_and_not_cut(tmp_path: Path) -> None:
    """More files than GitHub makes a diff of, or a diff that it does not make."""
    many = [FakeFile(f"f{number}.py") for number in range(301)]
    lost = FakeFile("lost.py", raw={"filename": "lost.py", "status": "modified", "changes": 9})
    moment = make_moment(1)
    pulls = [
        FakePull(1, moment, moment, files=many),
        FakePull(2, moment, moment, files=many[:300]),
        FakePull(3, moment, moment, files=[]),
        FakePull(4, moment, moment, files=[lost, FakeFile("x.py", hidden=True)]),
    ]
    server = GitHubServer(FakeRepository(7, "acme/shop", pulls))
    found, rows = collect(server, tmp_path)
    server.close()

    assert [len(row.files) for row in rows] == [300]
    assert found.facts["pulls_dropped"] == {"NoChange": 1, "NoDiff": 1, "TooLarge": 1}


def test_whole_files_cost_one_request_for_each_changed_file(tmp_path: Path) -> None:
    """The file before is made from the file after and the patch; added ones need no request."""
    moment = make_moment(1)
    files = [
        FakeFile("a.py", "@@ -2 +2 @@\n-x = 1\n+x = 2", new_text=b"# a\nx = 2\ny = 3\n"),
        FakeFile("new.py", "@@ -0,0 +1,2 @@\n+a\n+b", status="added"),
        FakeFile("old.py", "@@ -1 +0,0 @@\n-gone", status="removed"),
        FakeFile("latin.py", new_text=b"\xff\xfe"),
    ]
    server = GitHubServer(
        FakeRepository(7, "acme/shop", [FakePull(1, moment, moment, files=files)])
    )
    _, (without,) = collect(server, tmp_path)
    _, (row,) = collect(server, tmp_path, fileContents="Fetch")
    _, (later,) = collect(server, tmp_path)
    server.close()

    assert [(each.old_text, each.new_text) for each in row.files] == [
        ("# a\nx = 1\ny = 3\n", "# a\nx = 2\ny = 3\n"),
        ("", "a\nb\n"),
        ("gone\n", ""),
        (None, None),
    ]
    assert server.count("/git/blobs/") == 2
    assert without == later


HOSTILE = {
    "ansi": "\x1b[2J\x1b]0;owned\x07",
    "nul": "a\0b",
    "surrogate": "\ud800",
    "huge": "x" * (5 << 20),
    "delimiters": "=====\n```yaml\nsystem:",
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_words_are_data(
    github: GitHubServer, shop: FakeRepository, tmp_path: Path, kind: str
) -> None:
    """They come through as UTF-8 can say them, steer no terminal, and break no line."""
    text = HOSTILE[kind]
    pull = next(each for each in shop.pulls if each.number == 29)
    pull.title, pull.body, pull.commits = text, text, [text]
    pull.files = [FakeFile("a.py", f"@@ -1 +1 @@\n-a\n+{text}")]
    _, rows = collect(github, tmp_path, limit=2)
    again, later = collect(github, tmp_path, limit=2)
    said = text.encode("utf-8", "replace").decode()
    shown = re.sub(r"[\0\x07\x1b]", "\ufffd", said)

    assert [row.id for row in rows] == ["acme/shop#29", "acme/shop#28"]
    assert later == rows
    assert (rows[0].title, rows[0].description, rows[0].commits) == (shown, shown, (shown,))
    assert rows[0].files[0].patch.endswith(f"+{said}")
    assert isinstance(parse_json_row(rows[0]), Row)
    assert again.facts["pulls_dropped"] == {}


def parse_json_row(pull: PullRequest) -> Row | BrokenRow:
    """Read a row back from the file that `dataset collect` writes."""
    return parse_row(json.loads(pull.model_dump_json()), "prs.jsonl:1")


@pytest.mark.parametrize(
    "path", ["../../etc/passwd", "/etc/passwd", "a\x1b[2J.py", "a\u202egpj.py"]
)
def test_names_that_deceive_are_left_out(
    github: GitHubServer, shop: FakeRepository, tmp_path: Path, path: str
) -> None:
    """No name leads out of a folder or steers a terminal, in whichever row it stands."""
    by_number = {each.number: each for each in shop.pulls}
    by_number[29].files = [FakeFile("a.py"), FakeFile(path)]
    by_number[28].files = [FakeFile("a.py", status="renamed", previous_path=path)]
    found, rows = collect(github, tmp_path, limit=3)

    assert [row.id for row in rows] == ["acme/shop#27"]
    assert found.facts["pulls_dropped"] == {"UnsafeName": 2}
    assert found.facts["dropped_pulls"][0]["detail"].startswith("a path must")
    assert found.facts["dropped_pulls"][0]["detail"].isprintable()


def test_answers_of_another_shape_end_nothing(
    github: GitHubServer, shop: FakeRepository, tmp_path: Path
) -> None:
    """What the API does not document is left out with a reason."""
    by_number = {each.number: each for each in shop.pulls}
    by_number[29].raw = {"number": "x", "merged_at": 5, "updated_at": make_moment(80)}
    by_number[28].files[0].raw = {"filename": None}
    by_number[27].author, by_number[27].body = None, None
    found, rows = collect(github, tmp_path, limit=3)

    assert [row.id for row in rows] == ["acme/shop#27", "acme/shop#26"]
    assert (rows[0].author, rows[0].description) == ("", "")
    assert found.facts["pulls_dropped"] == {"Broken": 1}


def test_a_line_that_was_cut_off_is_asked_again(
    github: GitHubServer, shop: FakeRepository, tmp_path: Path
) -> None:
    """As after a crash, at every shard's end; a line that was changed is named."""
    collect(github, tmp_path)
    shards = sorted(tmp_path.rglob("*.jsonl"))
    for shard in shards:
        shard.write_bytes(shard.read_bytes()[:-20])
    _, rows = collect(github, tmp_path)
    assert [row.id for row in rows] == list_merged(shop)

    largest = max(shards, key=lambda each: each.stat().st_size)
    largest.write_bytes(b"{}\n" + largest.read_bytes())

    with pytest.raises(InputError, match=r"\.jsonl:1: broken line; delete it"):
        collect(github, tmp_path)


def test_what_another_machine_did_not_send_is_asked_again(
    github: GitHubServer, shop: FakeRepository, tmp_path: Path
) -> None:
    """Pages and ends of lists count only where the pull requests that they tell are here."""
    collect(github, tmp_path)
    for shard in tmp_path.rglob("*.jsonl"):
        lines = shard.read_bytes().splitlines(keepends=True)
        kept = [line for line in lines if not line.startswith(b'{"head"') or b"Change 7" in line]
        shard.write_bytes(b"".join(kept))
    _, rows = collect(github, tmp_path)

    assert [row.id for row in rows] == list_merged(shop)
