"""Whom to ask, and how: what every part of the judging engine is given."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tunebench_api.v1alpha1 import JudgeSpec, OnUnavailable
from tunebench_jobs.budget import Budget
from tunebench_jobs.journal import Journal
from tunebench_jobs.judge.ledger import open_local_journal
from tunebench_jobs.judge.tally import Tally
from tunebench_jobs.llm import AskOnce, Endpoint, Reply
from tunebench_jobs.parameters import Sent
from tunebench_jobs.prices import Prices


@dataclass(frozen=True)
class Judge:
    """A judge that is ready to be asked; `digest` names its ledger."""

    spec: JudgeSpec
    endpoint: Endpoint
    digest: str
    # Place in the run, for messages.
    field: str
    # Absent where the run neither states prices nor has a budget to keep.
    prices: Prices | None = None
    # The parameters that it is really sent, by its vendor's names.
    sent: Sent = dataclasses.field(default_factory=dict)

    def find_cost(self, reply: Reply) -> float | None:
        """Return what a reply cost; nothing where no price is known."""
        if self.prices is None:
            return reply.cost_usd
        return self.prices.cost_of(reply) or reply.cost_usd


@dataclass(frozen=True)
class Asking:
    """How judges are asked: by what, how often more when a reply is unreadable, told to whom.

    `open_journal` opens what a ledger's entries are kept in; `budget` is that of all judges.
    """

    # Once; another try is the decision of the engine.
    ask: AskOnce
    retries: int
    on_entry: Callable[[], None] = lambda: None
    open_journal: Callable[[Path], Journal] = open_local_journal
    budget: Budget = field(default_factory=lambda: Budget(math.inf))
    on_unavailable: OnUnavailable = OnUnavailable.FAIL
    # Names of judges that were away a moment ago: they are asked a word before all else.
    absent: frozenset[str] = frozenset()
    tallies: dict[str, Tally] = field(default_factory=dict)

    def tally_of(self, name: str) -> Tally:
        """Return the counts of a judge."""
        return self.tallies.setdefault(name, Tally(name))
