"""AlpacaEval's annotations.json: one verdict a row, graded from 1 (output_1) to 2 (output_2).

AlpacaEval shuffles the two outputs before it asks, and does not write down how.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from math import isnan
from typing import Any

from pydantic import field_validator

from tunebench_jobs.imports.games import FIRST, SECOND, TIE, Game, Side
from tunebench_jobs.imports.rows import PublishedRow, Row
from tunebench_jobs.judge.ledger import MissingCause

_ID_LENGTH = 16
# A draw in the files of 2023.
_OLD_DRAW = 0.0


class Annotation(PublishedRow):
    """A row as AlpacaEval writes it."""

    instruction: str
    output_1: str
    output_2: str
    generator_1: str
    generator_2: str
    annotator: str
    # Absent where the judge's reply could not be read or did not come.
    preference: float | None
    dataset: str | None = None
    raw_completion: Any = None
    price_per_example: float | None = None

    @field_validator("preference", mode="after")
    @classmethod
    def _check_preference(cls, value: float | None) -> float | None:
        if value is None or isnan(value):
            return None
        if value == _OLD_DRAW:
            return TIE
        if not FIRST <= value <= SECOND:
            msg = f"must be from {FIRST:g} to {SECOND:g}, 0 (a draw) or null, got {value:g}"
            raise ValueError(msg)
        return value


def parse_annotation(row: Row) -> Iterator[Game]:
    """Yield the verdict of a row.

    Raises:
        BrokenRowError: The row is none of AlpacaEval's.
    """
    said = row.parse(Annotation)
    # Instructions have no names.
    task = hashlib.sha256(said.instruction.encode()).hexdigest()[:_ID_LENGTH]
    yield Game(
        place=row.place,
        task=task,
        question=task,
        group=said.dataset or "",
        judge=said.annotator,
        prompt="",
        first=Side(said.generator_1, said.output_1),
        second=Side(said.generator_2, said.output_2),
        shown_so=False,
        preference=said.preference,
        missing=MissingCause.UNREADABLE if said.preference is None else None,
        reply=_to_text(said.raw_completion),
        cost_usd=_to_cost(said.price_per_example),
        baseline=said.generator_1,
    )


def _to_cost(price: float | None) -> float | None:
    return None if price is None or isnan(price) else price


def _to_text(completion: Any) -> str:
    """Return the judge's reply; weighted annotators keep the log probabilities of it instead."""
    if completion is None:
        return ""
    return completion if isinstance(completion, str) else json.dumps(completion, sort_keys=True)
