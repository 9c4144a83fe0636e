"""Counting tokens as PR-Agent does, without a download and whatever the text holds."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from tunebench_jobs.errors import InputError

if TYPE_CHECKING:
    import tiktoken

# PR-Agent counted with the first in 2024, and counts with the second at HEAD.
Encoding = Literal["cl100k_base", "o200k_base"]

# Where tiktoken looks for a vocabulary: the SHA-1 of the address that it would download it from.
_FILES: dict[Encoding, str] = {
    "cl100k_base": "9b5ad71b2ce5302211f9c61530b329a4922fc6a4",
    "o200k_base": "fb374d419588a4632f3f557e76b4b70aebbca790",
}
_FOLDER = "TIKTOKEN_CACHE_DIR"

# What a vendor adds to each message.
_MESSAGE_TOKENS = 4

# tiktoken's regular expression panics in a run of a million spaces. No word of a text is this long,
# so cutting there changes no count of a text that people wrote.
_LONGEST_RUN = 10_000
_LONG_RUN = re.compile(rf"\s{{{_LONGEST_RUN}}}|\S{{{_LONGEST_RUN}}}")
_LONG_SPACE = re.compile(rf"\s{{{_LONGEST_RUN}}}")


def count_tokens(text: str, encoding: Encoding = "cl100k_base") -> int:
    """Count the tokens of a text; names of special tokens in it count as text.

    The count is exact for texts without a run of 10,000 characters that has no space in it, or only
    spaces. Such a run is cut every 10,000 characters, which may add a token or two for each cut.

    Raises:
        InputError: The vocabulary is not installed.
    """
    encode = _load_encoding(encoding).encode_ordinary
    if not _has_long_run(text):
        return len(encode(text))
    return sum(len(encode(piece)) for piece in _cut_runs(text))


def count_message_tokens(messages: Iterable[Mapping[str, str]]) -> int:
    """Count the tokens of a prompt; models differ by some percent in how they count."""
    return sum(count_tokens(message["content"]) + _MESSAGE_TOKENS for message in messages)


def count_bytes(text: str) -> int:
    """Return the length in UTF-8, which is never less than the number of tokens."""
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


def _has_long_run(text: str) -> bool:
    if len(text) < _LONGEST_RUN:
        return False
    # Quicker than to look for words as long: only spaces run over the end of a line.
    if max(map(len, text.split("\n"))) >= _LONGEST_RUN:
        return True
    return _LONG_SPACE.search(text) is not None


def _cut_runs(text: str) -> Iterator[str]:
    start = 0
    for match in _LONG_RUN.finditer(text):
        yield text[start : match.end()]
        start = match.end()
    yield text[start:]


@cache
def _load_encoding(encoding: Encoding) -> tiktoken.Encoding:
    """Load the vocabulary that LiteLLM carries, without LiteLLM, whose import takes seconds."""
    import tiktoken  # noqa: PLC0415 - 0.2 s, which few commands need

    spec = find_spec("litellm")
    places = spec.submodule_search_locations if spec else None
    folder = Path((places or ["."])[0], "litellm_core_utils", "tokenizers")
    # Without the file, tiktoken would ask the network.
    if not (folder / _FILES[encoding]).is_file():
        raise InputError(
            f"the vocabulary {encoding} must be in {folder}, where LiteLLM carries it, got no "
            f"file {_FILES[encoding]}; install the `litellm` of the requirement files",
            reason="MissingVocabulary",
        )
    with _cache_folder(folder):
        return tiktoken.get_encoding(encoding)


@contextmanager
def _cache_folder(folder: Path) -> Iterator[None]:
    """Let tiktoken read its vocabulary from a folder; it can be told by the environment alone."""
    before = os.environ.get(_FOLDER)
    os.environ[_FOLDER] = str(folder)
    try:
        yield
    finally:
        if before is None:
            del os.environ[_FOLDER]
        else:
            os.environ[_FOLDER] = before
