"""Tokens are counted without a download, whatever the text holds, and in bounded time."""

import os
import time

import pytest

from tunebench_jobs.tokens import count_bytes, count_tokens


@pytest.mark.parametrize(
    ("text", "count"),
    [
        pytest.param("", 0, id="nothing"),
        pytest.param("tiktoken is great!", 6, id="words"),
        pytest.param("<|endoftext|>", 7, id="a special token is text"),
        pytest.param("\ud800", 1, id="half of a surrogate pair"),
        pytest.param("日本", 2, id="other letters"),
    ],
)
def test_known_counts(text: str, count: int) -> None:
    """Counts are those of cl100k_base."""
    assert count_tokens(text) == count


def test_generations_count_differently() -> None:
    """HEAD has another vocabulary."""
    text = "こんにちは世界"

    assert count_tokens(text, "o200k_base") < count_tokens(text, "cl100k_base")


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("a" * 1_000_000, id="one letter"),
        # tiktoken alone panics here.
        pytest.param(" " * 1_000_000 + "x", id="spaces"),
        pytest.param(" \n" * 500_000, id="blank lines"),
        pytest.param("^" * 1_000_000, id="signs"),
        pytest.param("<|endoftext|>" * 70_000, id="special tokens"),
        pytest.param("\U0001f600" * 250_000, id="pictures"),
    ],
)
def test_endless_runs_take_seconds(text: str) -> None:
    """A megabyte without a word boundary is counted in time that grows with its length only."""
    start = time.process_time()
    count = count_tokens(text)

    assert 0 < count <= count_bytes(text)
    assert time.process_time() - start < 20


def test_long_texts_of_words_are_counted_exactly() -> None:
    """Only a run without a boundary is cut, so the count is that of the lines together."""
    line = "the quick brown fox\n"

    assert count_tokens(line * 5000) == 5000 * count_tokens(line)


def test_the_environment_stays_as_it_was() -> None:
    """Loading the vocabulary leaves no trace for other users of tiktoken."""
    before = dict(os.environ)
    count_tokens("x")

    assert dict(os.environ) == before
