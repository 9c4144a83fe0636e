"""Over its budget a diff is cut as PR-Agent cuts it, and the facts say what is gone."""

import pr_agent_golden as golden
import pytest

from tunebench_jobs.diffs import (
    Budget,
    DiffView,
    Options2024,
    PromptFormat,
    RenderedDiff,
    build_options,
    clip_text,
    render_diff,
)
from tunebench_jobs.diffs.deletions import is_gone, omit_deletion_hunks
from tunebench_jobs.rows import ChangedFile

MORE = "files (insufficient token budget to process):\n"
# Each line is two tokens or more, so that the file has more than any budget here.
LONG_PATCH = "@@ -1,2000 +1,2000 @@\n" + "-x\n" * 2000 + "+y\n" * 2000
BIG = ChangedFile(path="big.py", patch=LONG_PATCH)
ADDED = ChangedFile(path="added.py", status="added", patch=LONG_PATCH)
MOVED = ChangedFile(path="moved.py", status="renamed", patch=LONG_PATCH)
GONE = ChangedFile(path="gone.py", status="removed", patch="@@ -1,2 +0,0 @@\n-a\n-b")
LESS = ChangedFile(path="less.py", patch="@@ -1,2 +1 @@\n a\n-b")
SMALL = ChangedFile(path="small.py", patch="@@ -1 +1 @@\n-a\n+b")


def render(
    *files: ChangedFile,
    style: PromptFormat,
    limit: int = 4000,
    prompt: int = 0,
    numbered: bool = False,
    chunked: bool = False,
) -> RenderedDiff:
    """Render files for a prompt of as many tokens as it has words."""
    options = build_options(style)
    view = DiffView(numbered=numbered, context=True, chunked=chunked, options=options)
    budget = Budget(limit, lambda: (" word" * prompt, ""), style)
    return render_diff(files, {}, view, budget)


def test_compressed_2024() -> None:
    """The golden text of the original: no added context, no trailing removal, a stray quote."""
    diff = render(golden.make_whole_file(), BIG, style="2024")

    assert diff.text == (f"{golden.COMPRESSED_2024}\n\nAdditional modified {MORE}big.py")
    assert diff.facts.compressed
    assert diff.facts.left_out == ("big.py",)


@pytest.mark.parametrize(
    ("style", "files", "expected"),
    [
        pytest.param(
            "2024",
            (BIG, LESS, GONE, ADDED, SMALL),
            "\n\n## file: 'small.py\n\n@@ -1 +1 @@\n-a\n+b\n'"
            f"\n\nAdditional added {MORE}added.py\n\nAdditional modified {MORE}big.py"
            "\n\nDeleted files:\ngone.py",
            id="2024 lists what does not fit, and deleted files",
        ),
        pytest.param(
            "HEAD",
            (BIG, LESS, GONE, ADDED, MOVED, SMALL),
            "\n\n## File: 'small.py'\n\n@@ -1 +1 @@\n-a\n+b\n"
            f"\n\nAdditional added {MORE}\nadded.py"
            f"\n\nAdditional modified {MORE}\nmoved.py\nbig.py\nless.py",
            id="HEAD lists all that is not shown, but deleted files nowhere",
        ),
    ],
)
def test_what_does_not_fit_is_listed(
    style: PromptFormat, files: tuple[ChangedFile, ...], expected: str
) -> None:
    """Whole patches that fit are shown, the names of other files below them."""
    diff = render(*files, style=style)

    assert diff.text == expected
    assert diff.facts.left_out == tuple(file.path for file in files if file is not SMALL)
    assert not diff.facts.is_whole


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        pytest.param(2495, f"\n\nAdditional modified {MORE}\nbig.py\nsmall.py", id="names only"),
        pytest.param(2995, "", id="not even names"),
        pytest.param(3500, "", id="the prompt alone is too long"),
    ],
)
def test_the_prompt_counts(prompt: int, expected: str) -> None:
    """What the rest of the prompt takes is not there for the diff."""
    assert render(BIG, SMALL, style="HEAD", prompt=prompt).text == expected


def test_a_list_of_names_is_clipped() -> None:
    """A list that is too long ends in a note, and the facts say so."""
    files = [
        ChangedFile(path=f"folder/file_{number}.py", patch="@@ -1 +1 @@\n-a\n+b" * 30)
        for number in range(300)
    ]
    diff = render(*files, style="2024", limit=3000, prompt=1990)

    assert diff.text.endswith("\n...(truncated)")
    assert len(diff.facts.clipped) == 1


