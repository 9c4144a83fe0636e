"""What a judge has done, sold and left open so far; told while it works and when it is done."""

from __future__ import annotations

from dataclasses import dataclass

from tunebench_api.contract import JudgeProgress
from tunebench_jobs.llm import Reply

# A mean of fewer replies says little.
_ENOUGH = 20


@dataclass
class Tally:
    """Counts of one judge in this attempt; what the ledger held is not among them."""

    name: str
    total: int = 0
    done: int = 0
    replies: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    # Absent until something is known to cost.
    cost_usd: float | None = None
    # Characters of what was sent, of those prompts whose tokens are known.
    characters: int = 0

    def add(self, reply: Reply, characters: int, cost_usd: float | None) -> None:
        """Count a reply and what was paid for it."""
        self.replies += 1
        self.prompt_tokens += reply.prompt_tokens
        self.completion_tokens += reply.completion_tokens
        self.characters += characters if reply.prompt_tokens else 0
        if cost_usd is not None:
            self.cost_usd = (self.cost_usd or 0.0) + cost_usd

    @property
    def characters_per_token(self) -> float:
        """How many characters a token of a prompt has; few, where nobody has counted yet."""
        if self.replies < _ENOUGH or not self.prompt_tokens:
            return 2.5
        return self.characters / self.prompt_tokens

    def expect_reply_tokens(self, most: int) -> float:
        """Return how long a reply will be, as far as one can know."""
        if self.replies < _ENOUGH or not self.completion_tokens:
            return float(most)
        return self.completion_tokens / self.replies

    def build_progress(self) -> JudgeProgress:
        """Return what users see while the judge works."""
        return JudgeProgress(
            name=self.name,
            done=self.done,
            total=self.total,
            prompt_tokens=self.prompt_tokens,
            completion_tokens=self.completion_tokens,
            cost_usd=format_cost(self.cost_usd),
        )


def format_cost(cost_usd: float | None) -> str:
    """Return an amount in US dollars as reports write it, or nothing where none is known."""
    return "" if cost_usd is None else f"{cost_usd:.4f}"
