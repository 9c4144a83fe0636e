"""A repository's history becomes pull requests."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
from make_repository import LINK, SUBMODULE, Change, MadeCommit, list_commits, make_repository

from tunebench_api.v1alpha1 import CleaningSpec
from tunebench_jobs.data.git_pulls import CommitDrop, PullRules, build_rules
from tunebench_jobs.data.git_source import GitHistory, GitOptions, open_history
from tunebench_jobs.data.opened import Row
from tunebench_jobs.errors import InputError
from tunebench_jobs.rows import PullRequest

pytestmark = pytest.mark.jobs

BASE: dict[str, bytes | Change] = {"app.py": b"one\ntwo\nthree\n", "README.md": b"# Read me\n"}
FIRST = MadeCommit("Start the application with a greeting\n", BASE)


def load(
    path: Path, *, human: bool = False, limit: int = 100, **options: Any
) -> tuple[GitHistory, list[Row]]:
    """Read all of a repository."""
    rules = PullRules(human_answers=human)
    history = open_history(str(path), "HEAD", GitOptions(limit, **{"rules": rules, **options}))
    rows = list(history.read())
    return history, rows


def load_newest(tmp_path: Path, *commits: MadeCommit, **options: Any) -> PullRequest:
    """Return the pull request of the newest of `commits`, which follow the first one."""
    path = make_repository(tmp_path / "inventory", [FIRST, *commits])
    return load(path, **options)[1][0].pr


def find_reason(tmp_path: Path, *commits: MadeCommit, human: bool = False) -> CommitDrop | None:
    """Return why the newest of `commits`, which follow the first one, gives no pull request."""
    path = make_repository(tmp_path / "inventory", [FIRST, *commits])
    newest = list_commits(path)[0]
    reasons = {drop.sha: drop.reason for drop in load(path, human=human)[0].dropped}
    return reasons.get(newest)


def test_github_merge_has_title_description_commits_and_files(tmp_path: Path) -> None:
    """A merge made by GitHub gives what the page of the pull request showed."""
    path = make_repository(
        tmp_path / "inventory",
        [
            FIRST,
            MadeCommit("Say two louder", {**BASE, "app.py": b"one\nTWO\nthree\n"}),
            MadeCommit("Say four\n\nIt was missing.", {**BASE, "app.py": b"one\nTWO\n4\n"}),
            MadeCommit("Change the notes of the readme", {**BASE, "README.md": b"#\n"}, [0]),
            MadeCommit(
                "Merge pull request #12 from ada/louder\n\nSpeak louder\n\nPeople could not hear."
                "\n\nSigned-off-by: Ada <ada@example.org>\n",
                {"app.py": b"one\nTWO\n4\n", "README.md": b"#\n"},
                [3, 2],
            ),
        ],
    )
    pull = load(path)[1][0].pr

    assert pull.model_dump(exclude={"files", "answers"}) == {
        "id": "inventory#12",
        "repository": "inventory",
        "title": "Speak louder",
        "description": "People could not hear.",
        "branch": "louder",
        "language": "Python",
        "merged_at": "2023-11-15T02:13:20Z",
        "license": None,
        "author": "Ada",
        "url": "",
        "commit": list_commits(path)[0],
        "fork_of": None,
        "languages": {"Python": 10},
        "answered_by": {},
        "commits": ("Say two louder", "Say four\n\nIt was missing."),
    }
    assert [(file.path, file.status, file.patch) for file in pull.files] == [
        ("app.py", "modified", "@@ -1,3 +1,3 @@\n one\n-two\n-three\n+TWO\n+4")
    ]


def test_squash_gives_number_title_and_description(tmp_path: Path) -> None:
    """A squashed pull request is read from its subject and body."""
    squash = MadeCommit(
        "Greet in French (#7)\n\n* Greet\n\n* Fix accent\n\nCo-authored-by: Bo <bo@example.org>\n",
        {**BASE, "app.py": b"un\n"},
    )
    pull = load_newest(tmp_path, squash)

    assert (pull.id, pull.title, pull.description) == (
        "inventory#7",
        "Greet in French",
        "* Greet\n\n* Fix accent",
    )
    assert pull.commits == ("Greet", "Fix accent")


def test_plain_commit_is_a_pull_request_of_its_own(tmp_path: Path) -> None:
    """Where people push or rebase onto the mainline, each commit stands for a change."""
    commit = MadeCommit("Count from zero\n\nAs programs do.", {**BASE, "app.py": b"zero\n"})
    pull = load_newest(tmp_path, commit)

    assert pull.id.startswith("inventory@")
    assert (pull.title, pull.description) == ("Count from zero", "As programs do.")


def test_number_seen_twice_gives_two_ids(tmp_path: Path) -> None:
    """A number that two commits carry, with another between, does not make two rows of one id."""
    commits = [
        MadeCommit("Greet in French (#7)", {**BASE, "app.py": b"un\n"}),
        MadeCommit("Greet in Latin (#8)", {**BASE, "app.py": b"unus\n"}),
        MadeCommit("Greet in Danish (#7)", {**BASE, "app.py": b"en\n"}),
    ]
    _, rows = load(make_repository(tmp_path / "inventory", [FIRST, *commits]))
    ids = [row.pr.id for row in rows]

    assert len(set(ids)) == len(ids) == 4


def test_rebased_commits_are_one_pull_request(tmp_path: Path) -> None:
    """Commits that one rebase landed have one title, all messages and one difference."""
    commits = [
        MadeCommit("Note how to greet people", {**BASE, "README.md": b"#\n"}),
        MadeCommit("Greet in French\n\nPeople asked.", {**BASE, "app.py": b"un\n"}, rebased=True),
        MadeCommit("Test the greeting in French", {**BASE, "app.py": b"deux\n"}, rebased=True),
    ]
    path = make_repository(tmp_path / "inventory", [FIRST, *commits])
    history, rows = load(path)
    pull = rows[0].pr

    assert (pull.title, pull.description) == (
        "Greet in French",
        "People asked.\n\n- Test the greeting in French",
    )
    assert pull.commits == ("Greet in French\n\nPeople asked.", "Test the greeting in French")
    assert [(file.path, file.patch) for file in pull.files] == [
        ("README.md", "@@ -1 +1 @@\n-#\n+# Read me"),
        ("app.py", "@@ -1,3 +1 @@\n-one\n-two\n-three\n+deux"),
    ]
    assert pull.commit == list_commits(path)[0]
    assert (history.facts["commits_seen"], history.facts["commits_kept"]) == (4, 3)
    assert history.facts["commits_joined"] == 1


def test_whole_files_are_there_before_and_after(tmp_path: Path) -> None:
    """What prompts show around a hunk comes with the row, but for long and binary files."""
    files = {**BASE, "app.py": b"1\n\xff\n", "long.py": b"a = 1\n" * 50_000, "new.py": b"x\n"}
    first = MadeCommit("Add a long file of numbers", {**BASE, "long.py": b"a = 1\n" * 49_999})
    pull = load_newest(tmp_path, first, MadeCommit("Greet by number only", files), file_texts=True)
    texts = {file.path: (file.old_text, file.new_text) for file in pull.files}

    assert texts == {
        "app.py": ("one\ntwo\nthree\n", "1\n\N{REPLACEMENT CHARACTER}\n"),
        "long.py": (None, None),
        "new.py": (None, "x\n"),
    }


def test_a_repository_has_licence_languages_and_pages(tmp_path: Path) -> None:
    """What all of its pull requests share is read from its files and its clone address."""
    license_text = (Path(__file__).parents[2] / "LICENSE").read_bytes()
    path = make_repository(
        tmp_path / "inventory",
        [MadeCommit("Count the stock again (#3)", {**BASE, "LICENSE": license_text})],
    )
    remote = "https://ada:secret@github.com/acme/inventory.git"
    subprocess.run(["git", "config", "remote.origin.url", remote], cwd=path, check=True)
    history, rows = load(path)
    pull = rows[0].pr

    assert (pull.id, pull.license) == ("acme/inventory#3", "Apache-2.0")
    assert pull.url == "https://github.com/acme/inventory/pull/3"
    assert pull.languages == {"Python": 14}
    assert history.facts["license"] == "Apache-2.0"


def test_names_that_deceive_give_no_pull_request(tmp_path: Path) -> None:
    """A file whose name steers a terminal is no part of a row, and controls leave its prose."""
    evil = MadeCommit("Add a file with a name", {**BASE, "a\x1b[2J.py": b"1\n"})
    prose = load_newest(
        tmp_path / "prose", MadeCommit("Clear \x1b[2J the screen now", {"app.py": b"1\n"})
    )

    assert find_reason(tmp_path / "name", evil) is CommitDrop.UNSAFE_NAME
    assert prose.title == "Clear \N{REPLACEMENT CHARACTER}[2J the screen now"


def test_cleaning_decides_what_a_history_leaves_out(tmp_path: Path) -> None:
    """A step that is skipped is skipped here too, and limits of the cleaning are the limits."""
    cleaning = CleaningSpec.from_wire(
        {"skip": ["Bots", "Reverts", "Generated", "Binary"], "maxFiles": 2}
    )
    rules = build_rules(cleaning, human_answers=False)
    commits = [
        MadeCommit("Bump what it needs", {**BASE, "poetry.lock": b"1\n"}, author="x[bot] <x@y>"),
        MadeCommit("Revert the greeting: too loud", {**BASE, "app.py": b"1\n"}),
        MadeCommit("Add a picture of us all", {**BASE, "app.py": b"1\n", "a.png": b"\x89\0"}),
        MadeCommit("Add three files at once", dict.fromkeys(["x.py", "y.py", "z.py"], b"1\n")),
    ]
    path = make_repository(tmp_path / "inventory", [FIRST, *commits])
    history, rows = load(path, rules=rules)

    assert [row.pr.title for row in rows] == [commits[i].message for i in (2, 1, 0)] + [
        "Start the application with a greeting"
    ]
    assert [file.is_binary for file in rows[0].pr.files] == [True]
    assert [drop.reason for drop in history.dropped] == [CommitDrop.TOO_LARGE]


@pytest.mark.parametrize(
    ("message", "changes", "reason"),
    [
        pytest.param("Say nothing at all", {}, CommitDrop.NO_CHANGE, id="no change"),
        pytest.param(
            "Add a picture of us", {"a.png": b"\x89\0\0"}, CommitDrop.BINARY_ONLY, id="binary"
        ),
        pytest.param(
            "Lock what we depend on",
            {"poetry.lock": b"a\n"},
            CommitDrop.GENERATED_ONLY,
            id="lock file",
        ),
        pytest.param(
            "Add a large table of numbers",
            {"table.csv": b"0123456789\n" * 20_000},
            CommitDrop.TOO_LARGE,
            id="large file",
        ),
        pytest.param(
            "Add very many files at once",
            {f"{number}.txt": b"a\n" for number in range(101)},
            CommitDrop.TOO_LARGE,
            id="many files",
        ),
        pytest.param(
            'Revert "Greet in French"\n\nThis reverts commit 0123456789.',
            {"app.py": b"1\n"},
            CommitDrop.REVERT,
            id="revert",
        ),
        pytest.param("wip", {"app.py": b"1\n"}, CommitDrop.NO_DESCRIPTION, id="poor title"),
        pytest.param(
            "Pin a submodule somewhere",
            {"lib": Change(b"a" * 40, SUBMODULE)},
            CommitDrop.NO_CHANGE,
            id="submodule",
        ),
        pytest.param(
            "Make it a program to run",
            {"app.py": Change(b"one\ntwo\nthree\n", "100755")},
            CommitDrop.NO_CHANGE,
            id="mode only",
        ),
    ],
)
def test_commit_is_dropped_with_its_reason(
    tmp_path: Path, message: str, changes: dict[str, bytes | Change], reason: CommitDrop
) -> None:
    """What teaches nothing is left out, and the reason is kept."""
    found = find_reason(tmp_path, MadeCommit(message, {**BASE, **changes}))

    assert found is reason


def test_bot_is_dropped(tmp_path: Path) -> None:
    """A program's pull request is dropped, whoever merges it."""
    bumped = {**BASE, "app.py": b"1\n"}
    commits = [
        MadeCommit("Bump the greeting", bumped, author="dependabot[bot] <x@example.org>"),
        MadeCommit(
            "Merge pull request #3 from acme/bump\n\nBump the greeting to 2", bumped, [0, 1]
        ),
    ]

    assert find_reason(tmp_path, *commits) is CommitDrop.BOT


