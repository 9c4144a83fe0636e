"""FastChat's pair judgments: two models and a question a line, with a game in each order.

In the first game model_1 is assistant A, in the second model_2; the winners are un-swapped.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

from pydantic import Field

from tunebench_jobs.imports.arena_hard import ERROR_TEXT
from tunebench_jobs.imports.games import FIRST, SECOND, TIE, Game, Side
from tunebench_jobs.imports.prompts import Sides, find_sides
from tunebench_jobs.imports.rows import PublishedRow, Row
from tunebench_jobs.judge.ledger import MissingCause

Winner = Literal["model_1", "model_2", "tie", "error"]


class Match(PublishedRow):
    """A row as FastChat writes it; `judge` is a model and the name of its prompt."""

    question_id: int | str
    model_1: str
    model_2: str
    g1_winner: Winner
    g2_winner: Winner
    judge: Sequence[str] = Field(min_length=1, max_length=2)
    turn: int = 1
    g1_user_prompt: str = ""
    g2_user_prompt: str = ""
    g1_judgment: str = ""
    g2_judgment: str = ""


def parse_match(row: Row) -> Iterator[Game]:
    """Yield the verdicts of a row, one for each order.

    Raises:
        BrokenRowError: The row is none of FastChat's.
    """
    said = row.parse(Match)
    games = (
        (said.g1_winner, said.g1_user_prompt, said.g1_judgment, (said.model_1, said.model_2)),
        (said.g2_winner, said.g2_user_prompt, said.g2_judgment, (said.model_2, said.model_1)),
    )
    for number, (winner, prompt, reply, names) in enumerate(games):
        texts = find_sides(prompt) or Sides(None, None)
        preference = _to_preference(winner, model_1_is_first=number == 0)
        yield Game(
            place=row.place,
            task=f"{said.question_id}:{said.turn}",
            question=str(said.question_id),
            group=f"turn {said.turn}",
            judge=said.judge[0],
            prompt=said.judge[1] if len(said.judge) > 1 else "",
            first=Side(names[0], texts.first),
            second=Side(names[1], texts.second),
            shown_so=True,
            preference=preference,
            missing=_find_cause(reply) if preference is None else None,
            reply=reply,
            # Where one model is the baseline of all, FastChat puts it second.
            baseline=said.model_2,
        )


def _to_preference(winner: Winner, *, model_1_is_first: bool) -> float | None:
    if winner == "error":
        return None
    if winner == "tie":
        return TIE
    return FIRST if (winner == "model_1") == model_1_is_first else SECOND


def _find_cause(reply: str) -> MissingCause:
    return MissingCause.JUDGE_FAILED if reply == ERROR_TEXT else MissingCause.UNREADABLE
