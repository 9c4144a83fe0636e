"""One judge's pool: many questions at once, each until it has ended."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace

from tunebench_jobs.errors import InputError, JobError, RetryableError
from tunebench_jobs.judge.asking import Asking, Judge
from tunebench_jobs.judge.breaker import Breaker
from tunebench_jobs.judge.comparisons import Question
from tunebench_jobs.judge.ledger import Ledger, LedgerEntry, MissingCause
from tunebench_jobs.judge.talk import Talk
from tunebench_jobs.llm import (
    MAX_DELAY_SECONDS,
    NoAnswerError,
    Reply,
    ask_in_place,
    build_delay,
)
from tunebench_jobs.throttle import Throttle, tell_time
from tunebench_jobs.tokens import count_message_tokens

logger = logging.getLogger(__name__)

# In flight at first: no server of any size is hurt by so many, or by a second of what it allows.
_FIRST_IN_FLIGHT = 16
_MINUTE_SECONDS = 60
# Tries of one question while the judge answers others; with their waits, half a minute.
_MOST_FAILURES = 6
# What a judge is asked that seems to be away, after so long and then twice as long each time.
_CALL = ({"role": "user", "content": "Answer with the word `ready`."},)
_FIRST_CALL_SECONDS = 1.0
# Times that one question is put off while others are answered: it may be larger than the limit.
_MOST_REFUSALS = 20
# One request may be bad by what a stranger wrote; when most are, the settings are.
_BAD_REQUEST = "BadRequest"
_FEW = 8
# Refusals that concern one comparison and not the judge.
_CAUSES = {cause.value: cause for cause in (MissingCause.CONTEXT_EXCEEDED, MissingCause.REFUSED)}


class Pool:
    """Puts questions to one judge and keeps what it says."""

    def __init__(self, judge: Judge, asking: Asking, ledger: Ledger) -> None:
        """Begin with as many at once as any server takes."""
        spec = judge.spec
        # Why questions have no entry; what the user must mend; why the judge counts as away.
        self.missing: dict[str, MissingCause] = {}
        self.failure: JobError | None = None
        self.absence: RetryableError | None = None
        self._judge = judge
        self._asking = asking
        self._ledger = ledger
        self._tally = asking.tally_of(spec.name)
        self._throttle = Throttle(
            spec.concurrency,
            first=max(_FIRST_IN_FLIGHT, (spec.requests_per_minute or 0) // _MINUTE_SECONDS),
            requests_per_minute=spec.requests_per_minute,
            tokens_per_minute=spec.tokens_per_minute,
        )
        self._breaker = Breaker()
        self._cause: MissingCause | None = None
        self._stopped = asyncio.Event()
        self._bad = 0
        self._tasks = asyncio.TaskGroup()
        self._is_calling = False

    async def ask_all(self, questions: Iterable[Question]) -> None:
        """Ask until every question has ended, or nothing more is to be asked."""
        todo = list(questions)
        try:
            async with self._tasks:
                if todo and self._judge.spec.name in self._asking.absent:
                    self._breaker.doubt()
                    self._call()
                for question in todo:
                    self._tally.total += 1
                    self._tasks.create_task(self._pursue(self._begin(question)))
        except ExceptionGroup as bugs:
            raise bugs.exceptions[0] from None

    def _begin(self, question: Question) -> Talk:
        return Talk.resume(question, self._ledger.get(question.key))

    async def _pursue(self, talk: Talk) -> None:
        """Ask one question until it has ended; where that fails for good, all end."""
        try:
            await self._ask_until_answered(talk)
        except JobError as error:
            self.failure = self.failure or error
            self._stop(MissingCause.UNAVAILABLE)

    async def _ask_until_answered(self, talk: Talk) -> None:
        while self._cause is None:
            try:
                reply = await self._send(talk)
            except InputError as error:
                return self._note_refusal(talk, error)
            except RetryableError as error:
                delay = self._note_failure(talk, error)
                if delay is None:
                    return self._leave_open(talk, MissingCause.NO_ANSWER)
                await self._rest(delay)
                continue
            if reply is None:
                break
            if talk.problem is None:
                return self._keep(talk.build_entry())
            if talk.replies > self._asking.retries:
                return self._keep(talk.build_entry(MissingCause.UNREADABLE))
            # Paid for as well, and the next one may never come.
            self._ledger.append(talk.build_entry(MissingCause.UNREADABLE))
        assert self._cause is not None  # noqa: S101 - nothing else ends the loop
        return self._leave_open(talk, self._cause)

    async def _send(self, talk: Talk) -> Reply | None:
        """Send what is next in a talk; return nothing if nothing more is to be asked."""
        judge, budget = self._judge, self._asking.budget
        endpoint = replace(judge.endpoint, extra={**judge.endpoint.extra, **talk.question.extra})
        characters = talk.characters
        expected = characters / self._tally.characters_per_token
        expected += self._tally.expect_reply_tokens(judge.spec.max_tokens)
        async with self._throttle.place(expected) as ticket:
            if self._cause is not None:
                return None
            held = self._find_most(talk)
            # What costs nothing goes on when the money is spent.
            if held and not await budget.reserve(held):
                self._stop(MissingCause.BUDGET_SPENT)
                return None
            cost: float | None = None
            try:
                reply = await ask_in_place(
                    self._throttle, ticket, self._asking.ask, endpoint, talk.messages
                )
                reply = reply if judge.prices is None else talk.complete(reply)
                cost = judge.find_cost(reply)
            finally:
                if held:
                    await budget.settle(held, cost or 0.0)
        self._breaker.answered()
        self._tally.add(reply, characters, cost)
        talk.hear(reply, cost)
        return reply

    def _find_most(self, talk: Talk) -> float:
        """Return what the next reply may cost at most; nothing where no budget is to be kept."""
        prices = self._judge.prices
        if prices is None or not self._asking.budget.is_limited:
            return 0.0
        return prices.cost(count_message_tokens(talk.messages), self._judge.spec.max_tokens)

    def _note_refusal(self, talk: Talk, error: InputError) -> None:
        """End one question.

        Raises:
            InputError: It is the judge itself that refuses to work.
        """
        cause = _CAUSES.get(error.reason)
        if cause is not None:
            self._breaker.answered()
            return self._keep(talk.build_entry(cause))
        self._bad += 1
        if error.reason == _BAD_REQUEST and self._bad <= self._tally.replies + _FEW:
            logger.warning("a question to %s is left out: %s", self._judge.spec.name, error)
            return self._leave_open(talk, MissingCause.NO_ANSWER)
        raise error

    def _note_failure(self, talk: Talk, error: RetryableError) -> float | None:
        """Return the seconds until the next try, or nothing if the question fails by itself."""
        now = tell_time()
        talk.failing_since = now if talk.failing_since is None else talk.failing_since
        if isinstance(error, NoAnswerError) and error.busy:
            talk.refusals += 1
            self._breaker.put_off()
            if self._breaker.is_away:
                self._give_up(error)
            # The throttle knows how long all wait.
            delay = 0.0
        else:
            talk.failures += 1
            self._breaker.failed()
            delay = build_delay(error, talk.failures - 1)
        is_hopeless = talk.failures >= _MOST_FAILURES or talk.refusals >= _MOST_REFUSALS
        if is_hopeless and self._breaker.has_answered_since(talk.failing_since):
            logger.warning("a question to %s is left out: %s", self._judge.spec.name, error)
            return None
        if self._breaker.is_open or talk.failures >= _MOST_FAILURES:
            self._call()
        return delay

    def _call(self) -> None:
        """Let all wait, and find out whether the judge is there."""
        if not self._is_calling and self._cause is None:
            self._is_calling = True
            self._throttle.hold()
            self._tasks.create_task(self._call_until_back())

    async def _call_until_back(self) -> None:
        """Ask a word, now and then, until the judge says anything, or is given up."""
        seconds = _FIRST_CALL_SECONDS
        began = tell_time()
        while self._cause is None and not self._breaker.has_answered_since(began):
            await self._rest(seconds)
            seconds = min(2 * seconds, MAX_DELAY_SECONDS)
            try:
                reply = await self._ask_a_word()
            except InputError as error:
                self.failure = self.failure or error
                self._stop(MissingCause.UNAVAILABLE)
            except RetryableError as error:
                self._breaker.put_off()
                logger.warning("%s does not answer: %s", self._judge.spec.name, error)
                if self._breaker.is_away:
                    self._give_up(error)
            else:
                self._breaker.answered()
                cost = self._judge.find_cost(reply)
                self._tally.add(reply, 0, cost)
                await self._asking.budget.settle(0.0, cost or 0.0)
        self._throttle.answered()
        self._is_calling = False

    async def _ask_a_word(self) -> Reply:
        """Ask what takes no time to answer; who answers nothing at all is not waited for."""
        patience = self._breaker.patience_seconds
        try:
            async with asyncio.timeout(patience):
                return await self._asking.ask(self._judge.endpoint, _CALL)
        except TimeoutError:
            msg = f"it did not answer one word in {patience:g} s"
            raise NoAnswerError(msg) from None

    def _give_up(self, error: RetryableError) -> None:
        self.absence = self.absence or error
        self._stop(MissingCause.UNAVAILABLE)

    def _stop(self, cause: MissingCause) -> None:
        """Ask nothing more; what is under way is still kept."""
        self._cause = self._cause or cause
        self._stopped.set()
        self._throttle.open()

    async def _rest(self, seconds: float) -> None:
        """Wait, but not for what will not come."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._stopped.wait(), seconds)

    def _keep(self, entry: LedgerEntry) -> None:
        self._ledger.append(entry)
        self._tally.done += 1
        self._asking.on_entry()

    def _leave_open(self, talk: Talk, cause: MissingCause) -> None:
        """Leave a question without a verdict, or as unreadable where that much was paid for."""
        if talk.replies:
            self._ledger.append(talk.build_entry(MissingCause.UNREADABLE))
        else:
            self.missing[talk.question.key] = cause
