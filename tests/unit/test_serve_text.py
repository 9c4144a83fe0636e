"""Text comes whole: no half characters, no stop string, the same in pieces as at once."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunebench_jobs.serve.text import TextStream, count_held


class ByteTokenizer:
    """A token for each byte, decoded as byte-level tokenizers do."""

    def decode(self, ids: Sequence[int], **_: object) -> str:
        """Return the text, with a mark for what is no character."""
        return bytes(ids).decode(errors="replace")


def stream(tokens: bytes, stops: Sequence[str] = ()) -> tuple[list[str], bool]:
    """Return the pieces of a completion, and whether a stop string ended it."""
    text = TextStream(ByteTokenizer(), stops)
    pieces = []
    for token in tokens:
        pieces.append(text.push(token))
        if text.stopped:
            return pieces, True
    return [*pieces, text.finish()], text.stopped


def test_characters_come_whole() -> None:
    """A character of several tokens appears with its last one."""
    pieces, _ = stream("aé😀b".encode())

    assert pieces == ["a", "", "é", "", "", "", "😀", "b", ""]


@given(st.binary(max_size=40))
def test_pieces_make_the_text(tokens: bytes) -> None:
    """Whatever bytes a model writes, the pieces are the text that decoding at once gives."""
    pieces, stopped = stream(tokens)

    assert "".join(pieces) == tokens.decode(errors="replace")
    assert not stopped


@given(
    st.text(alphabet="ab\n`é", max_size=30),
    st.lists(st.text(alphabet="ab\n`é", min_size=1, max_size=4), max_size=3),
)
def test_text_ends_before_the_first_stop(text: str, stops: list[str]) -> None:
    """Everything before the first stop string comes out, and nothing of it or behind it."""
    pieces, stopped = stream(text.encode(), stops)

    out = "".join(pieces)
    assert stopped == any(stop in text for stop in stops)
    assert text.startswith(out)
    assert not any(stop in out for stop in stops)
    assert stopped or out == text


def test_earliest_stop_counts() -> None:
    """Of two stop strings that come with one token, the earlier place ends the text."""
    text = TextStream(ByteTokenizer(), ["cd", "bcde"])

    assert "".join(text.push(token) for token in b"abcde") == "ab"
    assert text.stopped


@pytest.mark.parametrize(
    ("text", "stops", "expected"),
    [
        pytest.param("yaml\n``", ["\n```"], 3, id="half a fence"),
        pytest.param("yaml", ["\n```"], 0, id="nothing like it"),
        pytest.param("aab", ["aabc", "bx"], 3, id="the longest of two"),
        pytest.param("", ["x"], 0, id="no text"),
    ],
)
def test_count_held(text: str, stops: Sequence[str], expected: int) -> None:
    """Only what may become a stop string is held back."""
    assert count_held(text, stops) == expected
