"""What GitHub tells becomes rows: patches, whole files, lists and searches."""

from __future__ import annotations

import difflib
from datetime import UTC, datetime
from typing import Any

import pytest
from github_world import FakeFile
from hypothesis import given
from hypothesis import strategies as st

from tunebench_api.v1alpha1 import GitHubSource
from tunebench_jobs.data.github import find_github_token
from tunebench_jobs.data.github.archive import Merged
from tunebench_jobs.data.github.build import DroppedPull, build_pull
from tunebench_jobs.data.github.client import GitHubClient
from tunebench_jobs.data.github.errors import Refusal
from tunebench_jobs.data.github.listing import Wanted, choose, is_enough
from tunebench_jobs.data.github.models import PullDetails, PullFile, PullHead, Repository
from tunebench_jobs.data.github.raw_diff import parse_raw_diff
from tunebench_jobs.data.github.search import Window, find_repositories, parse_query
from tunebench_jobs.data.github.texts import build_new_text, build_old_text
from tunebench_jobs.errors import InputError
from tunebench_jobs.rows import PullRequest

NOW = datetime(2024, 6, 1, tzinfo=UTC)
LINES = st.lists(st.sampled_from(["a", "b", "", "@@ -1 +1 @@", "-x", "\\", "\rc"]), max_size=30)
TEXTS = st.builds(
    lambda lines, end: "\n".join(lines) + ("\n" if lines and end else ""), LINES, st.booleans()
)
REPOSITORY = Repository(id=1, name="acme/shop", license="MIT", languages={"Python": 5})
HEAD = PullHead(number=3, updated_at="2024-01-02T00:00:00Z", merged_at="2024-01-01T00:00:00Z")


def make_patch(old: str, new: str, context: int) -> str:
    """Return a patch as GitHub writes it."""
    olds, news = (text.split("\n") for text in (old, new))
    olds, news = ([f"{line}\n" for line in lines[:-1]] + lines[-1:] for lines in (olds, news))
    made = difflib.unified_diff([x for x in olds if x], [x for x in news if x], n=context)
    lines = [
        line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n"
        for line in list(made)[2:]
    ]
    return "".join(lines).removesuffix("\n")


@given(TEXTS, TEXTS, st.integers(0, 3))
def test_a_patch_leads_from_either_side_to_the_other(old: str, new: str, context: int) -> None:
    """Whatever the lines look like, and with or without a last line break."""
    patch = make_patch(old, new, context)

    assert build_old_text(new, patch) == old
    assert build_new_text(old, patch) == new


def test_a_patch_of_another_file_is_noticed() -> None:
    """Rather no whole file than a wrong one."""
    assert build_old_text("x\ny\n", "@@ -1 +1 @@\n-a\n+b") is None
    assert build_old_text("b\n", "@@ -90 +90 @@\n-a\n+b") is None


def test_a_raw_diff_gives_each_file_its_patch() -> None:
    """Renames, removals, odd names and lines that look like headers."""
    files = [
        FakeFile("a.py", "@@ -1,2 +1,2 @@ def f():\n--- a/b.py\n+++ b/b.py\n x"),
        FakeFile("new name.py", previous_path="old.py", status="renamed"),
        FakeFile("image.png", binary=True),
        FakeFile("end.txt", "@@ -1 +1 @@\n-a\n+b\n\\ No newline at end of file"),
    ]
    quoted = (
        'diff --git "a/\\303\\244.py" "b/\\303\\244.py"\n--- "a/\\303\\244.py"\n+++ /dev/null\n'
    )
    diff = "".join(file.to_diff() for file in files) + quoted + "@@ -1 +0,0 @@\n-a\n"

    assert parse_raw_diff(diff.encode()) == {
        "a.py": files[0].patch,
        "new name.py": files[1].patch,
        "end.txt": files[3].patch,
        "ä.py": "@@ -1 +0,0 @@\n-a",
    }
    assert parse_raw_diff(b"no diff\xff at all") == {}


