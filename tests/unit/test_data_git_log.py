"""The output of `git log` is read by counting, so that no content can pass for structure."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import Any

import pytest

from tunebench_jobs.data.file_languages import find_main_language
from tunebench_jobs.data.git_landings import plan_landings, plan_sides
from tunebench_jobs.data.git_log import LoggedCommit, SideCommit, parse_log

MOMENT = 1_714_550_400
AT, LATER = 1_714_636_800, 1_714_636_809
PERSON = "Ada\nada@example.org"
HEADER = f"\0{{sha}}\n{{parents}}\n{MOMENT}\n{MOMENT}\n{PERSON}\n{PERSON}\n{{message}}\0\n"


def parse(text: str) -> list[LoggedCommit]:
    """Parse a text as if git had printed it."""
    return list(parse_log(io.BytesIO(text.encode())))


def test_patch_that_looks_like_a_log_stays_a_patch() -> None:
    """Lines of a file that imitate git are lines of the file."""
    header = HEADER.format(sha="a" * 40, parents="b" * 40, message="Title\n\nBody")
    patch = "@@ -1,2 +1,3 @@ def x\n \0fake\n-diff --git a/x b/x\n+@@ -1 +1 @@\n+:100644"
    raw = ":100644 100644 1 2 M\tx\n\ndiff --git a/x b/x\nindex 1..2 100644\n--- a/x\n+++ b/x\n"
    commits = parse(f"{header}\n{raw}{patch}\n{header}")

    assert [commit.message for commit in commits] == ["Title\n\nBody"] * 2
    assert [file.patch for file in commits[0].files] == [patch]
    assert commits[0].files[0].changed_lines == 3


def test_quoted_paths_are_unquoted() -> None:
    """Git's escapes in a path become the characters they stand for."""
    header = HEADER.format(sha="a" * 40, parents="", message="Title")
    raw = ':100644 100644 1 2 R90\t"a\\tb\\"c"\t"\\303\\251\\\\n"\n'
    file = parse(f"{header}\n{raw}")[0].files[0]

    assert (file.status, file.previous_path, file.path) == ("R", 'a\tb"c', "é\\n")


def test_log_cut_off_in_a_hunk_ends() -> None:
    """The output of a killed git does not hang the reader."""
    header = HEADER.format(sha="a" * 40, parents="", message="Title")
    raw = ":100644 100644 1 2 M\tx\n\ndiff --git a/x b/x\n--- a/x\n+++ b/x\n@@ -1,9 +1,9 @@\n one\n"

    assert len(parse(f"{header}\n{raw}")) == 1


def test_side_commits_belong_to_the_merge_that_brought_them() -> None:
    """Each commit of a side branch is listed once, oldest first, at the merge that landed it."""

    def side(name: str, *parents: str) -> SideCommit:
        return SideCommit(parents, "Ada", name)

    history = {
        "m3": side("m3", "m2", "b3"),
        "b3": side("b3", "b2", "m2"),
        "m2": side("m2", "m1", "b2"),
        "b2": side("b2", "b1"),
        "b1": side("b1", "m1"),
        "m1": side("m1", "before"),
    }
    sides = plan_sides(["m3", "m2", "m1"], history)

    assert {sha: [commit.message for commit in found] for sha, found in sides.items()} == {
        "m1": [],
        "m2": ["b1", "b2"],
        # A merge within a branch is no message of its own.
        "m3": [],
    }


@pytest.mark.parametrize(
    ("messages", "changes", "groups"),
    [
        pytest.param(("One", "Two"), {}, [["a", "b"]], id="rebased together"),
        pytest.param(("One", "Two"), {"author": "Bo"}, [["a"], ["b"]], id="of two people"),
        pytest.param(("One", "Two"), {"committer": "Bo"}, [["a"], ["b"]], id="by two people"),
        pytest.param(("One", "Two"), {"committed_at": LATER}, [["a"], ["b"]], id="not at once"),
        pytest.param(("One", "Two"), {"authored_at": AT}, [["a"], ["b"]], id="written there"),
        pytest.param(("One", "Two"), {"parents": ("a", "x")}, [["a"], ["b"]], id="a merge"),
        pytest.param(("One (#1)", "Two (#1)"), {"author": "Bo"}, [["a", "b"]], id="one number"),
        pytest.param(("One (#1)", "Two (#2)"), {}, [["a"], ["b"]], id="two numbers"),
        pytest.param(("One (#1)", "Two"), {}, [["a"], ["b"]], id="a number and none"),
        pytest.param(
            ("One\n\nPR-URL: https://example.org/a/b/pull/9", "Two (#9)"),
            {"author": "Bo", "committed_at": LATER},
            [["a", "b"]],
            id="named below",
        ),
        pytest.param(
            ("One\n\nChange-Id: I1", "Two\n\nChange-Id: I2"),
            {},
            [["a"], ["b"]],
            id="reviewed alone",
        ),
    ],
)
def test_commits_of_one_rebase_are_one_pull_request(
    messages: tuple[str, str], changes: dict[str, Any], groups: list[list[str]]
) -> None:
    """A number that both name decides; else one author, and one rebase that wrote both."""
    first = SideCommit(("base",), "Ada", messages[0], "Ada", AT, MOMENT)
    second = replace(SideCommit(("a",), "Ada", messages[1], "Ada", AT, MOMENT), **changes)
    found = plan_landings(["b", "a"], {"b": second, "a": first})

    assert [list(landing.shas) for landing in reversed(found)] == groups
    assert found[-1].base == "base"


def test_main_language_is_that_of_the_code() -> None:
    """Code goes before prose and settings, and more changed lines before fewer."""
    changes = [("README.md", 90), ("a.py", 4), ("b.rs", 9), ("Dockerfile", 1), ("LICENSE", 50)]

    assert find_main_language(changes) == "Rust"
    assert find_main_language([("README.md", 1), ("x.unknown", 5)]) == "Markdown"
    assert find_main_language([("LICENSE", 1)]) == ""
