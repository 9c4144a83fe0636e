"""The reference judge: not an LLM, but a fixed measure of likeness to the dataset's good answer.

A completion's score is `level * (0.1 + 0.9 * agreement)`, and 0 when it is no valid answer:

- `level` is 1 for YAML that holds to the schema as it stands, 0.9 if it had to be repaired (1 if
  the good answer itself needs repair, so that nothing beats the good answer);
- `agreement` is 0.8 times the token F1 of the texts (ROUGE-1), plus 0.2 times the F1 of the facts:
  which files and labels, which type, what effort, whether tests and security concerns.

Scores that differ by less than 0.02 are a tie. It rewards likeness and nothing else: a better
answer in other words loses. It serves to try things out without a key, and to test.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Mapping
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict

from tunebench_api.v1alpha1 import Tool
from tunebench_jobs.answers import answer_text, parse_answer
from tunebench_jobs.judge.verdicts import VERDICT_KEY

# Part of every key in its ledger: raise it when the measure changes.
REFERENCE_VERSION = "1"
TIE_MARGIN = 0.02

_LEVELS = {"strict": 1.0, "fixed": 0.9, "invalid": 0.0}
_FLOOR = 0.1
_TEXT_WEIGHT = 0.8
_WORD = re.compile(r"\w+")
_FACT_KEYS = frozenset(
    {"type", "labels", "label", "filename", "relevant_file", "relevant_tests", "security_concerns"}
    | {"estimated_effort_to_review_[1-5]"}
)
# Keys whose first word is the fact: `3, because ...`, `No`, `yes`.
_FIRST_WORD_KEYS = frozenset(
    {"relevant_tests", "security_concerns", "estimated_effort_to_review_[1-5]"}
)


class ReferenceCase(BaseModel):
    """What the reference judge knows about a comparison besides the prompt."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    tool: Tool
    semantic_files: bool
    reference: str
    first: str
    second: str


def build_reference_reply(case: ReferenceCase) -> str:
    """Return the verdict in the YAML that judges are asked for."""
    first, second = (score_completion(case, text) for text in (case.first, case.second))
    slot = 1 if first > second else 2
    why = f"likeness to the reference answer: {first:.3f} and {second:.3f}"
    fields = {
        VERDICT_KEY: 0 if abs(first - second) < TIE_MARGIN else slot,
        "why": why,
        "score_response1": _grade(first),
        "score_response2": _grade(second),
    }
    return yaml.safe_dump(fields, sort_keys=False)


def score_completion(case: ReferenceCase, completion: str) -> float:
    """Return how like the good answer a completion is, from 0 to 1."""
    good = parse_answer(case.tool, case.reference, semantic_files=case.semantic_files)
    got = parse_answer(case.tool, completion, semantic_files=case.semantic_files)
    if good.data is None or got.data is None:
        return 0.0
    level = min(1.0, _LEVELS[got.level] / _LEVELS[good.level])
    text = build_f1(_words(case.tool, got.data), _words(case.tool, good.data))
    facts = build_f1(set(_list_facts(got.data)), set(_list_facts(good.data)))
    agreement = _TEXT_WEIGHT * text + (1 - _TEXT_WEIGHT) * facts
    return level * (_FLOOR + (1 - _FLOOR) * agreement)


def build_f1(got: Iterable[Hashable], good: Iterable[Hashable]) -> float:
    """Return the harmonic mean of precision and recall over items, repeats counted."""
    ours, theirs = Counter(got), Counter(good)
    total = ours.total() + theirs.total()
    return 2 * (ours & theirs).total() / total if total else 1.0


def _words(tool: Tool, data: Mapping[str, Any]) -> list[str]:
    return _WORD.findall(answer_text(tool, data).lower())


def _list_facts(value: Any, key: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping):
        for name, part in value.items():
            yield from _list_facts(part, str(name))
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _list_facts(part, key)
    elif key in _FACT_KEYS and value is not None:
        text = str(value).strip().lower()
        words = _WORD.findall(text)
        yield key, words[0] if key in _FIRST_WORD_KEYS and words else text


def _grade(score: float) -> int:
    return 1 + round(9 * score)
