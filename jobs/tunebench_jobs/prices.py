"""What a model costs: as the run says, or as LiteLLM knows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tunebench_api.v1alpha1 import JudgeSpec, LlmSpec
from tunebench_jobs.errors import InputError
from tunebench_jobs.litellm_calls import find_model_facts, load_litellm
from tunebench_jobs.llm import Reply

_MILLION = 1_000_000


@dataclass(frozen=True)
class Prices:
    """US dollars for a token of a prompt and of a reply; `given` if the run says so itself."""

    prompt: float
    reply: float
    given: bool = False

    def cost(self, prompt_tokens: float, reply_tokens: float) -> float:
        """Return what one request costs."""
        return prompt_tokens * self.prompt + reply_tokens * self.reply

    def cost_of(self, reply: Reply) -> float:
        """Return what a reply cost; LiteLLM knows of discounts that the list price does not."""
        if reply.cost_usd is not None and not self.given:
            return reply.cost_usd
        return self.cost(reply.prompt_tokens, reply.completion_tokens)


def find_prices(spec: LlmSpec | JudgeSpec, field: str) -> Prices:
    """Return the prices of a model; `field` is its place in the run.

    A server of one's own counts as free, unless the run says otherwise: nobody sends a bill that
    could be known here.

    Raises:
        InputError: Nobody knows what a vendor's model costs.
    """
    known = find_known_prices(spec)
    if known is not None:
        return known
    if spec.api_base is not None:
        return Prices(0.0, 0.0)
    msg = (
        f"`{field}.prices` must say what `{spec.model}` costs, because LiteLLM knows no price of "
        "it and `budgetUSD` could not be kept; set `inputUSDPerMillion` and `outputUSDPerMillion`"
    )
    raise InputError(msg, reason="UnknownPrice")


def find_known_prices(spec: LlmSpec | JudgeSpec, *, batch: bool = False) -> Prices | None:
    """Return what the run or LiteLLM says that a model costs; nothing where neither does.

    With `batch`, in a vendor's batch API, as far as LiteLLM knows a price of its own there. What
    the run says holds for both.
    """
    if spec.prices is not None:
        prompt, reply = float(spec.prices.input_usd), float(spec.prices.output_usd)
        return Prices(prompt / _MILLION, reply / _MILLION, given=True)
    known = find_model_facts(load_litellm(), spec.model)
    per_prompt, per_reply = (_find_rate(known, way, batch=batch) for way in ("input", "output"))
    if per_prompt is None or per_reply is None:
        return None
    return Prices(per_prompt, per_reply)


def _find_rate(known: Mapping[str, Any], way: str, *, batch: bool) -> float | None:
    rate = known.get(f"{way}_cost_per_token_batches") if batch else None
    rate = known.get(f"{way}_cost_per_token") if rate is None else rate
    return None if rate is None else float(rate)
