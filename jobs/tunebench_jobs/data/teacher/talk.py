"""A conversation that ends with a usable reply, or with the reason why there is none.

`replay` goes through what the model has said already. It is the only place that decides what is
asked next, so an estimate, a resumed stage and one that runs through agree on it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from tunebench_jobs.data.teacher.replies import Message, Replies, StoredReply, build_key

# Times that a reply which cannot be used is asked for again.
RE_ASKS = 2
# How OpenAI and others say that they withhold a reply.
_FILTERED = "content_filter"


class Ending(StrEnum):
    """How a conversation ended."""

    USABLE = "usable"
    UNUSABLE = "unusable"
    CUT_OFF = "cut off"
    REFUSED = "refused"
    UNASKED = "not asked"


class UnusableReplyError(ValueError):
    """A reply is not what was asked for; the message tells the model what is wrong with it."""


@dataclass(frozen=True)
class Question:
    """What a model is asked; `read` makes of a reply what it says, or raises why it cannot."""

    purpose: str
    messages: tuple[Message, ...]
    read: Callable[[str], Any]
    # Of the messages, if they are known; else they are counted.
    tokens: int | None = None


@dataclass(frozen=True)
class Outcome:
    """How a conversation ended, with what was read in the last reply or why nothing was."""

    ending: Ending
    value: Any = None
    detail: str = ""
    problem: UnusableReplyError | None = None
    replies: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost_usd: float = 0.0


@dataclass(frozen=True)
class Turn:
    """What is to be sent next."""

    key: str
    messages: tuple[Message, ...]
    is_first: bool


def replay(question: Question, replies: Replies) -> Outcome | Turn:
    """Return how a conversation ended, or its next turn where the model has not been asked yet."""
    messages = question.messages
    heard: list[StoredReply] = []
    problem: UnusableReplyError | None = None
    for count in range(RE_ASKS + 1):
        key = build_key(messages)
        reply = replies.find(key)
        if reply is None:
            return Turn(key, messages, is_first=count == 0)
        if key in {each.key for each in heard}:
            # The same bad reply as before: the next question would be one that was asked already.
            break
        heard.append(reply)
        if reply.refusal is not None or reply.finish_reason == _FILTERED:
            detail = reply.refusal or "the vendor withheld the reply"
            return _end(Ending.REFUSED, heard, detail=detail)
        if reply.finish_reason == "length":
            detail = f"the reply ended at the limit of {reply.completion_tokens} tokens"
            return _end(Ending.CUT_OFF, heard, detail=detail)
        try:
            return _end(Ending.USABLE, heard, value=question.read(reply.text))
        except UnusableReplyError as error:
            problem = error
        messages = (*question.messages, *_build_reminder(reply.text, str(problem)))
    return _end(Ending.UNUSABLE, heard, detail=str(problem), problem=problem)


def _build_reminder(said: str, problem: str) -> tuple[Message, Message]:
    text = (
        f"Your reply could not be used: {problem}. "
        "Answer again, with nothing but the YAML document that was asked for."
    )
    # Some servers refuse a message without content.
    return (
        {"role": "assistant", "content": said.strip() or "(nothing)"},
        {"role": "user", "content": text},
    )


def _end(ending: Ending, heard: list[StoredReply], **found: Any) -> Outcome:
    return Outcome(
        ending,
        replies=len(heard),
        prompt_tokens=sum(reply.prompt_tokens for reply in heard),
        completion_tokens=sum(reply.completion_tokens for reply in heard),
        cost_usd=sum(reply.cost_usd for reply in heard),
        **found,
    )
