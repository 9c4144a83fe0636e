"""Cutting a text to a number of tokens, as PR-Agent does."""

from __future__ import annotations

from functools import lru_cache

from tunebench_jobs.tokens import Encoding, count_bytes, count_tokens

# Of the characters that the tokens of the whole text have on average.
_KEPT = 0.9


@lru_cache(maxsize=16)
def clip_text(
    text: str, max_tokens: int, encoding: Encoding, *, delete_last_line: bool = False
) -> str:
    """Cut a text that has more than `max_tokens`, and say so in its last line.

    Nine tenths of the characters that would fit on average are kept, so a clipped text may have a
    few tokens too many or too few. The tools of one pull request share the answer.
    """
    # A token stands for one byte or more, so a short text need not be counted.
    if not text or count_bytes(text) <= max_tokens:
        return text
    tokens = count_tokens(text, encoding)
    if tokens <= max_tokens:
        return text
    # Multiplied in this order, or rounding would differ by a character.
    characters = int(_KEPT * (len(text) / tokens) * max_tokens)
    if characters <= 0:
        return ""
    kept = text[:characters]
    if delete_last_line:
        kept = kept.rsplit("\n", 1)[0]
    return f"{kept}\n...(truncated)"
