"""The messages that hosts write are read as pull requests."""

from __future__ import annotations

import pytest

from tunebench_jobs.data.git_messages import (
    Kind,
    Landed,
    clean_text,
    is_merge_of_mainline,
    is_telling,
    parse_message,
)


@pytest.mark.parametrize(
    ("message", "is_merge", "landed"),
    [
        pytest.param(
            "Merge pull request #5 from ada/fix/stock\n\nCount stock\n\nBecause.",
            True,
            Landed(Kind.MERGE, "Count stock", "Because.", "5", "fix/stock"),
            id="GitHub merge",
        ),
        pytest.param(
            "Merge pull request #5 from ada/fix",
            True,
            Landed(Kind.MERGE, "Merge pull request #5 from ada/fix", "", "5", "fix", titled=False),
            id="GitHub merge without a body",
        ),
        pytest.param(
            "Count stock (#5)\n\nBecause.",
            False,
            Landed(Kind.SQUASH, "Count stock", "Because.", "5"),
            id="GitHub squash",
        ),
        pytest.param(
            "Count stock (#5)",
            True,
            Landed(Kind.MERGE, "Count stock", "", "5"),
            id="GitHub merge titled like the pull request",
        ),
        pytest.param(
            "Merge branch 'fix' into 'main'\n\nCount stock\n\nSee merge request acme/shop!9",
            True,
            Landed(Kind.MERGE, "Count stock", "", "9", "fix"),
            id="GitLab merge",
        ),
        pytest.param(
            "Count stock\n\nBecause.\n\nSee merge request acme/shop!9",
            False,
            Landed(Kind.SQUASH, "Count stock", "Because.", "9"),
            id="GitLab squash",
        ),
        pytest.param(
            "Merged in fix/stock (pull request #8)\n\nCount stock\n\nBecause.",
            True,
            Landed(Kind.MERGE, "Count stock", "Because.", "8", "fix/stock"),
            id="Bitbucket",
        ),
        pytest.param(
            "Merged PR 77: Count stock\n\nBecause.",
            False,
            Landed(Kind.SQUASH, "Count stock", "Because.", "77"),
            id="Azure DevOps",
        ),
        pytest.param(
            "Auto merge of #99 - ada:stock, r=bo\n\nCount stock\n\nBecause.",
            True,
            Landed(Kind.MERGE, "Count stock", "Because.", "99", "stock"),
            id="bors",
        ),
        pytest.param(
            "Count stock\n\nBecause.\n",
            False,
            Landed(Kind.DIRECT, "Count stock", "Because."),
            id="plain commit",
        ),
        pytest.param(
            "Merge branch 'fix'\n\n# Conflicts:\n#\tstock.py",
            True,
            Landed(Kind.MERGE, "Merge branch 'fix'", "", None, "fix", titled=False),
            id="conflicts are no description",
        ),
        pytest.param("", False, Landed(Kind.DIRECT, "", ""), id="no message"),
    ],
)
def test_message_is_read(message: str, is_merge: bool, landed: Landed) -> None:  # noqa: FBT001 - a table
    """Title, description, number and branch come out of each host's format."""
    assert parse_message(message, is_merge=is_merge) == landed


@pytest.mark.parametrize(
    ("subject", "expected"),
    [
        pytest.param("Merge branch 'main' into fix", True, id="update of a branch"),
        pytest.param("Merge remote-tracking branch 'origin/master'", True, id="pull"),
        pytest.param("Merge branch 'team' of ssh://example.org/a", True, id="mainline's own name"),
        pytest.param("Merge branch 'release/1.2'", True, id="release branch"),
        pytest.param("Merge branch '2.1.x'", True, id="maintenance branch"),
        pytest.param("Merge branch 'fix-main-menu'", False, id="feature"),
        pytest.param("Merge tag 'net-6.1' of git://example.org/net", False, id="tag"),
        pytest.param("Merge pull request #1 from a/main", False, id="pull request"),
    ],
)
def test_merge_of_the_mainline_is_told_apart(subject: str, *, expected: bool) -> None:
    """A long-lived branch is known by its name, a feature branch is let through."""
    assert is_merge_of_mainline(subject, "team") is expected


def test_trailers_and_template_comments_are_no_description() -> None:
    """Only what a person wrote about the change stays."""
    text = (
        "<!-- Describe your change\nhere -->\r\nBecause of stock.\n\n\n\nFixes #3.\n\n---------\n\n"
        "Co-authored-by: Bo <bo@example.org>\nSigned-off-by: Ada <ada@example.org>"
    )

    assert clean_text(text) == "Because of stock.\n\nFixes #3."


@pytest.mark.parametrize(
    ("title", "expected"),
    [
        pytest.param("Count reserved stock", True, id="words"),
        pytest.param("Zähle Bestände", True, id="other letters"),
        pytest.param("fix stock", False, id="short"),
        pytest.param("v2.34.2 (2024-01-01)", False, id="numbers"),
        pytest.param("typotypotypo", False, id="one word"),
    ],
)
def test_telling_titles_have_words(title: str, *, expected: bool) -> None:
    """A title to learn from is long enough and made of words."""
    assert is_telling(title) is expected
