"""Repair of the commonest mistake in answers: text that is no proper YAML scalar."""

from __future__ import annotations

import re
import textwrap
from dataclasses import dataclass

from tunebench_jobs.answers.guarded_yaml import load_guarded

_KEY_LINE = re.compile(
    r"^(?P<lead> *(?:- +)?)(?P<quote>['\"]?)(?P<key>[A-Za-z_][\w\[\]-]*)(?P=quote) *:"
    r"(?: +(?P<value>.*))?$"
)
_BLOCK_HEADER = re.compile(r"[|>][-+0-9]{0,2}\s*(?:#.*)?")


@dataclass(frozen=True)
class KnownKeys:
    """The keys that an answer may have: those that hold text, and all others."""

    texts: frozenset[str]
    others: frozenset[str] = frozenset()

    def __contains__(self, key: object) -> bool:
        return key in self.texts or key in self.others


@dataclass(frozen=True)
class _KeyLine:
    lead: str
    key: str
    value: str

    @property
    def column(self) -> int:
        return len(self.lead)


def is_key_line(line: str, keys: KnownKeys) -> bool:
    """Whether a line begins with a known key, as the key of a mapping or of a list's entry."""
    return _parse_key_line(line, keys) is not None


def repair_block_scalars(text: str, keys: KnownKeys) -> str:
    """Turn the texts of known keys that YAML would misread into block scalars.

    A text reaches up to the next known key that is not indented deeper than its own, so code
    that was not indented at all is found too. What already loads stays as it is.
    """
    lines = text.split("\n")
    repaired: list[str] = []
    position = 0
    while position < len(lines):
        head = _parse_key_line(lines[position], keys)
        if head is None or head.key not in keys.texts:
            repaired.append(lines[position])
            position += 1
            continue
        end = _text_end(lines, position + 1, head.column, keys)
        repaired += _rewrite(head, lines[position], lines[position + 1 : end])
        position = end
    return "\n".join(repaired)


def _parse_key_line(line: str, keys: KnownKeys) -> _KeyLine | None:
    match = _KEY_LINE.match(line)
    if match is None or match["key"] not in keys:
        return None
    return _KeyLine(match["lead"], match["key"], (match["value"] or "").strip())


def _text_end(lines: list[str], position: int, column: int, keys: KnownKeys) -> int:
    while position < len(lines):
        head = _parse_key_line(lines[position], keys)
        if head is not None and head.column <= column:
            break
        position += 1
    return position


def _rewrite(head: _KeyLine, line: str, body: list[str]) -> list[str]:
    if _loads_as_text(" " * head.column + line[head.column :], body):
        return [line, *body]
    text = textwrap.dedent("\n".join(body)).strip("\n")
    if head.value and not _BLOCK_HEADER.fullmatch(head.value):
        text = f"{head.value}\n{text}".rstrip("\n")
    # The indicator lets the first line of the text be indented deeper than the others.
    margin = " " * (head.column + 2)
    return [f"{head.lead}{head.key}: |2-", *(f"{margin}{part}" for part in text.split("\n"))]


def _loads_as_text(line: str, body: list[str]) -> bool:
    value = load_guarded(textwrap.dedent("\n".join([line, *body]))).value
    return (
        isinstance(value, dict)
        and len(value) == 1
        and isinstance(next(iter(value.values())), str | int | None)
    )
