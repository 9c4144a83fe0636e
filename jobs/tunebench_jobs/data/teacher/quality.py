"""The quality filter: a model that scores training answers from 1 to 10."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple, TypeVar

from tunebench_jobs.data.drops import RowDrop
from tunebench_jobs.data.teacher.drafts import Draft
from tunebench_jobs.data.teacher.model import PaidModel
from tunebench_jobs.data.teacher.talk import (
    Ending,
    Outcome,
    Question,
    UnusableReplyError,
)
from tunebench_jobs.judge.escape import Delimiters, escape_untrusted, find_delimiters
from tunebench_jobs.prompts import PromptSet
from tunebench_jobs.tokens import count_message_tokens

ItemT = TypeVar("ItemT")

PURPOSE = "quality"
# Defused in what is judged, as all keys of verdicts are.
SCORE_KEY = "score_response"
_SCORE_LINE = re.compile(
    rf"""^[ \t]*[-{{]?[ \t]*["']?{SCORE_KEY}["']?[ \t]*:[ \t]*["']?(?P<value>[^\n,}}#]*)""",
    re.MULTILINE,
)
_SCORE = re.compile(r"(\d{1,2})(?:\.\d+)?(?:\s*/\s*10)?")
_WHY_LINE = re.compile(
    r"""^[ \t]*["']?why["']?[ \t]*:[ \t]*(?:[|>][-+]?[ \t]*\n)?(?P<value>.*)""", re.MULTILINE
)
_MIN_SCORE, _MAX_SCORE = 1, 10
# Words that stand in no prompt, to find out what surrounds the places that are filled in.
_PLACEHOLDERS = ("tunebenchtaskplace", "tunebenchanswerplace")
# An answer that is not written yet must not look like an empty one.
_UNWRITTEN = "x"


class Score(NamedTuple):
    """What the judge thinks of an answer."""

    value: int
    why: str


@dataclass(frozen=True)
class Scoring:
    """The prompt set that asks for a score, and the lowest one that is kept."""

    prompts: PromptSet
    minimum: int

    def build_question(self, draft: Draft[ItemT], answer: str) -> Question:
        """Show the judge the task and the answer, both made harmless."""
        task = f"{draft.messages.system}\n\n{draft.messages.user}".strip()
        texts = (escape_untrusted(text, self._delimiters) for text in (task, answer))
        message = {"role": "user", "content": self.prompts.render_quality(*texts)}
        return Question(PURPOSE, (message,), parse_score)

    def expect_question(self, draft: Draft[ItemT], answer_tokens: float) -> Question:
        """Return what the judge will be asked, for an estimate of what that costs.

        Args:
            draft: A training prompt; one that is open will have an answer by then.
            answer_tokens: How long that answer will be.
        """
        question = self.build_question(draft, draft.answer or _UNWRITTEN)
        if draft.answer is not None:
            return question
        tokens = count_message_tokens(question.messages) + round(answer_tokens)
        return replace(question, tokens=tokens)

    @cached_property
    def _delimiters(self) -> Delimiters:
        return find_delimiters(self.prompts.render_quality(*_PLACEHOLDERS), _PLACEHOLDERS)


def filter_by_quality(
    model: PaidModel, scoring: Scoring, drafts: Iterable[Draft[ItemT]]
) -> Iterator[Draft[ItemT]]:
    """Yield the drafts in order; those whose answer is not good enough get a finding.

    An answer without a score is left out too, so that each one that stays has had its score.

    Raises:
        InputError: The judge refuses the key, the model id or its settings.
        RetryableError: It stays away; the scores so far are kept.
    """
    items = (
        (draft, None if draft.finding else scoring.build_question(draft, draft.answer or ""))
        for draft in drafts
    )
    for draft, outcome in model.ask_all(items):
        yield draft if outcome is None else _apply(draft, outcome, scoring.minimum)


def parse_score(reply: str) -> Score:
    """Return the score in a reply that should be YAML and often nearly is; the last one counts.

    Raises:
        UnusableReplyError: The reply has no score.
    """
    lines = list(_SCORE_LINE.finditer(reply))
    if not lines:
        msg = f"the reply must be YAML with the key `{SCORE_KEY}`, which was not found"
        raise UnusableReplyError(msg)
    text = lines[-1]["value"].strip().strip("\"'`*[] \t")
    match = _SCORE.fullmatch(text)
    value = int(match[1]) if match else 0
    if not _MIN_SCORE <= value <= _MAX_SCORE:
        msg = f"`{SCORE_KEY}` must be a whole number from 1 to 10, got `{text[:80]}`"
        raise UnusableReplyError(msg)
    why = _WHY_LINE.search(reply)
    return Score(value, why["value"].strip() if why else "")


def _apply(draft: Draft[ItemT], outcome: Outcome, minimum: int) -> Draft[ItemT]:
    if outcome.ending is not Ending.USABLE:
        return draft.drop(RowDrop.LOW_QUALITY, f"no score ({outcome.ending}): {outcome.detail}")
    score: Score = outcome.value
    if score.value >= minimum:
        return draft
    return draft.drop(RowDrop.LOW_QUALITY, f"{score.value} of 10: {score.why}")
