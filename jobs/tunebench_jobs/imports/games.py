"""What one published verdict says, whichever tool wrote it."""

from __future__ import annotations

from dataclasses import dataclass

from tunebench_jobs.judge.ledger import MissingCause

# A verdict's place between its two completions: 1 is the first, 2 the second, as AlpacaEval counts.
FIRST, TIE, SECOND = 1.0, 1.5, 2.0


@dataclass(frozen=True)
class Side:
    """One of two completions; its text is absent where the file does not hold it."""

    name: str
    text: str | None = None


@dataclass(frozen=True)
class Game:
    """One verdict over a first and a second completion; it has a preference, or is missing."""

    # File and row.
    place: str
    task: str
    # Tasks of one question hang together, such as the turns of a conversation.
    question: str
    # What the source sorts its questions by.
    group: str
    judge: str
    # Which of the judge's prompts, where the source says so.
    prompt: str
    first: Side
    second: Side
    # Whether the judge saw them in this order; else the source does not say which it saw.
    shown_so: bool
    preference: float | None
    missing: MissingCause | None = None
    # How often the source counts this verdict in its own score.
    weight: int = 1
    reply: str = ""
    cost_usd: float | None = None
    # The side that the source compares others with; absent: its files do not say.
    baseline: str | None = None
