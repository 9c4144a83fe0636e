"""Read the verdict in a judge's reply."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from tunebench_jobs.answers.guarded_yaml import load_guarded

VERDICT_KEY = "which_response_was_better"
_WHY_LIMIT = 2000
_FENCE = re.compile(r"^[ \t]*```.*$", re.MULTILINE)
_OUTER_FENCES = re.compile(r"\A\s*```[a-zA-Z]*[ \t]*\n|\n[ \t]*```\s*\Z")
_VERDICT_LINE = re.compile(
    rf"""^[ \t]*[-{{]?[ \t]*["']?{VERDICT_KEY}["']?[ \t]*:(?P<value>.*)$""", re.MULTILINE
)
_SCORE_LINE = r"""["']?{name}["']?[ \t]*:[ \t]*(?P<value>[^\n,}}]*)"""
_SLOT = re.compile(r"(?:response)?[\s_#]*([012])(?:\.0)?", re.IGNORECASE)
_SCORE = re.compile(r"(\d{1,2}(?:\.\d+)?)(?:\s*/\s*10)?")
_MIN_SCORE, _MAX_SCORE = 1, 10


class Winner(StrEnum):
    """Whose completion a judge prefers."""

    MODEL = "Model"
    BASELINE = "Baseline"
    TIE = "Tie"


class UnparsableVerdictError(ValueError):
    """A reply names no winner; the message tells the judge what was wrong with it."""


@dataclass(frozen=True)
class Verdict:
    """What a judge decided; scores are from 1 to 10 and absent where the judge gave none."""

    winner: Winner
    why: str
    score_model: int | None
    score_baseline: int | None


def parse_verdict(reply: str, *, model_is_first: bool) -> Verdict:
    """Return the verdict in a reply that should be YAML and often nearly is.

    The last verdict counts, because a reply may quote an earlier one from the very completions
    under judgement.

    Raises:
        UnparsableVerdictError: The reply names no winner.
    """
    fields = _find_fields(reply)
    slot = _parse_slot(fields[VERDICT_KEY])
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


def _name_winner(slot: int, *, model_is_first: bool) -> Winner:
    if slot == 0:
        return Winner.TIE
    return Winner.MODEL if (slot == 1) == model_is_first else Winner.BASELINE


def _find_fields(reply: str) -> Mapping[str, Any]:
    """Return the fields beside the last verdict, from whole YAML or from what looks like it."""
    whole = _load_fields(_OUTER_FENCES.sub("", reply))
    if whole is not None:
        return whole
    for block in reversed(list(_split_at_fences(reply))):
        fields = _load_fields(block) or _scan_fields(block)
        if fields is not None:
            return fields
    msg = f"the reply must be YAML with the key `{VERDICT_KEY}`, which was not found"
    raise UnparsableVerdictError(msg)


def _split_at_fences(reply: str) -> Iterator[str]:
    """Yield the text outside and inside Markdown fences, in order."""
    for block in _FENCE.split(reply):
        if VERDICT_KEY in block:
            yield block


def _load_fields(text: str) -> Mapping[str, Any] | None:
    """Return the mapping with the verdict that `text` is, if it is one."""
    data: Any = load_guarded(text).value
    # A verdict may be wrapped in a list or under one key.
    for _ in range(2):
        if isinstance(data, list) and data:
            data = data[-1]
        elif isinstance(data, dict) and len(data) == 1 and VERDICT_KEY not in data:
            (data,) = data.values()
    return data if isinstance(data, dict) and VERDICT_KEY in data else None


def _scan_fields(text: str) -> Mapping[str, Any] | None:
    """Return what the lines from the last verdict on say, though they are no YAML."""
    lines = list(_VERDICT_LINE.finditer(text))
    if not lines:
        return None
    tail = text[lines[-1].start() :]
    loaded = _load_fields(tail)
    if loaded is not None:
        return loaded
    fields = {VERDICT_KEY: lines[-1]["value"].split("#", maxsplit=1)[0]}
    for name in ("why", "score_response1", "score_response2"):
        found = re.search(_SCORE_LINE.format(name=name), tail)
        if found:
            fields[name] = found["value"]
    return fields


def _parse_slot(value: Any) -> int | None:
    match = _SLOT.fullmatch(str(value).strip().strip("\"'`*[],}. \t"))
    return int(match[1]) if match else None


def _parse_score(value: Any) -> int | None:
    match = _SCORE.fullmatch(str(value).strip().strip("\"'`*, \t"))
    score = round(float(match[1])) if match else 0
    return score if _MIN_SCORE <= score <= _MAX_SCORE else None
