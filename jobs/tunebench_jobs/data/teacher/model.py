"""A model that is asked many questions in order: kept replies first, a budget, a busy server."""

from __future__ import annotations

import asyncio
import os
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TypeVar

from tunebench_api.v1alpha1 import LlmSpec
from tunebench_jobs.budget import Budget, Estimate
from tunebench_jobs.data.teacher.replies import (
    Message,
    Replies,
    Shelf,
    StoredReply,
    build_key,
    open_replies,
)
from tunebench_jobs.data.teacher.talk import (
    Ending,
    Outcome,
    Question,
    Turn,
    replay,
)
from tunebench_jobs.errors import InputError, JobError
from tunebench_jobs.llm import Endpoint, Reply, ask, build_endpoint
from tunebench_jobs.prices import Prices, find_prices
from tunebench_jobs.throttle import Throttle
from tunebench_jobs.tokens import count_message_tokens, count_tokens

# Attempts at a model that is busy or away, from 1 s on doubled to 60 s: about 6 minutes.
_ASK_RETRIES = 10
# Questions that are open at once, so that none of the places is free while one takes long.
_WINDOW = 4
_MIN_WINDOW = 32
# Refusals that concern one question, and will be the same next time.
_REFUSED = frozenset({"ContextWindowExceeded", "ContentRefused"})
# One request may be bad by what a stranger wrote; when most are, the settings are.
_BAD_REQUEST = "BadRequest"
_FEW = 8

Ask = Callable[[Endpoint, Sequence[Message], Throttle], Awaitable[Reply]]
ItemT = TypeVar("ItemT")


@dataclass(frozen=True)
class Role:
    """What a model is there for: `kind` names its folder, `field` its place in the run."""

    kind: str
    field: str


TEACHER = Role("teacher", "spec.dataset.teacher")
QUALITY = Role("quality", "spec.dataset.cleaning.quality")


async def ask_patiently(
    endpoint: Endpoint, messages: Sequence[Message], throttle: Throttle
) -> Reply:
    """Ask a model, and wait for minutes while it is busy."""
    return await ask(endpoint, messages, retries=_ASK_RETRIES, throttle=throttle)


