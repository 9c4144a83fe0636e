"""One question to a judge: what it was sent, what it said, and what that cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Self

from tunebench_jobs.judge.comparisons import Message, Question
from tunebench_jobs.judge.ledger import LedgerEntry, MissingCause
from tunebench_jobs.judge.verdicts import find_problem
from tunebench_jobs.llm import Reply
from tunebench_jobs.tokens import count_message_tokens, count_tokens

# Characters of an unreadable reply that are sent back; more would only be paid for.
_MOST_REPEATED = 10_000


@dataclass
class Talk:
    """A question with the replies to it so far, and how often none came."""

    question: Question
    messages: Sequence[Message] = ()
    text: str = ""
    replies: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost_usd: float | None = None
    # Times that no reply came: because something failed, and because the judge was busy.
    failures: int = 0
    refusals: int = 0
    failing_since: float | None = None
    problem: str | None = field(default=None)

    def __post_init__(self) -> None:
        """Begin with the question itself."""
        self.messages = self.question.messages

    @classmethod
    def resume(cls, question: Question, entry: LedgerEntry | None) -> Self:
        """Go on where the ledger says that a talk was left: after replies that cannot be read."""
        talk = cls(question)
        problem = None if entry is None else find_problem(entry.reply)
        if entry is None or problem is None or not entry.replies:
            return talk
        talk.replies, talk.text = entry.replies, entry.reply
        talk.prompt_tokens, talk.completion_tokens = entry.prompt_tokens, entry.completion_tokens
        talk.cost_usd = entry.cost_usd
        talk._remind(problem)
        return talk

    @property
    def characters(self) -> int:
        """Length of what is to be sent next."""
        return sum(len(message["content"]) for message in self.messages)

    def complete(self, reply: Reply) -> Reply:
        """Count what a server does not say, so that a reply which has a price is not free."""
        if reply.prompt_tokens and reply.completion_tokens:
            return reply
        return replace(
            reply,
            prompt_tokens=reply.prompt_tokens or count_message_tokens(self.messages),
            completion_tokens=reply.completion_tokens or count_tokens(reply.text),
        )

    def hear(self, reply: Reply, cost_usd: float | None) -> None:
        """Note a reply; where it cannot be read, the next message tells the judge what is wrong."""
        self.text = reply.text
        self.replies += 1
        self.prompt_tokens += reply.prompt_tokens
        self.completion_tokens += reply.completion_tokens
        if cost_usd is not None:
            self.cost_usd = (self.cost_usd or 0.0) + cost_usd
        self.problem = find_problem(reply.text)
        if self.problem is not None:
            self._remind(self.problem, cut_off=reply.finish_reason == "length")

    def _remind(self, problem: str, *, cut_off: bool = False) -> None:
        reminder = _build_reminder(self.text, problem, cut_off=cut_off)
        self.messages = (*self.question.messages, *reminder)

    def build_entry(self, missing: MissingCause | None = None) -> LedgerEntry:
        """Build what the ledger keeps of it."""
        return LedgerEntry(
            key=self.question.key,
            reply=self.text,
            missing=missing,
            replies=self.replies,
            cost_usd=self.cost_usd,
            prompt_tokens=self.prompt_tokens,
            completion_tokens=self.completion_tokens,
        )


def _build_reminder(said: str, problem: str, *, cut_off: bool) -> list[Message]:
    cut = " It was cut off at the token limit: keep `why` short." * cut_off
    text = (
        f"Your reply could not be read: {problem}.{cut} "
        "Answer again, with nothing but the YAML document that was asked for."
    )
    # Some servers refuse a message without content.
    said = said.strip()[:_MOST_REPEATED] or "(nothing)"
    return [{"role": "assistant", "content": said}, {"role": "user", "content": text}]
