"""The teacher: a model that writes the answers which training rows lack."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import partial
from typing import TypeVar

from tunebench_jobs.answers import build_answer_yaml, parse_answer, strip_fences
from tunebench_jobs.data.drops import Finding, RowDrop
from tunebench_jobs.data.teacher.drafts import Draft
from tunebench_jobs.data.teacher.model import PaidModel
from tunebench_jobs.data.teacher.replies import Message
from tunebench_jobs.data.teacher.talk import Ending, Outcome, Question, UnusableReplyError

ItemT = TypeVar("ItemT")

_REASONS = {
    Ending.CUT_OFF: RowDrop.ANSWER_CUT_OFF,
    Ending.REFUSED: RowDrop.NO_ANSWER,
    Ending.UNASKED: RowDrop.NO_ANSWER,
}


class UnusableAnswerError(UnusableReplyError):
    """An answer that must not be learnt, with the reason for which it is left out in the end."""

    def __init__(self, finding: Finding) -> None:
        """Tell the model what the finding says."""
        super().__init__(finding.detail)
        self.finding = finding


def fill_answers(model: PaidModel, drafts: Iterable[Draft[ItemT]]) -> Iterator[Draft[ItemT]]:
    """Yield the drafts in order, the open ones with the teacher's answer or why there is none.

    Raises:
        InputError: The teacher refuses the key, the model id or its settings.
        RetryableError: It stays away; the answers so far are kept.
    """
    items = ((draft, build_question(draft) if draft.is_open else None) for draft in drafts)
    for draft, outcome in model.ask_all(items):
        yield draft if outcome is None else _apply(draft, outcome)


def build_question(draft: Draft[ItemT]) -> Question:
    """Ask the teacher just what the model that is trained will be asked."""
    return Question(
        purpose=str(draft.tool),
        messages=_build_messages(draft),
        read=partial(read_answer, draft),
        tokens=draft.tokens,
    )


def read_answer(draft: Draft[ItemT], reply: str) -> str:
    """Return the answer that a reply holds: its YAML without fences, repaired where it must be.

    Raises:
        UnusableAnswerError: It breaks the tool's schema, or has another fault.
    """
    parsed = parse_answer(draft.tool, reply, semantic_files=draft.semantic_files)
    if parsed.level == "invalid" or parsed.data is None:
        raise UnusableAnswerError(Finding(RowDrop.ANSWER_INVALID, parsed.problem or "no answer"))
    # What is learnt must be YAML as it stands.
    literal = parsed.level == "strict"
    text = strip_fences(reply) if literal else build_answer_yaml(parsed.data)
    finding = draft.check(text) if draft.check else None
    if finding is not None:
        raise UnusableAnswerError(finding)
    return text


def _build_messages(draft: Draft[ItemT]) -> tuple[Message, ...]:
    # Some vendors refuse a message without content.
    return tuple(message for message in draft.messages.to_chat() if message["content"].strip())


def _apply(draft: Draft[ItemT], outcome: Outcome) -> Draft[ItemT]:
    if outcome.ending is Ending.USABLE:
        return replace(draft, answer=outcome.value)
    if isinstance(outcome.problem, UnusableAnswerError):
        finding = outcome.problem.finding
        detail = f"{finding.detail} ({outcome.replies} replies)"
        return draft.drop(finding.reason, detail)
    return draft.drop(_REASONS[outcome.ending], outcome.detail)
