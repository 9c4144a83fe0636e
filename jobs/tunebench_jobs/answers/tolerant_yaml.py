"""Every reasonable reading of an answer that should be YAML, the most literal one first.

Models break YAML in a few ways, over and over: fences and talk around it, text that is not
quoted, code that is not indented, an end that was cut off. Each repair answers one of them.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Literal

from tunebench_jobs.answers.block_scalars import KnownKeys, is_key_line, repair_block_scalars
from tunebench_jobs.answers.guarded_yaml import MAX_BYTES, Loaded, load_guarded

Level = Literal["strict", "fixed", "invalid"]

# Bounds on the work for one answer; a hopeless one stays below a second.
_MAX_SNIPPETS = 4
_MAX_DROPPED_LINES = 20
_MAX_LOADED_BYTES = 12 * MAX_BYTES

_OPENING_FENCE = re.compile(r"\A\s*```(?:ya?ml)?[ \t]*\r?\n")
_FENCE_LINE = re.compile(r"^```[ \t]*([A-Za-z]*)[^\n]*$", re.MULTILINE)
# What YAML may not hold: control characters and lone surrogates.
_UNPRINTABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff\ufffe\uffff]")


@dataclass(frozen=True)
class Reading:
    """One way to read an answer: as it stands (strict) or after a repair (fixed)."""

    level: Level
    loaded: Loaded


def parse_yaml_tolerant(text: str, known_keys: Collection[str]) -> tuple[object | None, Level]:
    """Return the first reading that is a mapping with a known key, or a list, and its level.

    Scalars come as text, except null and whole numbers of at most nine digits; `yes` and `No` stay
    words. Never raises: what cannot be read is `(None, "invalid")`.

    Args:
        text: An untrusted answer, with or without fences.
        known_keys: Keys that the answer may have; their values can be repaired.
    """
    for reading in iter_readings(text, KnownKeys(texts=frozenset(known_keys))):
        value = reading.loaded.value
        if isinstance(value, list) or (
            isinstance(value, dict) and (not known_keys or any(key in value for key in known_keys))
        ):
            return value, reading.level
    return None, "invalid"


def iter_readings(text: str, keys: KnownKeys) -> Iterator[Reading]:
    """Yield readings, loaded or not, as long as the bound on work allows; never raises."""
    literal = strip_fences(text)
    first = load_guarded(literal)
    yield Reading("strict", first)
    if len(text.encode(errors="replace")) > MAX_BYTES:
        return
    budget = _MAX_LOADED_BYTES
    seen = {literal}
    for attempt in _attempts(text, literal, keys):
        if attempt not in seen:
            seen.add(attempt)
            budget -= len(attempt)
            if budget < 0:
                return
            yield Reading("fixed", load_guarded(attempt))


def _attempts(text: str, literal: str, keys: KnownKeys) -> Iterator[str]:
    bases = (literal, *_snippets(text))
    repaired = []
    for base in bases:
        cleaned = _clean(base, keys)
        yield base
        yield cleaned
        repaired.append(repair_block_scalars(cleaned, keys))
        yield repaired[-1]
    for candidate in repaired:
        yield from _drop_trailing_lines(candidate)


def strip_fences(text: str) -> str:
    """Remove the fence that a model repeats at the start, and the one that ends the answer."""
    return _OPENING_FENCE.sub("", text).rstrip().removesuffix("```").rstrip()


def _snippets(text: str) -> list[str]:
    """Return what lies before the first fence, then what lies between fences, the last first.

    The prompt ends inside an open fence, so the first fence may well close the answer. Snippets
    marked as YAML go before others.
    """
    fences = list(_FENCE_LINE.finditer(text))
    if not fences:
        return []
    ends = [fence.start() for fence in fences[1:]] + [len(text)]
    between = [
        (fence[1].lower() not in {"yaml", "yml"}, text[fence.end() : end].strip("\n"))
        for fence, end in zip(fences, ends, strict=True)
    ]
    between.reverse()
    between.sort(key=lambda snippet: snippet[0])
    bodies = [body for _, body in between if body]
    return [text[: fences[0].start()].strip("\n"), *bodies[:_MAX_SNIPPETS]]


def _clean(text: str, keys: KnownKeys) -> str:
    """Apply the repairs that change no text: margins, markers, tabs, braces, talk before."""
    text = _UNPRINTABLE.sub("", text.replace("\r\n", "\n"))
    stripped = text.strip()
    if stripped.startswith("{") and stripped.endswith("}"):
        text = stripped[1:-1].strip("\n")
    lines = [_clean_line(line, keys) for line in text.split("\n") if line.rstrip() not in _MARKERS]
    start = next((i for i, line in enumerate(lines) if is_key_line(line, keys)), 0)
    return textwrap.dedent("\n".join(lines[start:]))


# Alone in a line they end or begin a document, so that the rest would be lost.
_MARKERS = frozenset({"...", "---"})


def _clean_line(line: str, keys: KnownKeys) -> str:
    """Expand tabs in front, blank a diff's '+', and complete a key without its colon.

    A tab counts as two columns, because that is where the keys of a list's entry stand.
    """
    body = line.lstrip("\t")
    line = "  " * (len(line) - len(body)) + body
    if line.startswith("+"):
        line = " " + line[1:]
    return f"{line.rstrip()}:" if line.rstrip() in keys.others else line


def _drop_trailing_lines(text: str) -> Iterator[str]:
    """Cut where the YAML breaks, then line by line: the end of an answer may be cut off."""
    broken = load_guarded(text)
    if broken.line is None:
        return
    lines = text.split("\n")
    last = min(broken.line + 1, len(lines) - 1)
    for end in range(last, max(0, last - _MAX_DROPPED_LINES), -1):
        yield "\n".join(lines[:end])
