"""What a judge compares, and the exact messages that it is sent."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from tunebench_api.v1alpha1 import JudgeSpec
from tunebench_jobs.errors import InputError
from tunebench_jobs.judge.escape import Delimiters, escape_untrusted, find_delimiters
from tunebench_jobs.prompts import PromptSet
from tunebench_jobs.records import Completion, Task

Message = Mapping[str, str]

_DIGEST_LENGTH = 16
# Words that stand in no prompt, to find out what surrounds the places that are filled in.
_PLACEHOLDERS = ("tunebenchtaskplace", "tunebenchfirstplace", "tunebenchsecondplace")


class Order(StrEnum):
    """Which completion a judge reads first."""

    MODEL_FIRST = "ModelFirst"
    BASELINE_FIRST = "BaselineFirst"


@dataclass(frozen=True)
class Comparison:
    """Two completions of one task in one order; `repeat` counts how often it was asked before."""

    task: Task
    order: Order
    model: str
    baseline: str
    repeat: int = 0

    @property
    def completions(self) -> tuple[str, str]:
        """The completions as the judge reads them, first and second."""
        pair = (self.model, self.baseline)
        return pair if self.order is Order.MODEL_FIRST else (self.baseline, self.model)

    @property
    def is_empty(self) -> bool:
        """Whether the model said nothing, which needs no judge to lose."""
        return not self.model.strip()


@dataclass(frozen=True)
class Question:
    """All that one judge is sent about one comparison; `key` names it in the ledger."""

    key: str
    messages: tuple[Message, ...]
    extra: Mapping[str, Any]


def build_comparisons(
    tasks: Sequence[Task],
    model: Mapping[str, Completion],
    baseline: Mapping[str, Completion],
    repeats: int = 1,
) -> Iterator[Comparison]:
    """Yield every task in both orders, each as often as it is asked.

    Raises:
        InputError: A task has no completion; names the task and whose is absent.
    """
    for task in tasks:
        first = _find_completion(model, task, "the variant")
        second = _find_completion(baseline, task, "the baseline")
        for order, repeat in itertools.product(Order, range(repeats)):
            yield Comparison(task, order, first, second, repeat)


def find_prompt_delimiters(prompts: PromptSet) -> Delimiters:
    """Return what sets task and completions apart in the judge's prompt."""
    return find_delimiters(prompts.render_evaluate(*_PLACEHOLDERS), _PLACEHOLDERS)


def build_message(prompts: PromptSet, delimiters: Delimiters, comparison: Comparison) -> Message:
    """Return what a judge reads: the task as the model was asked, and both completions."""
    task = f"{comparison.task.system}\n\n{comparison.task.user}".strip()
    texts = (escape_untrusted(text, delimiters) for text in (task, *comparison.completions))
    return {"role": "user", "content": prompts.render_evaluate(*texts)}


def build_judge_digest(judge: JudgeSpec, version: str = "") -> str:
    """Name a judge by all that decides its replies besides the messages.

    Its name, family, limits and secret do not; `version` is that of a judge of our own.
    """
    sent = [judge.model, judge.api_base, judge.temperature, judge.max_tokens, version]
    return _hash(sent)[:_DIGEST_LENGTH]


def build_question(
    judge_digest: str, message: Message, extra: Mapping[str, Any], repeat: int = 0
) -> Question:
    """Build the question and name it by its content.

    The message is the rendered prompt, so the name covers the prompt set, the task, both
    completions and their order. The first asking has the name that it had before there were
    repeats.
    """
    content = [judge_digest, [message], extra]
    key = _hash([*content, repeat] if repeat else content)
    return Question(key=key, messages=(message,), extra=extra)


def _find_completion(source: Mapping[str, Completion], task: Task, whose: str) -> str:
    if task.id not in source:
        msg = f"{whose} must have a completion of every task, got none for `{task.id}`"
        raise InputError(msg, reason="MissingCompletion")
    return source[task.id].completion


def _hash(content: Any) -> str:
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()
