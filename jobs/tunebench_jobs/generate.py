"""The generate stage: ask an endpoint for a completion of every task, each one only once."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from tunebench_api.contract import GenerateConfig, Progress
from tunebench_jobs.chat import ANSWER_END, build_messages
from tunebench_jobs.completions import CompletionJournal
from tunebench_jobs.context import Outcome, StageContext
from tunebench_jobs.data.layout import EVAL_FILE
from tunebench_jobs.errors import InputError, RetryableError
from tunebench_jobs.files import save_text
from tunebench_jobs.records import COMPLETIONS_FILE, Completion, Task, dump_jsonl, load_jsonl

if TYPE_CHECKING:
    from openai import APIStatusError, AsyncOpenAI
    from openai.types.chat import ChatCompletion, ChatCompletionMessageParam

logger = logging.getLogger(__name__)

# Begins the names of the files that an interrupted attempt leaves.
PARTIAL_PREFIX = "partial"

# A CPU may take minutes for a long completion, behind others in the queue.
_TIMEOUT_SECONDS = 1800.0
_REPORT_SECONDS = 1.0
_RETRIED_STATUSES = frozenset({408, 409, 425, 429})
_SERVER_ERRORS = 500
_OVERFLOW = "context_length_exceeded"


@dataclass(frozen=True)
class Patience:
    """How long an endpoint may be away: a restarted server loads its model in well under that."""

    tries: int = 8
    first_wait_seconds: float = 1.0
    longest_wait_seconds: float = 20.0

    def find_wait(self, number: int) -> float:
        """Return the seconds to wait after a try, with some chance in them to spread clients."""
        longest = min(self.longest_wait_seconds, self.first_wait_seconds * float(2**number))
        return longest * random.uniform(0.5, 1.0)  # noqa: S311 - guards nothing


def run_generate(
    config: GenerateConfig, context: StageContext, *, patience: Patience = Patience()
) -> Outcome:
    """Complete every task that an earlier attempt has not completed.

    Raises:
        InputError: The endpoint refuses the requests.
        RetryableError: The endpoint is away.
    """
    endpoint, model = context.runtime.endpoint, context.runtime.served_name
    if not endpoint or not model:
        msg = "`runtime.endpoint` and `runtime.servedName` must be set for generate"
        raise InputError(msg)
    tasks = tuple(load_jsonl(context.path(f"{config.data}/{EVAL_FILE}"), Task))
    if not tasks:
        msg = (
            f"`{config.data}/{EVAL_FILE}` must have tasks, got none; give evaluation pull requests"
        )
        raise InputError(msg, reason="NoTasks")
    started = time.monotonic()
    with CompletionJournal(context.open_journal(context.output, PARTIAL_PREFIX)) as partial:
        kept = len(partial.completions)
        work = _Generation(config, context, partial, patience, total=len(tasks))
        asyncio.run(work.run(endpoint, model, tasks))
        seconds = time.monotonic() - started
        completions = [partial.completions[task.id] for task in tasks]
    save_text(context.output / COMPLETIONS_FILE, dump_jsonl(completions))
    summary = build_summary(completions, seconds=seconds, fresh_tokens=work.fresh_tokens)
    message = f"completed {len(tasks)} tasks, {min(kept, len(tasks))} of them before"
    return Outcome(message=message, artefacts=[COMPLETIONS_FILE], summary=summary)


def build_summary(
    completions: Sequence[Completion], *, seconds: float, fresh_tokens: int
) -> dict[str, int | float]:
    """Build the facts of the report; speed counts the tokens of this attempt only."""
    reasons = Counter(completion.finish_reason for completion in completions)
    return {
        "tasks": len(completions),
        "cut_off": reasons["length"],
        "refused": reasons["refused"],
        "prompt_tokens": sum(completion.prompt_tokens for completion in completions),
        "tokens": sum(completion.completion_tokens for completion in completions),
        "seconds": round(seconds, 1),
        "tokens_per_second": round(fresh_tokens / seconds, 1) if seconds > 0 else 0.0,
    }


class _Generation:
    """One attempt: the tasks that are left, so many at a time."""

    def __init__(
        self,
        config: GenerateConfig,
        context: StageContext,
        partial: CompletionJournal,
        patience: Patience,
        *,
        total: int,
    ) -> None:
        self._config = config
        self._context = context
        self._partial = partial
        self._patience = patience
        self._total = total
        self._started = time.monotonic()
        self._reported = 0.0
        self._fresh = 0
        self.fresh_tokens = 0

    async def run(self, endpoint: str, model: str, tasks: Iterable[Task]) -> None:
        """Complete what is left; the first error that cannot be retried ends all."""
        from openai import AsyncOpenAI, DefaultAsyncHttpxClient  # noqa: PLC0415 - slow to import

        left = [task for task in tasks if task.id not in self._partial.completions]
        self._report(force=True)
        places = asyncio.Semaphore(self._config.generation.concurrency)
        async with AsyncOpenAI(
            base_url=endpoint,
            # The endpoint asks for no key, the client does.
            api_key="none",
            timeout=_TIMEOUT_SECONDS,
            max_retries=0,
            # The endpoint is near; a proxy of the environment is for the world outside.
            http_client=DefaultAsyncHttpxClient(trust_env=False),
        ) as client:
            try:
                async with asyncio.TaskGroup() as group:
                    for task in left:
                        group.create_task(self._complete(client, model, task, places))
            except* (InputError, RetryableError) as errors:
                raise _first(errors) from None

    async def _complete(
        self, client: AsyncOpenAI, model: str, task: Task, places: asyncio.Semaphore
    ) -> None:
        async with places:
            completion = await self._ask(client, model, task)
        self._partial.add(completion)
        self._fresh += 1
        self.fresh_tokens += completion.completion_tokens
        self._report()

    async def _ask(self, client: AsyncOpenAI, model: str, task: Task) -> Completion:
        """Ask until there is an answer, or no hope of one."""
        import openai  # noqa: PLC0415 - takes a second to import

        for number in range(self._patience.tries):
            try:
                answer = await self._send(client, model, task)
            except openai.APIStatusError as error:
                if not _is_retried(error):
                    return _build_refused(task, error)
                problem: openai.APIError = error
            except openai.APIError as error:
                problem = error
            else:
                return build_completion(task, answer)
            logger.warning("asking again for %s: %s", task.id, problem)
            await asyncio.sleep(self._patience.find_wait(number))
        msg = f"endpoint {client.base_url} does not answer for `{model}`: {problem}"
        raise RetryableError(msg, reason="EndpointUnavailable") from problem

    async def _send(self, client: AsyncOpenAI, model: str, task: Task) -> ChatCompletion:
        generation = self._config.generation
        return await client.chat.completions.create(
            model=model,
            messages=_build_messages(task),
            max_tokens=generation.max_tokens,
            temperature=float(generation.temperature),
            seed=self._config.seed,
            # Prompts end inside an open fence; its end is the end of the answer.
            stop=[ANSWER_END],
        )

    def _report(self, *, force: bool = False) -> None:
        now = time.monotonic()
        if not force and now - self._reported < _REPORT_SECONDS:
            return
        self._reported = now
        done, seconds = len(self._partial.completions), now - self._started
        done = min(done, self._total)
        self._context.report(
            Progress(
                percent=100 * done // self._total,
                message=f"{done} of {self._total} tasks",
                step=done,
                total_steps=self._total,
                eta_seconds=(
                    round(seconds * (self._total - done) / self._fresh) if self._fresh else None
                ),
                tokens_per_second=f"{self.fresh_tokens / seconds:.1f}" if self._fresh else None,
            )
        )


def build_completion(task: Task, answer: ChatCompletion) -> Completion:
    """Build the row of a task from what the endpoint says.

    Raises:
        RetryableError: The answer has no choice.
    """
    # Whatever answers may leave out what the client does not check.
    if not getattr(answer, "choices", None):
        msg = f"endpoint answered without `choices` for task `{task.id}`"
        raise RetryableError(msg, reason="EndpointBroken")
    choice, usage = answer.choices[0], answer.usage
    return Completion(
        task=task.id,
        completion=choice.message.content or "",
        finish_reason=choice.finish_reason,
        prompt_tokens=usage.prompt_tokens if usage else 0,
        completion_tokens=usage.completion_tokens if usage else 0,
    )


def _build_messages(task: Task) -> list[ChatCompletionMessageParam]:
    messages = build_messages(system=task.system, user=task.user)
    return cast("list[ChatCompletionMessageParam]", messages)


def _is_retried(error: APIStatusError) -> bool:
    return error.status_code >= _SERVER_ERRORS or error.status_code in _RETRIED_STATUSES


def _build_refused(task: Task, error: APIStatusError) -> Completion:
    """Count a task that is too long for the model as lost; anything else is the user's to mend.

    Raises:
        InputError: The endpoint refuses for another reason.
    """
    if is_overflow(error.code, str(error)):
        logger.warning("task %s does not fit the model: %s", task.id, error)
        return Completion(task=task.id, completion="", finish_reason="refused")
    msg = f"endpoint refuses task `{task.id}`: {error}"
    raise InputError(msg, reason="EndpointRefused") from error


def is_overflow(code: str | None, message: str) -> bool:
    """Tell whether a refusal says that prompt and completion exceed the model's context."""
    # vLLM gives a number as the code and says it in words.
    return code == _OVERFLOW or "maximum context length" in message


def _first(errors: BaseExceptionGroup[InputError | RetryableError]) -> Exception:
    """Return one error of a group; what the user must mend comes first."""
    flat: list[Exception] = []
    for error in errors.exceptions:
        flat += [_first(error)] if isinstance(error, BaseExceptionGroup) else [error]
    return next((error for error in flat if isinstance(error, InputError)), flat[0])
