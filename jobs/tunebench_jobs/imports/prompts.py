"""The two completions in a judge's prompt, between the marks of FastChat and Arena-Hard."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

# Opening and closing of a mark, and what it marks.
_BRACKETS = (("[", "]"), ("<|", "|>"))
_THINGS = ("Answer", "Conversation with User")


class Sides(NamedTuple):
    """What the judge read as assistant A's and as assistant B's."""

    first: str | None
    second: str | None


def find_sides(prompt: str) -> Sides | None:
    """Return both completions, or nothing where the marks do not stand once each and in order.

    A completion may hold a mark itself, and then nobody can say where it ends.
    """
    for marks in _list_marks():
        places = [prompt.find(mark) for mark in marks]
        if all(prompt.count(mark) == 1 for mark in marks) and places == sorted(places):
            start_a, end_a, start_b, end_b = places
            first = prompt[start_a + len(marks[0]) : end_a]
            second = prompt[start_b + len(marks[2]) : end_b]
            return Sides(first.strip("\n"), second.strip("\n"))
    return None


def _list_marks() -> Iterator[tuple[str, ...]]:
    for opening, closing in _BRACKETS:
        for thing in _THINGS:
            yield tuple(
                f"{opening}The {edge} of Assistant {side}'s {thing}{closing}"
                for side in ("A", "B")
                for edge in ("Start", "End")
            )
