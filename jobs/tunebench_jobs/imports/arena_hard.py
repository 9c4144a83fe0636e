"""Arena-Hard's judgments: a question a line, with a game in each order.

In the first game the baseline is assistant A, in the second the model. Version 0.1 calls the
question `question_id` and names no baseline, which is gpt-4-0314; version 2 says both.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic import Field

from tunebench_jobs.imports.games import FIRST, SECOND, TIE, Game, Side
from tunebench_jobs.imports.prompts import Sides, find_sides
from tunebench_jobs.imports.rows import BrokenRowError, PublishedRow, Row
from tunebench_jobs.judge.ledger import MissingCause

# What stands in for an answer that the judge's server did not give.
ERROR_TEXT = "$ERROR$"
OLD_BASELINE = "gpt-4-0314"
_GAMES = 2
# How often Arena-Hard counts a verdict that one answer is significantly better.
STRONG = 3
# The verdict, and how often it counts, by the label that the judge gave last.
_LABELS: Mapping[str, tuple[float, int]] = {
    "A>>B": (FIRST, STRONG),
    "B<<A": (FIRST, STRONG),
    "A>B": (FIRST, 1),
    "B<A": (FIRST, 1),
    "A=B": (TIE, 1),
    "B=A": (TIE, 1),
    "A<B": (SECOND, 1),
    "B>A": (SECOND, 1),
    "A<<B": (SECOND, STRONG),
    "B>>A": (SECOND, STRONG),
}


class Judgment(PublishedRow):
    """One game of a row; its judgment is a text, or since version 2 an object with `answer`."""

    score: str | None
    judgment: Any = None
    user_prompt: str | None = None
    prompt: Sequence[Mapping[str, Any]] | None = None


class JudgedQuestion(PublishedRow):
    """A row as Arena-Hard writes it."""

    uid: str | None = None
    question_id: str | None = None
    category: str | None = None
    judge: str
    model: str
    baseline: str | None = None
    games: Sequence[Judgment | None] = Field(min_length=_GAMES, max_length=_GAMES)


def parse_judged_question(row: Row, baseline: str) -> Iterator[Game]:
    """Yield the verdicts of a row, one for each order; `baseline` is meant where it names none.

    Raises:
        BrokenRowError: The row is none of Arena-Hard's.
    """
    said = row.parse(JudgedQuestion)
    question = said.uid or said.question_id
    if not question:
        msg = "`uid` or `question_id` must name the question, got neither"
        raise BrokenRowError(msg)
    baseline = said.baseline or baseline
    sides = [_find_sides(game) for game in said.games]
    for number, game in enumerate(said.games):
        names = (baseline, said.model) if number == 0 else (said.model, baseline)
        texts = sides[number] or Sides(None, None)
        preference, weight, missing = _read_label(game)
        yield Game(
            place=row.place,
            task=question,
            question=question,
            group=said.category or "",
            judge=said.judge,
            prompt="",
            first=Side(names[0], texts.first),
            second=Side(names[1], texts.second),
            shown_so=True,
            preference=preference,
            missing=missing,
            weight=weight,
            reply=_to_text(game),
            baseline=baseline,
        )


def _read_label(game: Judgment | None) -> tuple[float | None, int, MissingCause | None]:
    if game is None or _to_text(game) == ERROR_TEXT:
        return None, 1, MissingCause.JUDGE_FAILED
    if game.score is None or game.score not in _LABELS:
        return None, 1, MissingCause.UNREADABLE
    preference, weight = _LABELS[game.score]
    return preference, weight, None


def _to_text(game: Judgment | None) -> str:
    said = game.judgment if game else None
    if isinstance(said, Mapping):
        said = said.get("answer")
    return said if isinstance(said, str) else ""


def _find_sides(game: Judgment | None) -> Sides | None:
    if game is None:
        return None
    texts = [game.user_prompt, *(message.get("content") for message in game.prompt or ())]
    found = (find_sides(text) for text in texts if isinstance(text, str))
    return next((sides for sides in found if sides), None)
