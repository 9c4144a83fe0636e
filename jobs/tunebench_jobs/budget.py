"""Money: what models may still cost, before they are asked and while they are."""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass

from tunebench_jobs.errors import InputError

# Sums of prices are not exact.
_NOTHING = 1e-9


class Budget:
    """What may be spent, what is, and what requests that are under way may still cost."""

    def __init__(self, most: float) -> None:
        """Begin with nothing spent."""
        self.most = most
        self.spent = 0.0
        self.is_spent = False
        self._held = 0.0
        self._changed = asyncio.Condition()

    @property
    def is_limited(self) -> bool:
        """Whether there is a limit at all."""
        return math.isfinite(self.most)

    async def reserve(self, cost: float) -> bool:
        """Set aside the most that a request can cost, or say that there is not enough.

        What others hold may come back, because a reply seldom has its full length: that is waited
        for. Once there is not enough, nothing is reserved any more.
        """
        async with self._changed:
            await self._changed.wait_for(
                lambda: self.is_spent or self._fits(cost) or self._held <= _NOTHING
            )
            if self.is_spent or not self._fits(cost):
                self.is_spent = True
                self._changed.notify_all()
                return False
            self._held += cost
            return True

    def try_reserve(self, cost: float) -> bool:
        """Set aside what a request can cost, if there is enough now; nobody is waited for."""
        fits = self._fits(cost)
        self._held += cost if fits else 0.0
        return fits

    async def settle(self, reserved: float, paid: float) -> None:
        """Give back what a request held, and note what it has cost."""
        async with self._changed:
            self._held -= reserved
            self.spent += paid
            self._changed.notify_all()

    def _fits(self, cost: float) -> bool:
        return self.spent + self._held + cost <= self.most + _NOTHING


@dataclass
class Estimate:
    """What the questions would cost that were not asked before, each answered at once."""

    questions: int = 0
    prompt_tokens: int = 0
    reply_tokens: float = 0.0
    usd: float = 0.0

    def check(self, most: float, field: str, model: str) -> None:
        """Refuse to start what will cost too much; `field` is the model's place in the run.

        Raises:
            InputError: Names the field, the estimate and what it counts.
        """
        if self.usd <= most + _NOTHING:
            return
        each = self.reply_tokens / self.questions
        msg = (
            f"`{field}.budgetUSD` must be at least the estimate of {format_usd(self.usd)}, got "
            f"{format_usd(most)}: {self.questions:,} questions to `{model}` with "
            f"{self.prompt_tokens:,} tokens, and {each:,.0f} tokens for each reply; nothing was "
            f"asked. Raise it, use fewer pull requests or tools, lower `{field}.maxTokens`, or "
            "name a cheaper model"
        )
        raise InputError(msg, reason="OverBudget")


def format_usd(amount: float) -> str:
    """Write an amount with cents, and smaller ones so that they do not vanish."""
    return f"{amount:,.2f}" if amount >= 1 or not amount else f"{amount:.4g}"