@pytest.mark.parametrize(
    ("oldest", "wanted", "enough"),
    [
        pytest.param("", Wanted(9), True, id="the list is at its end"),
        pytest.param("2024-01-03", Wanted(2), True, id="two were merged after all the rest"),
        pytest.param("2024-01-04", Wanted(2), False, id="the rest may have been merged later"),
        pytest.param("2024-01-01", Wanted(9), False, id="more are wanted"),
        pytest.param("2024-01-01", Wanted(9, "2024-01-02"), True, id="the rest is too old"),
    ],
)
def test_a_list_is_read_as_far_as_needed(oldest: str, wanted: Wanted, *, enough: bool) -> None:
    """A merge is a change, so none merged later comes later in the list."""
    merged = [Merged(f"2024-01-0{day}", day, "") for day in (1, 4, 5)]

    assert is_enough(merged, oldest, wanted) is enough


def test_the_newest_merged_are_chosen() -> None:
    """By the moment of the merge, then by number; whenever they changed last."""
    merged = [
        Merged("2024-01-01", 1, "2024-09-01"),
        Merged("2024-01-03", 2, "2024-01-03"),
        Merged("2024-01-03", 7, "2024-01-04"),
    ]

    assert [each.number for each in choose(merged, Wanted(2))] == [7, 2]
    assert [each.number for each in choose(merged, Wanted(9, "2024-01-02"))] == [7, 2]


@pytest.mark.parametrize(
    ("query", "rest", "window"),
    [
        pytest.param("go", "go", "2007-10-01T00:00:00Z..2024-12-31T23:59:59Z", id="all time"),
        pytest.param(
            "a created:2020-01-01..2020-01-31 b",
            "a b",
            "2020-01-01T00:00:00Z..2020-01-31T23:59:59Z",
            id="range",
        ),
        pytest.param(
            "created:>2020-01-01", "", "2020-01-02T00:00:00Z..2024-12-31T23:59:59Z", id="after"
        ),
        pytest.param(
            "x created:<=2020-01-01", "x", "2007-10-01T00:00:00Z..2020-01-01T23:59:59Z", id="until"
        ),
        pytest.param(
            "x created:*..2020-01-01T10:00:00Z",
            "x",
            "2007-10-01T00:00:00Z..2020-01-01T10:00:00Z",
            id="moment",
        ),
        pytest.param(
            "created:2020-02-02", "", "2020-02-02T00:00:00Z..2020-02-02T23:59:59Z", id="day"
        ),
    ],
)
def test_windows_of_a_search(query: str, rest: str, window: str) -> None:
    """A search that has a window of its own is split within it."""
    parsed = parse_query(query, NOW)

    assert (parsed[0], str(parsed[1])) == (rest, window)


@pytest.mark.parametrize("query", ["created:soon", "created:2020-13-01", "created:1 created:2"])
def test_a_window_that_cannot_be_read_is_refused(query: str) -> None:
    """The message says what a window looks like."""
    with pytest.raises(InputError, match="2020-01"):
        parse_query(query, NOW)


@given(st.integers(0, 10**9), st.integers(1, 10**9))
def test_halves_are_the_whole(start: int, seconds: int) -> None:
    """No second is in both halves or in none."""
    whole = Window(datetime.fromtimestamp(start, UTC), datetime.fromtimestamp(start + seconds, UTC))
    left, right = whole.halve()

    assert (left.first, right.last) == (whole.first, whole.last)
    assert (right.first - left.last).total_seconds() == 1


async def test_a_search_that_never_splits_ends() -> None:
    """Where one second made more than GitHub shows, the rest is missing, and that is said."""
    asked = []

    async def fetch(url: str) -> tuple[Any, str | None]:
        asked.append(url)
        item = {"name": f"a/r{len(asked)}", "stars": 1}
        return {"total_count": 1500, "incomplete_results": False, "items": [item]}, None

    found = await find_repositories(
        "created:2020-01-01T00:00:00Z..2020-01-01T00:00:07Z", fetch, limit=5000, now=NOW
    )

    assert found.is_incomplete
    # The whole, seven windows that are split, and eight seconds.
    assert len(asked) == 16


