"""Read the verdict in a judge's reply."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from tunebench_jobs.judge.passages import (
    VERDICT_KEY,
    UnparsableVerdictError,
    find_fields,
    parse_slot,
)

__all__ = [
    "VERDICT_KEY",
    "UnparsableVerdictError",
    "Verdict",
    "Winner",
    "find_problem",
    "parse_verdict",
]

_WHY_LIMIT = 2000
_SCORE = re.compile(r"(\d{1,2}(?:\.\d+)?)(?:\s*/\s*10)?")
_MIN_SCORE, _MAX_SCORE = 1, 10


class Winner(StrEnum):
    """Whose completion a judge prefers."""

    MODEL = "Model"
    BASELINE = "Baseline"
    TIE = "Tie"


@dataclass(frozen=True)
class Verdict:
    """What a judge decided; scores are from 1 to 10 and absent where the judge gave none."""

    winner: Winner
    why: str
    score_model: int | None
    score_baseline: int | None


def parse_verdict(reply: str, *, model_is_first: bool) -> Verdict:
    """Return the verdict in a reply that should be YAML and often nearly is.

    The last valid verdict outside of quoted material counts, because a reply may quote another
    one from the very completions under judgement; `find_fields` says what is quoted.

    Raises:
        UnparsableVerdictError: The reply names no winner, or several that contradict each other.
    """
    fields = find_fields(reply)
    slot = parse_slot(fields[VERDICT_KEY])
    if slot is None:
        got = str(fields[VERDICT_KEY]).strip()[:80]
        msg = f"`{VERDICT_KEY}` must be 0, 1 or 2, got `{got}`"
        raise UnparsableVerdictError(msg)
    scores = (
        _parse_score(fields.get("score_response1")),
        _parse_score(fields.get("score_response2")),
    )
    model, baseline = scores if model_is_first else scores[::-1]
    why = str(fields.get("why") or "").strip()[:_WHY_LIMIT]
    return Verdict(_name_winner(slot, model_is_first=model_is_first), why, model, baseline)


def find_problem(reply: str) -> str | None:
    """Return why a reply holds no verdict, if it holds none."""
    try:
        parse_verdict(reply, model_is_first=True)
    except UnparsableVerdictError as error:
        return str(error)
    return None


def _name_winner(slot: int, *, model_is_first: bool) -> Winner:
    if slot == 0:
        return Winner.TIE
    return Winner.MODEL if (slot == 1) == model_is_first else Winner.BASELINE


def _parse_score(value: Any) -> int | None:
    match = _SCORE.fullmatch(str(value).strip().strip("\"'`*, \t"))
    score = round(float(match[1])) if match else 0
    return score if _MIN_SCORE <= score <= _MAX_SCORE else None
