"""Diffs look as PR-Agent showed them, quirks included."""

import time

import pr_agent_golden as golden
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pr_agent_golden import make_file, make_whole_file

from tunebench_jobs.diffs import (
    Budget,
    DiffView,
    Options2024,
    PromptFormat,
    build_options,
    render_diff,
    strip_line_numbers,
)
from tunebench_jobs.diffs.blocks import build_block
from tunebench_jobs.rows import ChangedFile

LINES = st.text(alphabet=st.sampled_from("@-+ \\a1,\n\r\x0c"), max_size=200)


def build(patch: str, style: PromptFormat, *, numbered: bool = True) -> str:
    """Build the block of a modified file."""
    return build_block(make_file(patch), patch, numbered=numbered, style=style)


def render(
    *files: ChangedFile,
    style: PromptFormat,
    numbered: bool = False,
    languages: dict[str, int] | None = None,
) -> str:
    """Render files with context and without a limit."""
    options = build_options(style)
    view = DiffView(numbered=numbered, context=True, chunked=False, options=options)
    return render_diff(files, languages or {}, view, Budget(0, lambda: ("", ""), style)).text


def test_plain_2024() -> None:
    """A file is a heading and its patch; files are joined by an empty line."""
    diff = render(*[make_file("@@ -1 +1 @@\n-a\n+b")] * 2, style="2024")

    assert diff == "\n".join(["\n\n## src/m.py\n\n@@ -1 +1 @@\n-a\n+b\n"] * 2)


def test_numbered_2024() -> None:
    """The golden text of the original, whose markers eat the blank lines before them."""
    assert build(golden.PATCH, "2024") == golden.NUMBERED_2024


@pytest.mark.parametrize(
    ("style", "numbered", "expected"),
    [
        pytest.param("2024", False, golden.EXTENDED_2024, id="2024, Describe and Review"),
        pytest.param("HEAD", False, golden.PLAIN_HEAD, id="HEAD, Describe"),
        pytest.param("HEAD", True, golden.NUMBERED_HEAD, id="HEAD, Review"),
    ],
)
def test_whole_files_are_extended(style: PromptFormat, expected: str, *, numbered: bool) -> None:
    """Where a row has the whole file, hunks get the original's context."""
    assert render(make_whole_file(), style=style, numbered=numbered) == expected


@pytest.mark.parametrize(
    ("patch", "body"),
    [
        pytest.param("@@ -1,2 +0,0 @@\n-a\n-b", "", id="deleted file"),
        pytest.param(
            "@@ -0,0 +1,2 @@\n+a\n+b\n\\ No newline at end of file",
            "\n\n@@ -0,0 +1,2 @@\n__new hunk__\n1 +a\n2 +b",
            id="new file",
        ),
        pytest.param(
            "@@ -2,1 +1,0 @@\n-import sys\n@@ -20,1 +19,1 @@\n-    v = 7\n+    v = 77",
            "\n\n@@ -20,1 +19,1 @@\n__new hunk__\n19 +    v = 77\n__old hunk__\n-import sys\n"
            "-    v = 7",
            id="removed lines move into the next hunk",
        ),
        pytest.param("Binary files a/m and b/m differ", "", id="no hunk"),
        pytest.param(
            "--- \n+++ \n@@ -0,0 +1 @@\n+a",
            "\n__new hunk__\n-1 +++\n__old hunk__\n--- \n\n@@ -0,0 +1 @@\n__new hunk__\n1 +a",
            id="what difflib writes before the first hunk",
        ),
    ],
)
def test_numbered_2024_edges(patch: str, body: str) -> None:
    """Hunks that add nothing follow the original's quirks."""
    assert build(patch, "2024") == "\n\n## file: 'src/m.py'" + body


def test_plain_head() -> None:
    """HEAD quotes the path and puts an empty line between hunks."""
    diff = build("@@ -1 +1 @@\n-a\n+b\n@@ -9 +9 @@\n+c", "HEAD", numbered=False)

    assert diff == "\n\n## File: 'src/m.py'\n\n@@ -1 +1 @@\n-a\n+b\n\n@@ -9 +9 @@\n+c\n"


@pytest.mark.parametrize(
    ("patch", "body"),
    [
        pytest.param(
            "@@ -5,2 +5,3 @@ \n x\n-    w = 4\n+    w = 44\n+v\n\n@@ -13 +14 @@ \n b\n+p",
            "\n\n@@ -5,2 +5,3 @@\n__new hunk__\n5  x\n6 +    w = 44\n7 +v\n__old hunk__\n x\n"
            "-    w = 4\n\n@@ -13 +14 @@\n__new hunk__\n14  b\n15 +p",
            id="old lines only where lines are removed",
        ),
        pytest.param(
            "@@ -2 +1,0 @@\n-a\n@@ -9 +8 @@\n+b",
            "\n\n@@ -2 +1,0 @@\n__new hunk__\n__old hunk__\n-a\n\n@@ -9 +8 @@\n__new hunk__\n8 +b",
            id="removal only",
        ),
    ],
)
def test_numbered_head(patch: str, body: str) -> None:
    """HEAD shows old lines only where some are removed."""
    assert build(patch, "HEAD") == "\n\n## File: 'src/m.py'" + body


def test_deleted_file_head() -> None:
    """HEAD names a deleted file and shows nothing of it."""
    file = ChangedFile(path="a.py", status="removed", patch="@@ -1 +0,0 @@\n-a")

    assert render(file, style="HEAD", numbered=True) == "\n\n## File 'a.py' was deleted\n"


