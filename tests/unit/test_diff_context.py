"""Hunks get lines of the whole file as PR-Agent adds them, by the rules of each generation."""

import pr_agent_golden as golden
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunebench_jobs.diffs import Options2024, OptionsHead
from tunebench_jobs.diffs.blocks import add_context
from tunebench_jobs.diffs.extend import extend_patch
from tunebench_jobs.diffs.extend_head import extend_patch_head
from tunebench_jobs.rows import ChangedFile

OLD = "\n".join(f"line{number}" for number in range(1, 41))
NEW = OLD.replace("line20", "LINE20")
BODY = "\n line17\n line18\n line19\n-line20\n+LINE20\n line21\n line22\n line23"
HEAD = OptionsHead()
TEXTS = st.text(alphabet=st.sampled_from("ab @-+\n\x0c"), max_size=60)


def extend_head(section: str, *, body: str = BODY, new: str = NEW) -> list[str]:
    """Extend one hunk and return its lines."""
    patch = f"@@ -17,7 +17,7 @@{section}{body}"
    return extend_patch_head(patch, OLD, new, HEAD).splitlines()


def test_golden_head() -> None:
    """The golden text of the original: both hunks begin with the function that they are in."""
    assert (
        extend_patch_head(golden.PATCH, golden.OLD, golden.NEW, HEAD) == golden.EXTENDED_PATCH_HEAD
    )


@pytest.mark.parametrize(
    ("patch", "old", "expected"),
    [
        pytest.param(
            "@@ -0,0 +1,2 @@\n+a\n+b", "", "@@ -1,0 +1,3 @@ \n+a\n+b", id="header of a new file"
        ),
        pytest.param(
            "@@ -2 +2 @@ def f\n-b\n+c",
            "a\nb",
            "@@ -1,2 +1,2 @@ def f\na\n-b\n+c\nb",
            id="a size that is absent counts as none",
        ),
        pytest.param("@@ bad @@\n+a", "a", "@@ bad @@\n+a", id="no header"),
    ],
)
def test_2024_edges(patch: str, old: str, expected: str) -> None:
    """Lines of the old file are added without a leading space, and sizes may be wrong."""
    assert extend_patch(patch, old, 1) == expected


@pytest.mark.parametrize(
    ("section", "header", "first"),
    [
        pytest.param("", "@@ -7,18 +7,18 @@ ", " line7", id="no section is in any line"),
        pytest.param(" line12", "@@ -12,13 +12,13 @@ ", " line12", id="section in sight"),
        pytest.param(" line4", "@@ -12,13 +12,13 @@ line4", " line12", id="section too far up"),
        pytest.param(" ine1", "@@ -10,15 +10,15 @@ ", " line10", id="part of the first such line"),
    ],
)
def test_head_begins_with_the_section(section: str, header: str, first: str) -> None:
    """Up to ten lines are added before if the section's line is among them, else five."""
    lines = extend_head(section)

    assert lines[:3] == ["", header, first]
    assert lines[-1] == " line24"


@pytest.mark.parametrize(
    ("changed", "header"),
    [
        pytest.param("line8", "@@ -12,13 +12,13 @@ ", id="only far up: five lines"),
        pytest.param("line14", "@@ -15,10 +15,10 @@ ", id="among the five: those below"),
        pytest.param("line16", "@@ -17,7 +17,7 @@ ", id="just above: none, and sizes stay"),
    ],
)
def test_head_adds_what_did_not_change(changed: str, header: str) -> None:
    """Lines before a hunk must be the same before and after the change."""
    lines = extend_head("", new=NEW.replace(changed, "other"))

    assert lines[1] == header
    assert lines[-1] == " line24"


def test_head_leaves_a_hunk_of_other_text_alone() -> None:
    """A hunk that begins with context which is not in the file is not extended."""
    body = BODY.replace("line17", "other")

    assert extend_head(" f", body=body) == ["", "@@ -17,7 +17,7 @@ f", *body.splitlines()[1:]]


