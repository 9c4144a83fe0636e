"""Ask one judge everything that its ledger does not hold yet."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tunebench_api.v1alpha1 import JudgeSpec
from tunebench_jobs.errors import InputError, JobError
from tunebench_jobs.journal import Journal
from tunebench_jobs.judge.comparisons import Message, Question
from tunebench_jobs.judge.ledger import Ledger, LedgerEntry, MissingCause, open_local_journal
from tunebench_jobs.judge.pace import Pace
from tunebench_jobs.judge.verdicts import UnparsableVerdictError, parse_verdict
from tunebench_jobs.llm import Endpoint, Reply

Ask = Callable[[Endpoint, Sequence[Message]], Awaitable[Reply]]

# Refusals that concern one comparison and not the judge.
_CAUSES = {cause.value: cause for cause in MissingCause}


@dataclass(frozen=True)
class Judge:
    """A judge that is ready to be asked; `digest` names its ledger."""

    spec: JudgeSpec
    endpoint: Endpoint
    digest: str
    # Place in the run, for messages.
    field: str


@dataclass(frozen=True)
class Asking:
    """How judges are asked: by what, how often more when a reply is unreadable, told to whom.

    `open_journal` opens what a ledger's entries are kept in.
    """

    ask: Ask
    retries: int
    on_entry: Callable[[], None] = lambda: None
    open_journal: Callable[[Path], Journal] = open_local_journal


def list_open_questions(
    questions: Iterable[Question], ledger: Ledger, *, retries: int
) -> list[Question]:
    """Return the questions that must be asked, each once."""
    unique = {question.key: question for question in questions}
    return [
        question
        for key, question in unique.items()
        if not is_settled(ledger.get(key), retries=retries)
    ]


def is_settled(entry: LedgerEntry | None, *, retries: int) -> bool:
    """Whether an entry stands; an unreadable reply is asked for again when retries were added."""
    if entry is None:
        return False
    if entry.missing is not None:
        return entry.missing is not MissingCause.UNREADABLE or entry.replies > retries
    return _find_problem(entry.reply) is None


async def ask_judge(
    judge: Judge, questions: Iterable[Question], ledger: Ledger, asking: Asking
) -> int:
    """Put every open question to the judge and return how many there were.

    When the judge stays away, nothing new is asked, and what is under way is still kept.

    Raises:
        JobError: The judge stays away, or refuses the key, the model or its settings.
    """
    todo = list_open_questions(questions, ledger, retries=asking.retries)
    waiting = iter(todo)
    pace = Pace(judge.spec.requests_per_minute)
    failures: list[JobError] = []

    async def work() -> None:
        for question in waiting:
            try:
                ledger.append(await _ask_question(judge, question, asking, pace))
                asking.on_entry()
            except JobError as error:
                failures.append(error)
            if failures:
                return

    await asyncio.gather(*(work() for _ in range(min(judge.spec.concurrency, len(todo)))))
    if failures:
        raise _name_judge(failures[0], judge)
    return len(todo)


async def _ask_question(
    judge: Judge, question: Question, asking: Asking, pace: Pace
) -> LedgerEntry:
    """Ask until the reply is readable; each time, tell the judge what was wrong with the last."""
    endpoint = replace(judge.endpoint, extra={**judge.endpoint.extra, **question.extra})
    messages: list[Message] = list(question.messages)
    costs: list[float] = []
    text = ""
    for count in range(1, asking.retries + 2):
        await pace.wait()
        try:
            reply = await asking.ask(endpoint, messages)
        except InputError as error:
            if error.reason not in _CAUSES:
                raise
            return _build_entry(question, text, count - 1, costs, _CAUSES[error.reason])
        text = reply.text
        costs += [] if reply.cost_usd is None else [reply.cost_usd]
        problem = _find_problem(text)
        if problem is None:
            return _build_entry(question, text, count, costs)
        messages = [*question.messages, *_build_reminder(reply, problem)]
    return _build_entry(question, text, asking.retries + 1, costs, MissingCause.UNREADABLE)


def _find_problem(reply: str) -> str | None:
    try:
        parse_verdict(reply, model_is_first=True)
    except UnparsableVerdictError as error:
        return str(error)
    return None


def _build_reminder(reply: Reply, problem: str) -> list[Message]:
    cut = " It was cut off at the token limit: keep `why` short." * (
        reply.finish_reason == "length"
    )
    text = (
        f"Your reply could not be read: {problem}.{cut} "
        "Answer again, with nothing but the YAML document that was asked for."
    )
    # Some servers refuse a message without content.
    said = reply.text.strip() or "(nothing)"
    return [{"role": "assistant", "content": said}, {"role": "user", "content": text}]


def _build_entry(
    question: Question,
    reply: str,
    replies: int,
    costs: Sequence[float],
    missing: MissingCause | None = None,
) -> LedgerEntry:
    return LedgerEntry(
        key=question.key,
        reply=reply,
        missing=missing,
        replies=replies,
        cost_usd=sum(costs) if costs else None,
    )


def _name_judge(error: JobError, judge: Judge) -> JobError:
    """Return the same error, with the judge and the place of its key."""
    place = f"judge `{judge.spec.name}`"
    if error.reason == "AuthenticationFailed":
        secret = judge.spec.secret_ref
        key = (
            f"`{judge.field}.secretRef` (key `{secret.key}` of `{secret.name}`) must hold a valid "
            "API key"
            if secret
            else f"`{judge.field}.secretRef` must name a valid API key"
        )
        place = f"{place}: {key}"
    return type(error)(f"{place}: {error}", reason=error.reason)
