"""Lists of repositories are read alike everywhere."""

from __future__ import annotations

import pytest

from tunebench_api.repositories import (
    ListedRepository,
    is_clone_address,
    parse_repository_list,
    resolve_address,
)


def test_lines_have_an_address_and_perhaps_a_ref() -> None:
    """Comments and empty lines are none; lines keep their numbers."""
    text = "# ours\n\nhttps://x/a/b.git\n../c  v1.0 # a tag\n\tgit@x:d/e#1\r\n"

    assert parse_repository_list(text) == (
        ListedRepository(3, "https://x/a/b.git"),
        ListedRepository(4, "../c", "v1.0"),
        ListedRepository(5, "git@x:d/e#1"),
    )


@pytest.mark.parametrize(
    ("text", "words"),
    [
        pytest.param("a\nb c d", "line 2 must be an address", id="too much"),
        pytest.param("# nothing\n", "at least one repository", id="nothing"),
    ],
)
def test_what_is_no_list_is_named(text: str, words: str) -> None:
    """A mistake is told with its line."""
    with pytest.raises(ValueError, match=words):
        parse_repository_list(text)


@pytest.mark.parametrize(
    ("address", "resolved", "cloned"),
    [
        ("https://x/a", "https://x/a", True),
        ("git@x:a/b", "git@x:a/b", True),
        ("file:///srv/a", "file:///srv/a", False),
        ("../a", "/lists/a", False),
        ("/srv/a", "/srv/a", False),
    ],
)
def test_paths_are_relative_to_the_list(address: str, resolved: str, *, cloned: bool) -> None:
    """An address stays as it is."""
    assert resolve_address(address, "/lists/here") == resolved
    assert is_clone_address(address) == cloned