@pytest.mark.parametrize(
    ("patch", "old", "new", "header"),
    [
        pytest.param(
            "@@ -1,2 +0,0 @@\n-a\n-b", "a\nb", "", "@@ -1,2 +1,0 @@ ", id="nothing is left"
        ),
        pytest.param(
            "@@ -30,2 +30,2 @@\n l30\n-l31\n+z",
            "a\nb",
            "a\nb",
            "@@ -25,2 +25,2 @@ ",
            id="past the end",
        ),
        pytest.param(
            "@@ -3,0 +4,2 @@\n+y\n+z",
            "a\nb\nq\nl4\nc",
            "a\nb\nq\ny\nz\nl4\nc",
            "@@ -3,0 +4,2 @@ ",
            id="without context the windows do not meet",
        ),
    ],
)
def test_head_promises_no_line_past_the_end(patch: str, old: str, new: str, header: str) -> None:
    """Sizes stop at the end of the file."""
    assert extend_patch_head(patch, old, new, HEAD).splitlines()[1] == header


def test_settings_decide_how_many_lines() -> None:
    """Each number of lines has its setting."""
    patch = f"@@ -17,7 +17,7 @@ f{BODY}"
    fewer = OptionsHead(
        patch_extra_lines_before=1, patch_extra_lines_after=0, allow_dynamic_context=False
    )
    none = OptionsHead(patch_extra_lines_before=0, patch_extra_lines_after=0)

    assert extend_patch_head(patch, OLD, NEW, fewer).splitlines()[1:3] == [
        "@@ -16,8 +16,8 @@ f",
        " line16",
    ]
    assert extend_patch_head(patch, OLD, NEW, none) == patch
    assert extend_patch(patch, OLD, 0) == patch
    assert extend_patch(patch, OLD, 3).splitlines()[:2] == ["@@ -14,13 +14,13 @@ f", "line14"]


@pytest.mark.parametrize(
    "file",
    [
        pytest.param(ChangedFile(path="a.py", patch="@@ -2 +2 @@\n-b"), id="text unknown"),
        pytest.param(
            ChangedFile(path="a.md", patch="@@ -2 +2 @@\n-b", old_text="a\nb", new_text="a"),
            id="prose",
        ),
        pytest.param(
            ChangedFile(path="a.py", status="added", patch="@@ -0,0 +1 @@\n+b", new_text="b"),
            id="nothing before",
        ),
    ],
)
def test_head_extends_code_that_was_there(file: ChangedFile) -> None:
    """Prose, new files and files of unknown text keep their patch."""
    assert add_context(file, HEAD) == file.patch


@given(patch=TEXTS, old=TEXTS, new=TEXTS)
def test_every_line_of_a_patch_stays(patch: str, old: str, new: str) -> None:
    """Context is added, headers are rewritten, and no other line goes."""
    for extended in (extend_patch(patch, old, 2), extend_patch_head(patch, old, new, HEAD)):
        remaining = iter(extended.split("\n"))
        kept = [line for line in patch.splitlines() if not line.startswith("@@")]
        assert all(line in remaining for line in kept)


def test_hunks_out_of_order_get_no_context() -> None:
    """A patch that no program writes does not show the same lines again and again."""
    patch = "\n".join(["@@ -0,0 +1 @@\n+a", "@@ -2 +3 @@\n+b"] * 2)

    assert extend_patch(patch, OLD, 1) == patch
    assert extend_patch_head(patch, OLD, NEW, HEAD) == patch


def test_2024_leaves_files_of_unknown_text_alone() -> None:
    """Without the text of the file nothing is added."""
    assert add_context(ChangedFile(path="a.py", patch="@@ -2 +2 @@\n-b"), Options2024()) == (
        "@@ -2 +2 @@\n-b"
    )