def test_merge_of_the_mainline_is_dropped(tmp_path: Path) -> None:
    """A pull of the mainline lands nobody's pull request."""
    commits = [
        MadeCommit("Greet in French for once", {**BASE, "app.py": b"un\n"}),
        MadeCommit("Note how to greet people", {**BASE, "README.md": b"#\n"}, [0]),
        MadeCommit(
            "Merge branch 'main' of https://example.org/a/b",
            {"app.py": b"un\n", "README.md": b"#\n"},
            [2, 1],
        ),
    ]

    assert find_reason(tmp_path, *commits) is CommitDrop.MERGE_OF_MAINLINE


def test_squash_with_a_poor_title_is_dropped_only_for_human_answers(tmp_path: Path) -> None:
    """A title that says nothing is no lesson, but can be a task."""
    commit = MadeCommit("fix (#4)", {**BASE, "app.py": b"1\n"})

    assert find_reason(tmp_path / "human", commit, human=True) is CommitDrop.NO_DESCRIPTION
    assert find_reason(tmp_path / "rows", commit) is None


def test_only_text_that_people_write_is_kept(tmp_path: Path) -> None:
    """Locks and submodules in a change are left out of its row; renames and pictures stay."""
    files: dict[str, bytes | Change] = {
        "greeting.py": b"one\ntwo\nthree\nfour\n",
        "README.md": b"no newline at end",
        "link": Change(b"greeting.py", LINK),
        "yarn.lock": b"a\n" * 200_000,
        "logo.png": b"\x89\0",
        "lib": Change(b"a" * 40, SUBMODULE),
    }
    pull = load_newest(tmp_path, MadeCommit("Rename the application", files))
    rows = {file.path: file for file in pull.files}

    assert sorted(rows) == ["README.md", "greeting.py", "link", "logo.png"]
    assert [path for path, file in rows.items() if file.is_binary] == ["logo.png"]
    assert (rows["greeting.py"].status, rows["greeting.py"].previous_path) == ("renamed", "app.py")
    assert rows["README.md"].patch.endswith("\n\\ No newline at end of file")


