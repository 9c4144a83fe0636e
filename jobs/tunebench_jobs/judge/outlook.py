"""What judging will take, said before any work: each judge's context, parameters and cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tunebench_api.contract import JudgingScale
from tunebench_api.v1alpha1 import Batch, JudgeSpec, JudgingSpec
from tunebench_jobs.errors import InputError
from tunebench_jobs.litellm_calls import find_model_facts, load_litellm
from tunebench_jobs.parameters import Sent
from tunebench_jobs.prices import find_known_prices
from tunebench_jobs.prompts import PromptSet
from tunebench_jobs.tokens import count_tokens


@dataclass(frozen=True)
class QuestionBounds:
    """Most tokens of each part of what a judge is sent, and questions to one judge."""

    questions: int
    # The judge's own prompt, the task, and both completions.
    scaffold: int
    task: int
    completions: int

    @property
    def prompt(self) -> int:
        """Most tokens of one question."""
        return self.scaffold + self.task + self.completions


@dataclass(frozen=True)
class Outlook:
    """One judge before its work; what nobody knows is absent."""

    judge: str
    bounds: QuestionBounds
    sent: Sent
    # Tokens that the model reads at most.
    context: int | None
    most_usd: float | None
    # Whether the prices are those of an own server, of which nobody knows any.
    own_server: bool
    batch: bool

    def describe(self) -> str:
        """Say it in one line."""
        sent = ", ".join(f"{name} {value:g}" for name, value in self.sent.items())
        context = (
            "an unknown context" if self.context is None else f"{self.context:,} tokens of context"
        )
        return (
            f"judge `{self.judge}`: {context} for at most {self.bounds.prompt:,}; "
            f"sent {sent or 'no parameters'}; at most {self.bounds.questions:,} questions"
            f"{' in batches' if self.batch else ''}, {_describe_cost(self)}"
        )

    def to_summary(self) -> dict[str, object]:
        """Return it in plain JSON."""
        return {
            "name": self.judge,
            "sent": dict(self.sent),
            "contextTokens": self.context,
            "mostPromptTokens": self.bounds.prompt,
            "mostQuestions": self.bounds.questions,
            "mostUSD": None if self.most_usd is None else f"{self.most_usd:.2f}",
        }


def build_bounds(scale: JudgingScale, prompts: PromptSet) -> QuestionBounds:
    """Return how long questions may be; a limit of the prompt set holds as well as the data's."""
    limit = prompts.diff.max_model_tokens
    exact = [scale.task_tokens] * scale.exact + [limit] * bool(limit)
    return QuestionBounds(
        questions=scale.questions,
        scaffold=count_tokens(prompts.render_evaluate("", "", "")),
        task=min(exact, default=scale.task_tokens),
        # The self control's are both the baseline's.
        completions=scale.baseline_tokens + max(scale.completion_tokens, scale.baseline_tokens),
    )


def build_outlook(spec: JudgeSpec, bounds: QuestionBounds, sent: Sent) -> Outlook:
    """Return what a judge must read, and what it costs if every question is as long as may be."""
    prices = find_known_prices(spec, batch=spec.batch is Batch.ENABLED)
    facts = find_model_facts(load_litellm(), spec.model)
    known = (
        None if prices is None else prices.cost(bounds.prompt, spec.max_tokens) * bounds.questions
    )
    return Outlook(
        judge=spec.name,
        bounds=bounds,
        sent=sent,
        context=facts.get("max_input_tokens"),
        most_usd=0.0 if prices is None and spec.api_base else known,
        own_server=prices is None and spec.api_base is not None,
        batch=spec.batch is Batch.ENABLED,
    )


def check_context(outlook: Outlook, spec: JudgeSpec, field: str) -> None:
    """Check that the longest comparison, with the reply, fits: a judge must see all of it.

    Raises:
        InputError: It does not. Where the context is unknown, nothing can be said.
    """
    bounds = outlook.bounds
    need = bounds.prompt + spec.max_tokens
    if outlook.context is None or need <= outlook.context:
        return
    msg = (
        f"`{field}.model` must have a context of at least {need:,} tokens for the longest "
        f"comparison (prompt {bounds.scaffold:,}, task {bounds.task:,}, both completions "
        f"{bounds.completions:,}, reply {spec.max_tokens:,}), but `{spec.model}` has "
        f"{outlook.context:,}; use another judge, or set `spec.dataset.cleaning.maxTokens`, which "
        "leaves longer tasks out"
    )
    raise InputError(msg, reason="ContextTooShort")


def check_budget(outlooks: Sequence[Outlook], judging: JudgingSpec) -> None:
    """Check that a budget can be kept.

    Raises:
        InputError: There is one, and nobody knows what a judge costs.
    """
    unknown = [outlook.judge for outlook in outlooks if outlook.most_usd is None]
    if judging.budget_usd is not None and unknown:
        fields = ", ".join(f"`spec.judges[{judge}].prices`" for judge in unknown)
        msg = (
            f"{fields} must say what the model costs, because LiteLLM knows no price of it and "
            "`spec.judging.budgetUSD` could not be kept; set `inputUSDPerMillion` and "
            "`outputUSDPerMillion`"
        )
        raise InputError(msg, reason="UnknownPrice")


def describe_total(outlooks: Sequence[Outlook], judging: JudgingSpec) -> str:
    """Say what all judges cost at most, and whether the budget covers it."""
    known = [outlook.most_usd for outlook in outlooks if outlook.most_usd is not None]
    total = sum(known)
    more = " and what the others cost" if len(known) < len(outlooks) else ""
    text = f"judges cost at most ${total:,.2f}{more}"
    budget = judging.budget_usd
    if budget is None:
        return text
    if total > float(budget):
        return (
            f"warning: {text}, more than `spec.judging.budgetUSD` ({budget}): judging stops when "
            "that is spent, and reports what it has"
        )
    return f"{text} of ${budget}"


def _describe_cost(outlook: Outlook) -> str:
    if outlook.own_server:
        return "free as an own server"
    return "of unknown price" if outlook.most_usd is None else f"${outlook.most_usd:,.2f}"