@pytest.mark.parametrize(
    ("style", "text", "expected"),
    [
        pytest.param(
            "2024", "a\nb", "\n\n## b.py\n\n--- \n+++ \n@@ -1,0 +1,3 @@ \n+a\n+b\n", id="2024"
        ),
        pytest.param(
            "HEAD",
            "a\nb",
            "\n\n## File: 'b.py'\n\n--- \n+++ \n\n@@ -1 +1,2 @@\n-\n+a\n+b\n",
            id="HEAD sees an empty line before",
        ),
        pytest.param("HEAD", "  \n", "", id="HEAD, nothing but spaces"),
    ],
)
def test_a_file_that_only_moved_is_shown_whole(
    style: PromptFormat, text: str, expected: str
) -> None:
    """PR-Agent compares it with the old text under the new name, where there is none."""
    file = ChangedFile(
        path="b.py", previous_path="a.py", status="renamed", old_text=text, new_text=text
    )

    assert render(file, style=style) == expected


def test_a_file_that_moved_gets_no_context() -> None:
    """Its old text is not under its new name."""
    file = ChangedFile(
        path="b.py",
        previous_path="a.py",
        status="renamed",
        patch="@@ -3 +3 @@\n-c\n+C",
        old_text="a\nb\nc\nd",
        new_text="a\nb\nC\nd",
    )

    assert render(file, style="2024") == "\n\n## b.py\n\n@@ -2,2 +2,2 @@ \n-c\n+C\n"
    assert render(file, style="HEAD") == "\n\n## File: 'b.py'\n\n@@ -3 +3 @@\n-c\n+C\n"


def test_files_of_the_main_language_come_first() -> None:
    """Within a language the order is that of the pull request; other files come last."""
    files = [
        make_file("@@ -1 +1 @@\n+x", path) for path in ("z.txt", "b.c", "a.py", "c.py", "x.PY")
    ]
    diff = render(*files, style="HEAD", languages={"C": 5, "python": 9, "Unknown": 7})

    order = [line.split("'")[1] for line in diff.splitlines() if line.startswith("## ")]
    assert order == ["a.py", "c.py", "b.c", "z.txt", "x.PY"]


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        pytest.param("src/a.py", ("2024", "HEAD"), id="code"),
        pytest.param("yarn.lock", (), id="lock"),
        pytest.param(".gitignore", (), id="the name is its type"),
        pytest.param("vendor/lib/a.go", (), id="vendored"),
        pytest.param("lib/vendor/a.go", ("2024", "HEAD"), id="vendored elsewhere"),
        pytest.param("web/package-lock.json", ("2024",), id="generated by name"),
        pytest.param("web/app.min.js", ("2024",), id="generated by ending"),
        pytest.param("go.mod", ("2024", "HEAD"), id="written by people"),
    ],
)
def test_files_that_are_seldom_code_are_left_out(path: str, shown: tuple[str, ...]) -> None:
    """A file is shown or not by its name, as in each generation, and is said to be left out."""
    styles: tuple[PromptFormat, ...] = ("2024", "HEAD")

    for style in styles:
        view = DiffView(numbered=False, context=True, chunked=False, options=build_options(style))
        budget = Budget(0, lambda: ("", ""), style)
        diff = render_diff([make_file(path=path)], {}, view, budget)
        assert (path in diff.text) == (style in shown)
        assert diff.facts.left_out == (() if style in shown else (path,))


def test_all_files_are_shown_where_the_set_says_so() -> None:
    """Without the selection every file with a patch is shown, in the order of the row."""
    options = Options2024(select_files=False)
    view = DiffView(numbered=False, context=False, chunked=False, options=options)
    files = [make_file("@@ -1 +1 @@\n+x", path) for path in ("yarn.lock", "a.py")]
    diff = render_diff(files, {"Python": 1}, view, Budget(0, lambda: ("", ""), "2024"))

    assert diff.text.index("yarn.lock") < diff.text.index("a.py")


def test_line_numbers_vanish() -> None:
    """HEAD's text without numbers keeps the prefix of each line and empties bare numbers."""
    assert strip_line_numbers("@@ -1 +1 @@\n9 +    w\n10  x\n13\n-1 y") == (
        "@@ -1 +1 @@\n+    w\n x\n\n-1 y"
    )


@given(
    file=st.builds(
        ChangedFile,
        path=st.just("src/m.py"),
        patch=LINES | st.text(),
        old_text=LINES,
        new_text=LINES | st.none(),
        status=st.sampled_from(["added", "modified", "removed", "renamed"]),
    ),
    numbered=st.booleans(),
    style=st.sampled_from(["2024", "HEAD"]),
    limit=st.integers(min_value=0, max_value=3000),
)
def test_any_patch_is_tolerated(
    file: ChangedFile, limit: int, *, numbered: bool, style: PromptFormat
) -> None:
    """No file raises; it is shown, or among those left out."""
    options = build_options(style)
    view = DiffView(numbered=numbered, context=True, chunked=numbered, options=options)
    diff = render_diff([file], {}, view, Budget(limit, lambda: ("s", "u"), style))

    if "src/m.py" not in diff.facts.left_out:
        assert diff.text.startswith("\n\n## ")
    elif diff.facts.is_whole:
        assert diff.text == ""


def test_many_hunks_take_seconds() -> None:
    """The time to build a diff grows with its length and no faster."""
    patch = "\n".join(f"@@ -{number} +{number} @@\n-a\n+b\n " for number in range(1, 40_000))
    start = time.process_time()
    text = build(patch, "2024")

    assert text.count("__new hunk__") == 39_999
    assert time.process_time() - start < 20


def test_an_endless_number_is_no_header() -> None:
    """A header whose numbers Python refuses to read is a line like any other."""
    patch = f"@@ -{'9' * 5000} +1 @@\n+a"

    assert build(patch, "HEAD", numbered=False).endswith("@@\n+a\n")