def test_a_row_has_what_github_tells() -> None:
    """Statuses that rows do not know become those they do."""
    files = (
        PullFile(path="a.py", status="copied", patch="@@ -0,0 +1 @@\n+a", changes=1, new_text="a"),
        PullFile(path="run.sh", status="changed"),
        PullFile(path="same.py", status="unchanged"),
        PullFile(path="i.png", status="added", sha="12"),
        PullFile(path="empty", status="added", sha="e69de29bb2d1d6434b8b29ae775ad8c2e48c5391"),
        PullFile(path="b.py", status="renamed", previous_path="c.py", sha="34"),
    )
    row = build_pull(
        REPOSITORY, HEAD, PullDetails(number=3, files=files, commits=("m",)), texts=False
    )

    assert isinstance(row, PullRequest)
    assert (row.id, row.license, row.language) == ("acme/shop#3", "MIT", "Python")
    assert [(each.path, each.status, each.is_binary) for each in row.files] == [
        ("a.py", "added", False),
        ("run.sh", "modified", False),
        ("i.png", "added", True),
        ("empty", "added", False),
        ("b.py", "renamed", False),
    ]
    assert row.files[0].new_text is None
    assert row.files[4].previous_path == "c.py"


@pytest.mark.parametrize(
    ("details", "reason"),
    [
        pytest.param(None, "Unanswered", id="no answer"),
        pytest.param(PullDetails(number=3), "NoChange", id="no file"),
        pytest.param(PullDetails(number=3, refusal=Refusal.TOO_LARGE), "TooLarge", id="refused"),
        pytest.param(
            PullDetails(number=3, files=(PullFile(path="x" * 5000),)), "Broken", id="path"
        ),
    ],
)
def test_what_gives_no_row_has_a_reason(details: PullDetails | None, reason: str) -> None:
    """It is counted and named, and stops nothing."""
    dropped = build_pull(REPOSITORY, HEAD, details, texts=True)

    assert isinstance(dropped, DroppedPull)
    assert (dropped.id, dropped.reason) == ("acme/shop#3", reason)


def test_the_users_own_token_goes_to_github_alone() -> None:
    """A run file that leads elsewhere must name a token."""
    environment = {"GITHUB_TOKEN": "own", "OTHER": "named", "work.OTHER": "of-the-Secret"}
    public = GitHubSource(repositories=("a/b",))
    elsewhere = public.model_copy(update={"api_base": "https://evil.example"})
    named = GitHubSource.from_wire(
        {"repositories": ["a/b"], "secretRef": {"name": "work", "key": "OTHER"}}
    )

    assert find_github_token(public, "f", environment) == "own"
    assert find_github_token(public, "f", {}) is None
    assert find_github_token(elsewhere, "f", environment) is None
    assert find_github_token(named, "f", environment) == "of-the-Secret"
    with pytest.raises(InputError, match=r"`f\.secretRef` must name a token that is set"):
        find_github_token(named, "f", {})


def test_a_token_that_cannot_be_a_header_is_not_shown() -> None:
    """A library would quote it in its error."""
    with pytest.raises(InputError) as caught:
        find_github_token(GitHubSource(repositories=("a/b",)), "f", {"GITHUB_TOKEN": "se\ncret"})

    assert "cret" not in str(caught.value).replace("secretRef", "")


def test_an_address_with_a_password_is_refused_without_showing_it() -> None:
    """It would stand in messages and in the manifest."""
    with pytest.raises(InputError, match=r"`f\.apiBase` must hold no password") as caught:
        GitHubClient("https://me:hidden@ghe.example/api/v3", None, field="f")

    assert "hidden" not in str(caught.value)
