"""The baseline stage: one completion of what every model is compared with, for each task."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from tunebench_api.contract import BaselineConfig, Progress
from tunebench_api.v1alpha1 import TEMPLATE_BASELINE, BaselineSpec, Tool
from tunebench_jobs.completions import CompletionJournal
from tunebench_jobs.context import Outcome, StageContext
from tunebench_jobs.data.layout import EVAL_FILE
from tunebench_jobs.errors import InputError, JobError
from tunebench_jobs.files import build_file_digest, save_text
from tunebench_jobs.llm import Endpoint, Reply, ask, build_endpoint
from tunebench_jobs.local_paths import parse_local_path
from tunebench_jobs.records import (
    COMPLETIONS_FILE,
    Completion,
    Record,
    Task,
    dump_jsonl,
    load_jsonl,
)
from tunebench_jobs.template_baseline import build_template_completion
from tunebench_jobs.throttle import Throttle

CONCURRENCY = 8
RETRIES = 5
# Begins the names of the files that an interrupted attempt leaves.
PARTIAL_PREFIX = "completions.partial"
_SHOWN = 5

Ask = Callable[[Endpoint, Sequence[dict[str, str]]], Awaitable[Reply]]


class StoredCompletion(Record):
    """One line of a file of stored completions."""

    pr: str
    tool: Tool
    completion: str


def run_baseline(config: BaselineConfig, context: StageContext) -> Outcome:
    """Collect the baseline's completion of every task.

    Raises:
        InputError: A stored completion is missing, or the model cannot be asked.
        RetryableError: The model stays away; answers got so far are kept.
    """
    tasks = list(load_jsonl(context.path(f"{config.data}/{EVAL_FILE}"), Task))
    spec = config.baseline
    if spec.completions is not None:
        path = parse_local_path(spec.completions.uri, "spec.baseline.completions.uri")
        completions = match_stored(tasks, path)
        facts = {"source": "stored", "sha256": build_file_digest(path)}
    elif spec.model == TEMPLATE_BASELINE:
        completions = [build_template_completion(task) for task in tasks]
        facts = {"source": "template"}
    else:
        completions = ask_all(tasks, spec, context, _build_ask())
        facts = {"source": "model", "model": spec.model or ""}
    save_text(context.output / COMPLETIONS_FILE, dump_jsonl(completions))
    cost = sum(completion.cost_usd for completion in completions)
    return Outcome(
        message=f"{len(completions)} completions of {spec.name}",
        artefacts=(COMPLETIONS_FILE,),
        summary={"completions": len(completions), "cost_usd": cost, **facts},
    )


def match_stored(tasks: Sequence[Task], path: Path) -> list[Completion]:
    """Return the stored completion of each task, in the tasks' order.

    Raises:
        InputError: The file is broken, has a task twice, or lacks one.
    """
    stored: dict[tuple[str, Tool], str] = {}
    for row in load_jsonl(path, StoredCompletion):
        if (row.pr, row.tool) in stored:
            msg = f"{path} must have one completion of `{row.pr}` for {row.tool}, got several"
            raise InputError(msg, reason="DuplicateCompletion")
        stored[row.pr, row.tool] = row.completion
    missing = [task.id for task in tasks if (task.pr, task.tool) not in stored]
    if missing:
        shown = ", ".join(f"`{name}`" for name in missing[:_SHOWN])
        more = f" and {len(missing) - _SHOWN} more" if len(missing) > _SHOWN else ""
        msg = (
            f"`spec.baseline.completions` must have a completion of every task, but {path} lacks "
            f"{len(missing)} of {len(tasks)}: {shown}{more}; add rows with `pr`, `tool` and "
            "`completion`, or name a `spec.baseline.model` to ask"
        )
        raise InputError(msg, reason="MissingCompletions")
    return [
        Completion(task=task.id, completion=stored[task.pr, task.tool], finish_reason="stored")
        for task in tasks
    ]


def ask_all(
    tasks: Sequence[Task], spec: BaselineSpec, context: StageContext, ask_model: Ask
) -> list[Completion]:
    """Ask the baseline's model for every task that an earlier attempt has not done.

    Raises:
        InputError: The model refuses the key, the model id or a task.
        RetryableError: It stays away.
    """
    endpoint = build_endpoint(spec, "spec.baseline", os.environ)
    with CompletionJournal(context.open_journal(context.output, PARTIAL_PREFIX)) as partial:
        done = partial.completions
        wanted = [task for task in tasks if task.id not in done]

        def keep(completion: Completion) -> None:
            partial.add(completion)
            counted = f"{len(done)} of {len(tasks)} completions"
            context.report(Progress(percent=100 * len(done) // len(tasks), message=counted))

        asyncio.run(_ask_open(wanted, endpoint, ask_model, keep))
    return [done[task.id] for task in tasks]


async def _ask_open(
    tasks: Sequence[Task],
    endpoint: Endpoint,
    ask_model: Ask,
    keep: Callable[[Completion], None],
) -> None:
    """Ask for all tasks; after a failure nothing new is asked, and what is under way is kept."""
    waiting = iter(tasks)
    failures: list[JobError] = []

    async def work() -> None:
        for task in waiting:
            try:
                reply = await ask_model(endpoint, build_messages(task))
            except JobError as error:
                place = f"baseline, task `{task.id}`: {error}"
                failures.append(type(error)(place, reason=error.reason))
            else:
                keep(_build_completion(task, reply))
            if failures:
                return

    await asyncio.gather(*(work() for _ in range(min(CONCURRENCY, len(tasks)))))
    if failures:
        raise failures[0]


def build_messages(task: Task) -> list[dict[str, str]]:
    """Return the chat that asks for a task."""
    return [
        {"role": "system", "content": task.system},
        {"role": "user", "content": task.user},
    ]


def _build_completion(task: Task, reply: Reply) -> Completion:
    return Completion(
        task=task.id,
        completion=reply.text,
        finish_reason="length" if reply.finish_reason == "length" else "stop",
        prompt_tokens=reply.prompt_tokens,
        completion_tokens=reply.completion_tokens,
        cost_usd=reply.cost_usd or 0.0,
    )


def _build_ask() -> Ask:
    throttle = Throttle(CONCURRENCY)

    async def ask_patiently(endpoint: Endpoint, messages: Sequence[dict[str, str]]) -> Reply:
        return await ask(endpoint, messages, retries=RETRIES, throttle=throttle)

    return ask_patiently
