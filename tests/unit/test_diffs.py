"""Diffs look as PR-Agent showed them, quirks included."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunebench_jobs.diffs import PromptFormat, build_diff, strip_line_numbers
from tunebench_jobs.rows import ChangedFile

PATCH = (
    "@@ -6,7 +6,8 @@ def a():\n"
    "     x = 1\n"
    "     y = 2\n"
    "     z = 3\n"
    "-    w = 4\n"
    "+    w = 44\n"
    "+    v = 5\n"
    "     return x\n"
    " \n"
    " \n"
    "@@ -17,6 +18,5 @@ def b():\n"
    "     s = 4\n"
    "     t = 5\n"
    "     u = 6\n"
    "-    v = 7\n"
    "     k = 8\n"
    "     return p"
)
NUMBERED_2024 = (
    "\n\n## file: 'src/m.py'\n\n@@ -6,7 +6,8 @@ def a():\n__new hunk__\n6      x = 1\n"
    "7      y = 2\n8      z = 3\n9 +    w = 44\n10 +    v = 5\n11      return x\n12  \n13\n"
    "__old hunk__\n     x = 1\n     y = 2\n     z = 3\n-    w = 4\n     return x\n \n \n\n"
    "@@ -17,6 +18,5 @@ def b():\n__new hunk__\n18      s = 4\n19      t = 5\n20      u = 6\n"
    "21      k = 8\n22      return p\n__old hunk__\n     s = 4\n     t = 5\n     u = 6\n"
    "-    v = 7\n     k = 8\n     return p"
)


def make_file(patch: str = PATCH, path: str = "src/m.py") -> ChangedFile:
    """Make a modified file."""
    return ChangedFile(path=path, patch=patch)


def test_plain_2024() -> None:
    """A file is a heading and its patch; files are joined by an empty line."""
    diff = build_diff([make_file("@@ -1 +1 @@\n-a\n+b")] * 2, numbered=False, style="2024")

    assert diff == "\n".join(["\n\n## src/m.py\n\n@@ -1 +1 @@\n-a\n+b\n"] * 2)


def test_numbered_2024() -> None:
    """The golden text of the original, whose markers eat the blank lines before them."""
    assert build_diff([make_file()], numbered=True, style="2024") == NUMBERED_2024


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
    ],
)
def test_numbered_2024_edges(patch: str, body: str) -> None:
    """Hunks that add nothing follow the original's quirks."""
    diff = build_diff([make_file(patch)], numbered=True, style="2024")

    assert diff == "\n\n## file: 'src/m.py'" + body


def test_plain_head() -> None:
    """HEAD quotes the path and puts an empty line between hunks."""
    diff = build_diff(
        [make_file("@@ -1 +1 @@\n-a\n+b\n@@ -9 +9 @@\n+c")], numbered=False, style="HEAD"
    )

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
    diff = build_diff([make_file(patch)], numbered=True, style="HEAD")

    assert diff == "\n\n## File: 'src/m.py'" + body


def test_deleted_file_head() -> None:
    """HEAD names a deleted file and shows nothing of it."""
    file = ChangedFile(path="a.py", status="removed", patch="@@ -1 +0,0 @@\n-a")

    assert build_diff([file], numbered=True, style="HEAD") == "\n\n## File 'a.py' was deleted\n"


def test_line_numbers_vanish() -> None:
    """HEAD's text without numbers keeps the prefix of each line and empties bare numbers."""
    assert strip_line_numbers("@@ -1 +1 @@\n9 +    w\n10  x\n13\n-1 y") == (
        "@@ -1 +1 @@\n+    w\n x\n\n-1 y"
    )


@given(
    patch=st.text(alphabet=st.sampled_from("@-+ \\a1,\n\r\x0c"), max_size=200) | st.text(),
    numbered=st.booleans(),
    style=st.sampled_from(["2024", "HEAD"]),
)
def test_any_patch_is_tolerated(patch: str, *, numbered: bool, style: PromptFormat) -> None:
    """No patch raises, and only an empty one leaves its file out."""
    diff = build_diff([make_file(patch)], numbered=numbered, style=style)

    assert ("src/m.py" in diff) == bool(patch)
