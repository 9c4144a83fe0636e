"""`dataset from-git` writes a history as rows that the data stage reads."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from make_repository import MadeCommit, make_repository

from tunebench_api.v1alpha1 import Tool
from tunebench_jobs.answers import parse_answer
from tunebench_jobs.data.from_git import main
from tunebench_jobs.data.load import load_rows

pytestmark = pytest.mark.jobs


def make_shop(tmp_path: Path) -> Path:
    """Return a repository with two changes and one commit to drop."""
    return make_repository(
        tmp_path / "shop",
        [
            MadeCommit("Count the first aisle\n\nIt was forgotten.", {"a.py": b"1\n"}),
            MadeCommit("Count the second aisle (#2)", {"a.py": b"2\n"}),
            MadeCommit("wip", {"a.py": b"3\n"}),
        ],
    )


def test_rows_are_written_and_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The rows load again, and the JSON on standard output counts every commit."""
    out = tmp_path / "out" / "prs.jsonl"
    arguments = ["--repository", str(make_shop(tmp_path)), "--out", str(out), "-o", "json"]
    code = main([*arguments, "--human-answers"])
    rows = [row.pr for row in load_rows(out, "uri")]
    summary = json.loads(capsys.readouterr().out)

    assert code == 0
    assert [row.title for row in rows] == ["Count the second aisle", "Count the first aisle"]
    assert all(
        parse_answer(Tool.DESCRIBE, row.answers[Tool.DESCRIBE] or "", semantic_files=False).level
        == "strict"
        for row in rows
    )
    assert summary["commits_seen"] == 3
    assert summary["commits_kept"] == 2
    assert summary["commits_dropped"] == {"NoDescription": 1}


def test_text_says_why_commits_were_dropped(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without -o json a person reads counts and meanings; answers are written only if asked."""
    out = tmp_path / "prs.jsonl"
    code = main(["--repository", str(make_shop(tmp_path)), "--out", str(out)])
    said = capsys.readouterr().out

    assert code == 0
    assert "2 of 3 commits kept" in said
    assert "1 dropped: NoDescription (no title that says something)" in said
    assert not any(row.pr.answers for row in load_rows(out, "uri"))


def test_an_address_is_cloned_as_it_was_written(tmp_path: Path) -> None:
    """The command line keeps both slashes of an address, and what it says is one JSON document."""
    out = tmp_path / "prs.jsonl"
    command = [sys.executable, "-m", "tunebench_operator", "dataset", "from-git"]
    done = subprocess.run(
        [*command, f"file://{make_shop(tmp_path)}", "--out", str(out), "-o", "json"],
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["commits_kept"] == 2
    assert out.exists()


def test_a_mistake_is_a_json_document_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A program that reads standard output learns what must change."""
    code = main(["--repository", str(tmp_path), "--out", str(tmp_path / "prs.csv"), "-o", "json"])
    (problem,) = json.loads(capsys.readouterr().out)["problems"]

    assert code == 2
    assert problem["field"] == "--out"
    assert "must end in .jsonl" in problem["message"]


def test_wrong_repository_ends_with_code_2(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A mistake of the user is said in a line, and nothing is written."""
    out = tmp_path / "prs.jsonl"
    code = main(["--repository", str(tmp_path / "absent"), "--out", str(out)])

    assert code == 2
    assert "`repository` must be an existing folder" in caplog.text
    assert not out.exists()