def test_text_that_is_no_utf8_is_replaced(tmp_path: Path) -> None:
    """Latin text in a file or message breaks nothing."""
    pull = load_newest(tmp_path, MadeCommit("Greet the café", {**BASE, "app.py": b"\xe9cole\n"}))

    assert "+\N{REPLACEMENT CHARACTER}cole" in pull.files[0].patch


def test_settings_of_the_repository_change_nothing(tmp_path: Path) -> None:
    """Neither colours, nor diff programs, nor attributes of a checkout reach the rows."""
    path = make_repository(
        tmp_path / "inventory", [FIRST, MadeCommit("Count to one", {"app.py": b"1\n"})]
    )
    before = load(path)[1]
    settings = {
        "color.ui": "always",
        "diff.noprefix": "true",
        "diff.external": "false",
        "diff.context": "0",
        "diff.suppressBlankEmpty": "true",
        "log.showSignature": "true",
        "core.fsmonitor": "false",
        "diff.renames": "false",
    }
    for name, value in settings.items():
        subprocess.run(["git", "config", name, value], cwd=path, check=True)
    (path / ".gitattributes").write_text("*.py binary\n")

    assert load(path)[1] == before


def test_limit_counts_the_newest_commits(tmp_path: Path) -> None:
    """A limit keeps the newest commits and reads no others."""
    commits = [
        MadeCommit(f"Count further, up to {number}", {**BASE, "app.py": b"%d\n" % number})
        for number in range(5)
    ]
    history, rows = load(make_repository(tmp_path / "inventory", [FIRST, *commits]), limit=2)

    assert history.facts["commits_seen"] == 2
    assert [row.pr.title for row in rows] == [
        "Count further, up to 4",
        "Count further, up to 3",
    ]