class PaidModel:
    """Asks a model what it has not been asked before; made by `open_model`."""

    def __init__(
        self, spec: LlmSpec, role: Role, replies: Replies, runner: asyncio.Runner, ask_model: Ask
    ) -> None:
        """Ask `ask_model`, in the loop of `runner`."""
        self.spec = spec
        self.role = role
        self.replies = replies
        self.budget = Budget(float(spec.budget_usd))
        self.estimated = Estimate()
        # Replies of this time, and what all that were used add up to.
        self.paid = 0
        self.totals: Counter[str] = Counter()
        self.cost_usd = 0.0
        self._runner = runner
        self._ask = ask_model
        # So that no more money is set aside at once; the throttle may let fewer go.
        self._places = asyncio.Semaphore(spec.concurrency)
        self._throttle = Throttle(spec.concurrency)
        self._bad = 0
        self._ending = False
        self._failure: JobError | None = None
        self._tasks: set[asyncio.Task[Outcome]] = set()
        self._under_way: dict[str, asyncio.Event] = {}

    @cached_property
    def prices(self) -> Prices:
        """What a token costs; unknown until something has to be asked.

        Raises:
            InputError: Nobody knows.
        """
        return find_prices(self.spec, self.role.field)

    @cached_property
    def _endpoint(self) -> Endpoint:
        return build_endpoint(self.spec, self.role.field, os.environ)

    def estimate(self, question: Question) -> None:
        """Count what a question will cost if it is open.

        A reply counts as long as those that were kept of its kind, or as `maxTokens`.

        Raises:
            InputError: Nobody knows what it costs.
        """
        # Whether what is kept can be used is found out later: reading it all takes minutes.
        if build_key(question.messages) in self.replies:
            return
        tokens = _count(question.messages, question.tokens)
        length = self.expect_tokens(question.purpose)
        self.estimated.questions += 1
        self.estimated.prompt_tokens += tokens
        self.estimated.reply_tokens += length
        self.estimated.usd += self.prices.cost(tokens, length)

    def expect_tokens(self, purpose: str) -> float:
        """Return how long a reply will be, as far as one can know."""
        return self.replies.mean_tokens(purpose) or self.spec.max_tokens

    def check_budget(self) -> None:
        """Refuse to start if what was estimated is more than the budget.

        Raises:
            InputError: It is; nothing was asked.
        """
        self.estimated.check(self.budget.most, self.role.field, self.spec.model)

    def ask_all(
        self, items: Iterable[tuple[ItemT, Question | None]]
    ) -> Iterator[tuple[ItemT, Outcome | None]]:
        """Yield each item with the outcome of its question, in order; one without passes through.

        A bounded number is open at once. After a failure nothing new is asked.

        Raises:
            InputError: The model refuses the key, its id or its settings.
            RetryableError: It stays away.
        """
        window = max(_MIN_WINDOW, _WINDOW * self.spec.concurrency)
        waiting: deque[tuple[ItemT, Outcome | asyncio.Task[Outcome] | None]] = deque()
        for item, question in items:
            waiting.append((item, self._begin(question)))
            while waiting and (
                len(waiting) >= window or not isinstance(waiting[0][1], asyncio.Task)
            ):
                yield self._finish(*waiting.popleft())
        while waiting:
            yield self._finish(*waiting.popleft())

    def wind_down(self) -> None:
        """Ask nothing more, and wait for what is under way, which is paid for."""
        self._ending = True
        self._runner.run(_wait_for_all(tuple(self._tasks)))

    def _begin(self, question: Question | None) -> Outcome | asyncio.Task[Outcome] | None:
        if question is None:
            return None
        known = replay(question, self.replies)
        if isinstance(known, Outcome):
            return known
        task = self._runner.get_loop().create_task(self._converse(question))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _finish(
        self, item: ItemT, begun: Outcome | asyncio.Task[Outcome] | None
    ) -> tuple[ItemT, Outcome | None]:
        outcome = self._runner.run(_wait(begun)) if isinstance(begun, asyncio.Task) else begun
        if (error := self._failure) is not None:
            raise type(error)(f"`{self.role.field}`: {error}", reason=error.reason) from None
        if outcome is not None:
            self.cost_usd += outcome.cost_usd
            self.totals.update(
                {
                    outcome.ending: 1,
                    "questions": 1,
                    "replies": outcome.replies,
                    "prompt_tokens": outcome.prompt_tokens,
                    "completion_tokens": outcome.completion_tokens,
                }
            )
        return item, outcome

    async def _converse(self, question: Question) -> Outcome:
        """Ask, and ask again, until the conversation has ended."""
        while isinstance(turn := replay(question, self.replies), Turn):
            # The same question may be there twice.
            if (event := self._under_way.get(turn.key)) is not None:
                await event.wait()
                continue
            self._under_way[turn.key] = asyncio.Event()
            try:
                async with self._places:
                    unanswered = await self._pay(question, turn)
            except JobError as error:
                self._failure = self._failure or error
                return Outcome(Ending.UNASKED)
            finally:
                self._under_way.pop(turn.key).set()
            if unanswered is not None:
                return unanswered
        return turn

    async def _pay(self, question: Question, turn: Turn) -> Outcome | None:
        """Send one turn and keep the reply; return an outcome if none can be kept."""
        if self._ending or self._failure:
            return Outcome(Ending.UNASKED)
        tokens = _count(turn.messages, question.tokens if turn.is_first else None)
        reserved = self.prices.cost(tokens, self.spec.max_tokens)
        if not await self.budget.reserve(reserved):
            return Outcome(Ending.UNASKED, detail=f"`{self.role.field}.budgetUSD` is spent")
        paid = 0.0
        try:
            reply = await self._ask(self._endpoint, turn.messages, self._throttle)
            paid = self._keep(question, turn, _complete_usage(reply, tokens))
        except InputError as error:
            if error.reason in _REFUSED:
                refusal = StoredReply(
                    key=turn.key, purpose=question.purpose, refusal=f"{error.reason}: {error}"
                )
                self.replies.append(refusal)
                return None
            self._bad += 1
            if error.reason != _BAD_REQUEST or self._bad > self.paid + _FEW:
                raise
            return Outcome(Ending.REFUSED, detail=str(error))
        finally:
            await self.budget.settle(reserved, paid)
        return None

    def _keep(self, question: Question, turn: Turn, reply: Reply) -> float:
        cost = self.prices.cost_of(reply)
        self.replies.append(
            StoredReply(
                key=turn.key,
                purpose=question.purpose,
                text=reply.text,
                finish_reason=reply.finish_reason,
                prompt_tokens=reply.prompt_tokens,
                completion_tokens=reply.completion_tokens,
                cost_usd=cost,
            )
        )
        self.paid += 1
        return cost


@contextmanager
def open_model(
    spec: LlmSpec,
    role: Role,
    shelf: Shelf,
    *,
    on_wait: Callable[[], None] = lambda: None,
    ask_model: Ask = ask_patiently,
) -> Iterator[PaidModel]:
    """Hold a model's replies while the block runs."""
    with (
        open_replies(shelf, role.kind, spec, on_wait) as replies,
        asyncio.Runner() as runner,
    ):
        model = PaidModel(spec, role, replies, runner, ask_model)
        try:
            yield model
        # Not where this process is told to stop: there is no time then.
        except Exception:
            model.wind_down()
            raise
        model.wind_down()


def _count(messages: Sequence[Message], known: int | None) -> int:
    return count_message_tokens(messages) if known is None else known


def _complete_usage(reply: Reply, prompt_tokens: int) -> Reply:
    """Count what a server does not say, so that it is not free of charge."""
    return replace(
        reply,
        prompt_tokens=reply.prompt_tokens or prompt_tokens,
        completion_tokens=reply.completion_tokens or count_tokens(reply.text),
    )


async def _wait(task: asyncio.Task[Outcome]) -> Outcome:
    return await task


async def _wait_for_all(tasks: Iterable[asyncio.Task[Outcome]]) -> None:
    await asyncio.gather(*tasks, return_exceptions=True)
