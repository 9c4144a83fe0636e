"""Ask one judge through its vendor's batch API, and put the replies into its ledger.

The ledger is held only while something is read or written, never while a batch is waited for: the
stages of other variants send their batches meanwhile. What the ledger and the log of batches say
decides what is asked next, so a process that ends at any moment leaves nothing to be bought twice.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field

from tunebench_jobs.errors import InputError, RetryableError
from tunebench_jobs.judge.asking import Asking, Judge
from tunebench_jobs.judge.batch_api import BatchApi, BatchEnd, BatchView
from tunebench_jobs.judge.batch_lines import Said, build_line, group_lines, parse_lines
from tunebench_jobs.judge.batch_log import BatchLog, Pending
from tunebench_jobs.judge.comparisons import Question
from tunebench_jobs.judge.ledger import Ledger, LedgerEntry, MissingCause
from tunebench_jobs.judge.questions import Asked, is_settled, list_open_questions
from tunebench_jobs.judge.talk import Talk
from tunebench_jobs.llm import Reply
from tunebench_jobs.prices import Prices
from tunebench_jobs.tokens import count_message_tokens

logger = logging.getLogger(__name__)

_FIRST_POLL_SECONDS = 5.0
_MAX_POLL_SECONDS = 120.0
_POLL_GROWTH = 1.5
_BEGIN_ATTEMPTS = 4
# Rounds of batches in a row that answer nothing, after which nothing more is expected.
_MOST_IDLE_ROUNDS = 3
# Looks in a row that nobody answered; with the waits between them, about an hour.
_MOST_SILENCES = 30
# What OpenAI says when more tokens wait in batches than the account may have there.
_QUEUE_FULL = frozenset({"token_limit_exceeded"})
_SMALLER = 4

OpenLedger = Callable[[], AbstractAsyncContextManager[tuple[Ledger, BatchLog]]]


@dataclass(frozen=True)
class Batching:
    """How one judge is asked in batches: by what, under which name, at what price.

    OpenAI takes 50,000 requests and 200 MB in one file; smaller ones are ready sooner.
    """

    api: BatchApi
    opened: OpenLedger
    model: str
    prices: Prices | None
    most_lines: int = 5_000
    most_bytes: int = 64 << 20
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep


async def ask_in_batches(
    judge: Judge, questions: Sequence[Question], asking: Asking, batching: Batching
) -> Asked:
    """Ask every open question until it is settled, and say which ones have no answer.

    Raises:
        InputError: The vendor refuses the key, the model or its settings.
        RetryableError: It stays away, or its batches end without an answer.
    """
    asker = _Asker(judge, {question.key: question for question in questions}, asking, batching)
    try:
        entries = await asker.ask_all()
    finally:
        await asker.release()
    return Asked(entries, asker.missing)


@dataclass
class _Asker:
    """One judge's questions on their way."""

    judge: Judge
    questions: Mapping[str, Question]
    asking: Asking
    batching: Batching
    # Why questions have no entry.
    missing: dict[str, MissingCause] = field(default_factory=dict)
    # Rounds in a row without an answer, answers in all, and what the vendor said last.
    idle: int = 0
    answers: int = 0
    complaint: str = ""
    # What questions that were sent may cost at most, and what replies have cost.
    held: dict[str, float] = field(default_factory=dict)
    paid: float = 0.0
    one_by_one: bool = False
    silences: int = 0

    def __post_init__(self) -> None:
        self.most_lines = self.batching.most_lines
        self.tally = self.asking.tally_of(self.judge.spec.name)

    async def ask_all(self) -> int:
        """Ask until nothing is open that may still be answered; return how many now have entries.

        Raises:
            JobError: As `ask_in_batches`.
        """
        first: int | None = None
        while True:
            async with self.batching.opened() as (ledger, log):
                todo = self.list_open(ledger)
                if first is None:
                    first = self.tally.total = len(todo)
                waiting = await self.send(todo, ledger, log)
            if waiting:
                await self.collect(waiting)
            if self.idle >= _MOST_IDLE_ROUNDS:
                self.check_absence()
                # Others were answered, so these fail by themselves.
                self.give_up(todo, MissingCause.NO_ANSWER)
            elif waiting:
                continue
            self.give_up(todo, MissingCause.BUDGET_SPENT)
            return first - len(self.missing)

    def list_open(self, ledger: Ledger) -> list[Question]:
        """Return what is still to be asked."""
        questions = (each for each in self.questions.values() if each.key not in self.missing)
        return list_open_questions(questions, ledger, retries=self.asking.retries)

    def give_up(self, todo: Iterable[Question], cause: MissingCause) -> None:
        """Leave questions without a verdict."""
        for question in todo:
            self.missing.setdefault(question.key, cause)

    def check_absence(self) -> None:
        """Check that the vendor has answered anything.

        Raises:
            RetryableError: It has not.
        """
        if not self.answers:
            msg = (
                f"{self.idle} rounds of batches ended without an answer "
                f"({self.complaint or 'no reason was given'}); start again later, or set "
                f"`{self.judge.field}.batch` to Disabled"
            )
            raise RetryableError(msg, reason="BatchesUnanswered")

    async def send(self, todo: Sequence[Question], ledger: Ledger, log: BatchLog) -> list[Pending]:
        """Begin batches for what no batch asks yet; return those that ask something of ours."""
        ours = {question.key for question in todo}
        for pending in log.pending:
            if not pending.batch and not ours.isdisjoint(pending.questions):
                await self._adopt(pending, log)
        asked = {key for pending in log.pending for key in pending.questions}
        lines = self._build_lines([each for each in todo if each.key not in asked], ledger)
        groups = group_lines(lines, most_lines=self.most_lines, most_bytes=self.batching.most_bytes)
        for group in groups:
            file = await self.batching.api.upload(b"".join(group.values()))
            replies = {key: _count_replies(ledger.get(key)) for key in group}
            await self._begin(log.prepare(file, replies), log)
            if self.one_by_one:
                break
        return [each for each in log.pending if not ours.isdisjoint(each.questions)]

    async def collect(self, waiting: Sequence[Pending]) -> None:
        """Wait until all batches have ended, and put what they say into the ledger."""
        before, delay, left = self.answers, _FIRST_POLL_SECONDS, list(waiting)
        while left:
            views = [(pending, await self._look(pending)) for pending in left]
            for pending, view in views:
                if view.end is not None:
                    await self._collect_one(pending, view)
            left = [pending for pending, view in views if view.end is None]
            if left:
                await self.batching.sleep(delay)
                delay = min(delay * _POLL_GROWTH, _MAX_POLL_SECONDS)
        self.idle = 0 if self.answers > before else self.idle + 1

    async def _look(self, pending: Pending) -> BatchView:
        """Return how a batch stands; who waits for a day also waits for a vendor that is away.

        Raises:
            RetryableError: It has been away for too long.
        """
        try:
            view = await self.batching.api.look(pending.batch)
        except RetryableError as error:
            self.silences += 1
            if self.silences > _MOST_SILENCES:
                raise
            logger.warning("looking again later: %s", error)
            return BatchView(None)
        self.silences = 0
        return view

    async def release(self, keys: Iterable[str] | None = None, paid: float = 0.0) -> None:
        """Give back what questions held of the budget: these, or where none is named all."""
        held = sum(self.held.pop(key, 0.0) for key in list(self.held if keys is None else keys))
        await self.asking.budget.settle(held, paid)

    async def _adopt(self, pending: Pending, log: BatchLog) -> None:
        """Take up a batch that may have begun: who prepared it has ended, as the lock is ours."""
        batch = await self.batching.api.find(pending.file)
        if batch is None:
            log.end(pending)
        else:
            log.begin(pending, batch)

    async def _begin(self, pending: Pending, log: BatchLog) -> None:
        """Begin a batch; before that is tried again, the vendor is asked whether it was done."""
        api = self.batching.api
        for attempt in range(_BEGIN_ATTEMPTS):
            try:
                batch = await api.find(pending.file) if attempt else None
                log.begin(pending, batch or await api.create(pending.file))
            except RetryableError:
                if attempt == _BEGIN_ATTEMPTS - 1:
                    raise
                await self.batching.sleep(_FIRST_POLL_SECONDS)
            else:
                return

    async def _collect_one(self, pending: Pending, view: BatchView) -> None:
        """Put the replies of a batch that has ended into the ledger."""
        api = self.batching.api
        said = [each for file in view.files for each in parse_lines(await api.download(file))]
        paid = self.paid
        async with self.batching.opened() as (ledger, log):
            if all(each.token != pending.token for each in log.pending):
                # Another stage has read it.
                said, answers = [], sum(key in self.questions for key in pending.questions)
            else:
                answers = self._keep(said, pending, ledger)
                log.end(pending)
        self.answers += answers
        await self.release(pending.questions, self.paid - paid)
        self._learn(view)
        self._note_refusals([each for each in said if each.key in self.questions])

    def _keep(self, said: Iterable[Said], pending: Pending, ledger: Ledger) -> int:
        """Put into the ledger what it lacks, and return how many entries that were."""
        entries = 0
        for each in said:
            if entry := self._build_entry(each, pending, ledger):
                ledger.append(entry)
                entries += 1
                if is_settled(entry, retries=self.asking.retries):
                    self.tally.done += each.key in self.questions
                self.asking.on_entry()
        return entries

    def _learn(self, view: BatchView) -> None:
        """Learn from a batch that failed as a whole.

        Raises:
            InputError: No other will do better.
        """
        self.complaint = view.message or self.complaint
        if view.end is not BatchEnd.FAILED or view.files:
            return
        if view.code in _QUEUE_FULL:
            logger.warning("smaller batches for %s: %s", self.judge.spec.name, view.message)
            self.one_by_one = True
            self.most_lines = max(1, self.most_lines // _SMALLER)
        elif view.code:
            msg = (
                f"model `{self.batching.model}` refused a batch; check that it may be asked in "
                f"batches: {view.code}: {view.message}"
            )
            raise InputError(msg, reason="BatchRefused")

    def _note_refusals(self, said: Sequence[Said]) -> None:
        """Leave out what is refused by itself.

        Raises:
            InputError: Nothing is answered at all.
        """
        for each in said:
            if each.refusal is None:
                continue
            status, words = each.refusal
            if not self.answers:
                msg = (
                    f"model `{self.batching.model}` refused all questions of a batch; check the "
                    f"model id and its settings: HTTP {status}: {words}"
                )
                raise InputError(msg, reason="BadRequest")
            logger.warning("a question to %s is left out: %s", self.judge.spec.name, words)
            self.missing.setdefault(each.key, MissingCause.NO_ANSWER)

    def _build_lines(
        self, questions: Iterable[Question], ledger: Ledger
    ) -> Iterator[tuple[str, bytes]]:
        """Yield requests, as long as the budget covers what they may cost."""
        prices, budget = self.batching.prices, self.asking.budget
        for question in questions:
            talk = Talk.resume(question, ledger.get(question.key))
            if prices is not None and budget.is_limited:
                tokens = count_message_tokens(talk.messages)
                most = prices.cost(tokens, self.judge.spec.max_tokens)
                if question.key not in self.held and not budget.try_reserve(most):
                    return
                self.held[question.key] = most
            line = build_line(question.key, talk.messages, self.batching.model, self.judge.sent)
            yield question.key, line

    def _build_entry(self, said: Said, pending: Pending, ledger: Ledger) -> LedgerEntry | None:
        """Return what the ledger gets; nothing for what it has, and what is to be asked again."""
        before = ledger.get(said.key)
        if pending.questions.get(said.key) != _count_replies(before):
            return None
        question = self.questions.get(said.key) or Question(said.key, (), {})
        talk = Talk.resume(question, before)
        if said.reply is None:
            return None if said.missing is None else talk.build_entry(said.missing)
        reply = said.reply if self.batching.prices is None else talk.complete(said.reply)
        cost = self._pay(reply)
        self.tally.add(reply, talk.characters, cost)
        talk.hear(reply, cost)
        return talk.build_entry(None if talk.problem is None else MissingCause.UNREADABLE)

    def _pay(self, reply: Reply) -> float | None:
        if self.batching.prices is None:
            return None
        cost = self.batching.prices.cost(reply.prompt_tokens, reply.completion_tokens)
        self.paid += cost
        return cost


def _count_replies(entry: LedgerEntry | None) -> int:
    return entry.replies if entry is not None else 0


@asynccontextmanager
async def open_beside(
    ledger: AbstractAsyncContextManager[Ledger], log: Callable[[], BatchLog]
) -> AsyncIterator[tuple[Ledger, BatchLog]]:
    """Open a judge's ledger, and then its log of batches."""
    async with ledger as entries:
        with log() as batches:
            yield entries, batches