def test_clone_of_a_url_is_brought_up_to_date(tmp_path: Path) -> None:
    """A URL is cloned once, and a later run sees what was pushed meanwhile."""
    path = make_repository(tmp_path / "inventory", [FIRST])
    url, clones = f"file://{path}", tmp_path / "clones"

    def count() -> int:
        return len(list(open_history(url, "main", GitOptions(9, clones=clones)).read()))

    first = count()
    make_repository(path, [FIRST, MadeCommit("Count to one", {"app.py": b"1\n"})])

    assert (first, count()) == (1, 2)


@pytest.mark.parametrize(
    ("person", "merged_at"),
    [
        pytest.param("A <a@b> 999999999999 +0000", None, id="year 33658"),
        pytest.param("A <a@b> 99999999999999999999 +0000", None, id="no number of a computer"),
        pytest.param("A <a@b> 1700000000 -7000000", "2023-11-14T22:13:20Z", id="zone"),
        pytest.param("A <a@b> 0 -1200", "1970-01-01T00:00:00Z", id="before the beginning"),
        pytest.param("A <a@b> yesterday", None, id="words"),
        pytest.param("nobody", None, id="no person"),
    ],
)
def test_moments_that_no_calendar_has_end_nothing(
    tmp_path: Path, person: str, merged_at: str | None
) -> None:
    """Commits of old tools have them; their pull requests have no moment, and the others theirs."""
    path = make_repository(tmp_path / "inventory", [FIRST, MadeCommit("Count all", {"b.py": b""})])
    git = ["git", "-C", str(path)]

    def run(*arguments: str, text: str = "") -> str:
        done = subprocess.run(
            [*git, *arguments], input=text, capture_output=True, text=True, check=True
        )
        return done.stdout.strip()

    commit = f"tree {run('rev-parse', 'main~^{tree}')}\nparent {run('rev-parse', 'main')}\n"
    commit += f"author {person}\ncommitter {person}\n\nCount the stock anew\n"
    sha = run("hash-object", "-t", "commit", "-w", "--literally", "--stdin", text=commit)
    run("update-ref", "refs/heads/main", sha)
    _, rows = load(path)

    assert rows[0].pr.title == "Count the stock anew"
    assert rows[0].pr.merged_at == merged_at
    assert len(rows) > 1
    assert all(row.pr.merged_at for row in rows[1:])


