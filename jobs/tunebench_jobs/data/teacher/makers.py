"""Those who make training answers, together: what they will cost, what they did, what it was."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from tunebench_api.v1alpha1 import DatasetSpec, LlmSpec, QualitySpec
from tunebench_jobs.budget import format_usd
from tunebench_jobs.data.teacher.answers import build_question, fill_answers
from tunebench_jobs.data.teacher.drafts import Draft
from tunebench_jobs.data.teacher.model import (
    QUALITY,
    TEACHER,
    Ask,
    PaidModel,
    Role,
    ask_patiently,
    open_model,
)
from tunebench_jobs.data.teacher.quality import Scoring, filter_by_quality
from tunebench_jobs.data.teacher.replies import Shelf
from tunebench_jobs.data.teacher.talk import Ending
from tunebench_jobs.prompts import PromptSet

ItemT = TypeVar("ItemT")
Tell = Callable[[str], None]

_TELL_SECONDS = 1.0
_USD_DIGITS = 6
_COUNTED = ("questions", "replies", "prompt_tokens", "completion_tokens")


@dataclass(frozen=True)
class Makers:
    """A teacher and a judge of quality, each perhaps absent."""

    scoring: Scoring
    teacher: PaidModel | None = None
    judge: PaidModel | None = None
    tell: Tell = lambda _text: None

    @property
    def models(self) -> tuple[PaidModel, ...]:
        """Those that are there."""
        return tuple(model for model in (self.teacher, self.judge) if model)

    def check_budgets(self, drafts: Iterable[Draft[ItemT]]) -> None:
        """Refuse to start if one of them will cost more than its budget; nothing is asked.

        Raises:
            InputError: It will, or nobody knows what it costs.
        """
        for draft in drafts:
            if self.teacher and draft.is_open:
                self.teacher.estimate(build_question(draft))
            if self.judge and draft.finding is None and (draft.answer or self.teacher):
                length = self.teacher.expect_tokens(str(draft.tool)) if self.teacher else 0.0
                self.judge.estimate(self.scoring.expect_question(draft, length))
        for model in self.models:
            model.check_budget()

    def make(self, drafts: Iterable[Draft[ItemT]]) -> Iterator[Draft[ItemT]]:
        """Yield the drafts in order: with an answer, or with the reason why it is not used.

        A bounded number is in memory. What is under way is kept when the stream ends early.

        Raises:
            InputError: A model refuses the key, its id or its settings.
            RetryableError: It stays away; all replies so far are kept.
        """
        stream: Iterable[Draft[ItemT]] = drafts
        if self.teacher:
            stream = fill_answers(self.teacher, stream)
        if self.judge:
            stream = filter_by_quality(self.judge, self.scoring, stream)
        told = time.monotonic()
        for draft in stream:
            yield draft
            if self.models and time.monotonic() - told >= _TELL_SECONDS:
                told = time.monotonic()
                self.tell("; ".join(_describe(model) for model in self.models))

    def build_warnings(self) -> list[str]:
        """Say whose budget was spent before all was asked."""
        return [
            f"`{model.role.field}.budgetUSD` of {format_usd(model.budget.most)} is spent: "
            f"{model.totals[Ending.UNASKED]:,} answers of {model.totals['questions']:,} are left "
            "out; raise it and start again, and only these are asked for"
            for model in self.models
            if model.budget.is_spent
        ]

    def build_facts(self) -> dict[str, Any]:
        """Return who made what, for the manifest: the same when all replies were kept before."""
        return {model.role.kind: _build_facts(model) for model in self.models}

    def build_summary(self) -> dict[str, Any]:
        """Return the small facts for the status and the report, with what was paid this time."""
        return {
            model.role.kind: {
                **_build_facts(model),
                "paid_replies": model.paid,
                "paid_usd": round(model.budget.spent, _USD_DIGITS),
            }
            for model in self.models
        }


@contextmanager
def open_makers(
    dataset: DatasetSpec,
    prompts: PromptSet,
    shelf: Shelf,
    *,
    tell: Tell = lambda _text: None,
    ask_model: Ask = ask_patiently,
) -> Iterator[Makers]:
    """Hold the replies of those who make a dataset's answers while the block runs.

    Raises:
        InputError: The kept replies are damaged.
    """

    def hold(stack: ExitStack, spec: LlmSpec | None, role: Role) -> PaidModel | None:
        if spec is None:
            return None

        def wait() -> None:
            tell(f"waiting for another stage that pays `{spec.model}`")

        opened = open_model(spec, role, shelf, on_wait=wait, ask_model=ask_model)
        return stack.enter_context(opened)

    quality: QualitySpec | None = dataset.cleaning.quality if dataset.cleaning else None
    with ExitStack() as stack:
        yield Makers(
            Scoring(prompts, quality.minimum if quality else 0),
            teacher=hold(stack, dataset.teacher, TEACHER),
            judge=hold(stack, quality, QUALITY),
            tell=tell,
        )


def _build_facts(model: PaidModel) -> dict[str, Any]:
    spec = model.spec
    settings = {
        "model": spec.model,
        "family": spec.family,
        "temperature": spec.temperature,
        "max_tokens": spec.max_tokens,
        "minimum": getattr(spec, "minimum", None),
    }
    totals = model.totals
    return {
        **{name: value for name, value in settings.items() if value is not None},
        **{name: totals[name] for name in _COUNTED},
        "endings": {str(ending): totals[ending] for ending in Ending if totals[ending]},
        "cost_usd": round(model.cost_usd, _USD_DIGITS),
    }


def _describe(model: PaidModel) -> str:
    questions = model.totals["questions"]
    spent = f"{format_usd(model.budget.spent)} of {format_usd(model.budget.most)} US dollars"
    return f"{model.role.kind}: {questions:,} questions, {spent}"
