"""From tokens back to text while they come, with stop strings that are never shown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

# What decoders write for bytes that are no whole character (yet).
_INCOMPLETE = "\ufffd"


class TextStream:
    """The text of one completion; each `push` returns what is certain by now.

    The pieces together are the text that decoding all tokens at once gives, up to a stop string.
    """

    def __init__(self, tokenizer: Any, stops: Sequence[str]) -> None:
        """Start with no text; `tokenizer` must not be used by another thread."""
        self.stopped = False
        self._tokenizer = tokenizer
        self._stops = tuple(stops)
        self._ids: list[int] = []
        # Text up to `_read` is out; `_start` gives decoders the context that spaces depend on.
        self._start = 0
        self._read = 0
        self._held = ""

    def push(self, token: int) -> str:
        """Add a token and return the new text, which may be empty."""
        self._ids.append(token)
        text = self._decode_new()
        if not text or text.endswith(_INCOMPLETE):
            return ""
        self._start, self._read = self._read, len(self._ids)
        return self._release(text, last=False)

    def finish(self) -> str:
        """Return the text that was held back, when no more tokens come."""
        text = self._decode_new()
        self._start = self._read = len(self._ids)
        return self._release(text, last=True)

    def _decode_new(self) -> str:
        before = self._decode(self._ids[self._start : self._read])
        return self._decode(self._ids[self._start :])[len(before) :]

    def _decode(self, ids: Sequence[int]) -> str:
        text: str = self._tokenizer.decode(
            ids, skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        return text

    def _release(self, text: str, *, last: bool) -> str:
        if self.stopped:
            return ""
        text, self._held = self._held + text, ""
        found = [place for stop in self._stops if (place := text.find(stop)) >= 0]
        if found:
            self.stopped = True
            return text[: min(found)]
        if not last:
            held = count_held(text, self._stops)
            text, self._held = text[: len(text) - held], text[len(text) - held :]
        return text


def count_held(text: str, stops: Sequence[str]) -> int:
    """Return the length of the longest end of `text` that may become a stop string."""
    return max(
        (
            length
            for stop in stops
            for length in range(1, min(len(stop), len(text) + 1))
            if text.endswith(stop[:length])
        ),
        default=0,
    )