def test_longest_files_come_first() -> None:
    """Files of a language come from the longest to the shortest, but for Improve of 2024."""
    files = [
        ChangedFile(path=f"{count}.py", patch="@@ -1 +1 @@\n" + "+y\n" * count)
        for count in (5, 400, 90)
    ]
    described = render(*files, style="2024", limit=1800).text
    improved = [
        render(*files, style=style, limit=2400, numbered=True, chunked=True).text
        for style in ("2024", "HEAD")
    ]

    assert described.index("90.py") < described.index("5.py")
    assert [text.split("'")[1] for text in improved] == ["5.py", "400.py"]


@pytest.mark.parametrize("style", ["2024", "HEAD"])
def test_improve_shows_the_first_of_several_requests(style: PromptFormat) -> None:
    """Files that do not fit into one request are left out, and the facts count the requests."""
    files = [
        ChangedFile(path=f"{name}.py", patch="@@ -1 +1 @@\n" + f"+{name}\n" * 300)
        for name in "abcdef"
    ]
    diff = render(*files, GONE, style=style, limit=3000, numbered=True, chunked=True)

    assert diff.facts.chunks == 4
    assert diff.facts.left_out == ("b.py", "c.py", "d.py", "e.py", "f.py", "gone.py")
    assert diff.text.count("## ") == 1


def test_improve_clips_a_file_that_is_too_long() -> None:
    """The last line that fits is whole, a note follows, and the facts name the file."""
    clipped = render(BIG, style="2024", limit=3000, numbered=True, chunked=True)
    view = DiffView(
        numbered=True, context=False, chunked=True, options=Options2024(large_patch_policy="skip")
    )
    skipped = render_diff([BIG], {}, view, Budget(3000, lambda: ("", ""), "2024"))

    assert clipped.text.endswith(" +y\n...(truncated)")
    assert clipped.facts.clipped == ("big.py",)
    assert clipped.facts.left_out == ()
    assert (skipped.text, skipped.facts.left_out) == ("", ("big.py",))


def test_no_limit_cuts_nothing() -> None:
    """Without a limit the whole diff is shown, and nothing is counted."""
    options = Options2024()
    view = DiffView(numbered=False, context=True, chunked=False, options=options)

    def refuse() -> tuple[str, str]:
        raise AssertionError

    diff = render_diff([BIG, GONE], {}, view, Budget(0, refuse, "2024"))

    assert diff.facts.is_whole
    assert diff.facts.left_out == ()
    assert LONG_PATCH in diff.text


@pytest.mark.parametrize(
    ("patch", "kept"),
    [
        pytest.param("@@ -1 +0,0 @@\n-a\n@@ -5 +4 @@\n+b", "same", id="a hunk that adds follows"),
        pytest.param("@@ -5 +4 @@\n+b\n@@ -9 +8,0 @@\n-a", "@@ -5 +4 @@\n+b", id="trailing"),
        pytest.param("@@ -9 +8,0 @@\n-a", "", id="nothing is added"),
        pytest.param("@@ -1 +1 @@\n+b\n@@ odd", "@@ -1 +1 @@\n+b", id="no header"),
    ],
)
def test_trailing_removals_are_left_out(patch: str, kept: str) -> None:
    """A hunk that only removes stays if one that adds follows, as in the original."""
    assert omit_deletion_hunks(patch) == (patch if kept == "same" else kept)


@pytest.mark.parametrize(
    ("file", "gone"),
    [
        pytest.param(GONE, ["2024", "HEAD"], id="deleted"),
        pytest.param(SMALL.model_copy(update={"new_text": ""}), ["2024"], id="emptied"),
        pytest.param(SMALL.model_copy(update={"new_text": "b"}), [], id="changed"),
        pytest.param(SMALL, [], id="text unknown"),
        pytest.param(ADDED.model_copy(update={"new_text": ""}), [], id="added empty"),
    ],
)
def test_emptied_files_count_as_deleted_in_2024(file: ChangedFile, gone: list[str]) -> None:
    """HEAD goes by what happened to the file, 2024 by what is left of it."""
    styles: tuple[PromptFormat, ...] = ("2024", "HEAD")

    assert [style for style in styles if is_gone(file, style)] == gone


@pytest.mark.parametrize(
    ("limit", "length", "end"),
    [
        pytest.param(100, 308, "line\n...(truncated)", id="nine tenths of the characters"),
        pytest.param(3, 23, "line num\n...(truncated)", id="a few"),
        pytest.param(0, 0, "", id="nothing"),
        pytest.param(-3, 0, "", id="less than nothing"),
        pytest.param(10_000, 1139, "line number 49 of text", id="it fits"),
    ],
)
def test_clipping(limit: int, length: int, end: str) -> None:
    """A text is cut by the number of its tokens as the original cuts it."""
    text = "\n".join(f"line number {number} of text" for number in range(50))
    clipped = clip_text(text, limit, "cl100k_base")

    assert len(clipped) == length
    assert clipped.endswith(end)
    assert clip_text("", limit, "cl100k_base") == ""
