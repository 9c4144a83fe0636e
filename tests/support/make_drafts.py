"""Drafts of training examples, and a teacher that follows a script."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tunebench_api.v1alpha1 import LlmSpec, QualitySpec, Tool
from tunebench_jobs.data.teacher.drafts import Draft
from tunebench_jobs.data.teacher.model import QUALITY, TEACHER, PaidModel, open_model
from tunebench_jobs.data.teacher.replies import Message, Shelf
from tunebench_jobs.llm import Endpoint, Reply
from tunebench_jobs.prompts import Messages
from tunebench_jobs.throttle import Throttle

GOOD = "code_suggestions: []\n"
BAD = "I would rather talk about the weather."
# A dollar for each reply, whatever its prompt.
PRICES = {"inputUSDPerMillion": "0", "outputUSDPerMillion": "10000"}
REPLY_TOKENS = 100


def make_draft(number: int, **changes: Any) -> Draft[int]:
    """Return a draft of Improve that nobody has answered."""
    messages = Messages(system="Improve.", user=f"+line {number}")
    return Draft(**{"item": number, "tool": Tool.IMPROVE, "messages": messages, **changes})


def make_spec(kind: type[LlmSpec] = LlmSpec, **changes: Any) -> Any:
    """Return a model at a dollar a reply, with money for ten."""
    raw = {
        "model": "openai/scripted",
        "apiBase": "http://localhost:1/v1",
        "maxTokens": REPLY_TOKENS,
        "budgetUSD": "10",
        "prices": PRICES,
    }
    return kind.from_wire({**raw, **changes})


@dataclass
class ScriptedTeacher:
    """Answers by rule and counts what it was asked, by the first user message."""

    # What it says to a question, and when it was asked that for how many times before.
    say: Callable[[str, int], str | Exception | Reply] = lambda _text, _count: GOOD
    asked: Counter[str] = field(default_factory=Counter)
    conversations: list[Sequence[Message]] = field(default_factory=list)
    in_flight: int = 0
    most_in_flight: int = 0

    async def __call__(
        self, endpoint: Endpoint, messages: Sequence[Message], throttle: Throttle
    ) -> Reply:
        """Answer after a moment."""
        text = next(message["content"] for message in messages if message["role"] == "user")
        self.conversations.append(messages)
        said = self.say(text, self.asked[text])
        self.asked[text] += 1
        async with throttle.place():
            self.in_flight += 1
            self.most_in_flight = max(self.most_in_flight, self.in_flight)
            await asyncio.sleep(0)
            self.in_flight -= 1
        assert endpoint.model == "openai/scripted"
        if isinstance(said, Exception):
            raise said
        if isinstance(said, Reply):
            return said
        return Reply(said, None, "stop", prompt_tokens=50, completion_tokens=REPLY_TOKENS)


@contextmanager
def opened(
    store: Path, teacher: ScriptedTeacher, kind: type[LlmSpec] = LlmSpec, **spec: Any
) -> Iterator[PaidModel]:
    """Open a model that is asked by script, with its replies below `store`."""
    role = QUALITY if kind is QualitySpec else TEACHER
    shelf = Shelf(store / "replies")
    with open_model(make_spec(kind, **spec), role, shelf, ask_model=teacher) as model:
        yield model