def test_a_clone_follows_the_main_branch(tmp_path: Path) -> None:
    """`HEAD` of an address is what it is today, not what it was when it was cloned."""
    path = make_repository(tmp_path / "inventory", [FIRST])
    url, options = f"file://{path}", GitOptions(9, clones=tmp_path / "clones")
    open_history(url, "HEAD", options)
    git = ["git", "-C", str(path)]
    subprocess.run([*git, "branch", "--quiet", "-m", "main", "trunk"], check=True)
    history = open_history(url, "HEAD", options)

    assert history.repository.branch == "trunk"
    assert len(list(history.read())) == 1


def test_a_clone_that_a_killed_fetch_left_behind_is_made_anew(tmp_path: Path) -> None:
    """Locks that nobody holds are in the way for ever."""
    path = make_repository(tmp_path / "inventory", [FIRST])
    url, options = f"file://{path}", GitOptions(9, clones=tmp_path / "clones")
    open_history(url, "main", options)
    (clone,) = (each for each in (tmp_path / "clones").iterdir() if each.is_dir())
    (clone / "refs/heads").mkdir(parents=True, exist_ok=True)
    (clone / "refs/heads/main.lock").touch()
    make_repository(path, [FIRST, MadeCommit("Count to one", {"app.py": b"1\n"})])

    assert len(list(open_history(url, "main", options).read())) == 2


@pytest.mark.parametrize(
    ("address", "ref", "words"),
    [
        pytest.param("--upload-pack=touch x", "HEAD", "begin with `-`", id="option as address"),
        pytest.param("{path}", "--output=x", "begin with `-`", id="option as ref"),
        pytest.param("{path}", "nowhere", "must name a commit", id="unknown ref"),
        pytest.param("{path}/absent", "HEAD", "existing folder", id="no folder"),
        pytest.param("{empty}", "HEAD", "must be a git repository", id="no repository"),
        pytest.param("{bare}", "HEAD", "is empty", id="no commits"),
        pytest.param("{shallow}", "HEAD", "shallow clone", id="shallow"),
        pytest.param("file://{path}/absent", "HEAD", "could not clone", id="no clone"),
        pytest.param("ext::sh -c true", "HEAD", "existing folder", id="remote helper"),
    ],
)
def test_unusable_repository_is_named(tmp_path: Path, address: str, ref: str, words: str) -> None:
    """A repository that cannot be read is an error that says what to do."""
    commits = [FIRST, MadeCommit("Count to one", {"app.py": b"1\n"})]
    path = make_repository(tmp_path / "inventory", commits)
    places = {name: tmp_path / name for name in ("empty", "bare", "shallow")}
    places["empty"].mkdir()
    subprocess.run(["git", "init", "--quiet", str(places["bare"])], check=True)
    clone = ["git", "clone", "--quiet", "--depth=1", f"file://{path}", str(places["shallow"])]
    subprocess.run(clone, check=True)
    wanted = address.format(path=path, **places)

    with pytest.raises(InputError, match=words):
        open_history(wanted, ref, GitOptions(9, clones=tmp_path / "clones"))
