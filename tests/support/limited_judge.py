"""A judge with limits and faults, not an LLM: what it allows, what it says, and what it counts.

Its verdict follows from two marks in the answers and not from the prompt around them, so that
programs with prompts of their own get the same verdicts for the same pairs.
"""

from __future__ import annotations

import math
import random
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from hashlib import sha256
from typing import Any

from pydantic import BaseModel, ConfigDict

_MARK = re.compile("answer-id-([0-9a-f]{16})")
_MARK_RANGE = 16**16
# Marks this near to each other, as a share of their range, are a tie: a tenth of random pairs.
_TIE = 0.05
_CHARACTERS_OF_TOKEN = 4
_MINUTE_SECONDS = 60.0
_REASON = "It names what the change does, and its claims can be checked against the diff. " * 4
_GARBAGE = (
    "I cannot decide without seeing the repository.",
    "```yaml\nwhich_response_was_better:\nwhy: |\n  both answers\n```",
    "",
)
_BROKEN_STATUSES = (500, 502, 503)


class Dialect(StrEnum):
    """The form of a verdict; each program reads one."""

    YAML = "yaml"
    LETTERS = "letters"
    ARROWS = "arrows"
    LOG_PROBABILITIES = "logprobs"


class Conditions(BaseModel):
    """What a judge allows and how it behaves; a limit that is absent does not exist.

    Attributes:
        burst: Requests that may come at once after a pause.
        fastest, usual, slowest: Seconds from a request to its reply, a triangle.
        busy: Share of requests that get a 429 though the limits have room: the key is shared.
        broken: Share of requests that get a 5xx.
        garbage: Share of replies without a verdict.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    dialect: Dialect = Dialect.YAML
    requests_per_minute: int | None = None
    burst: int = 1
    tokens_per_minute: int | None = None
    token_burst: int = 100_000
    fastest: float = 0.5
    usual: float = 0.8
    slowest: float = 2.0
    busy: float = 0.0
    broken: float = 0.02
    garbage: float = 0.01
    seed: int = 1

    @property
    def mean_seconds(self) -> float:
        """Seconds that a reply takes on average."""
        return (self.fastest + self.usual + self.slowest) / 3


class Statistics(BaseModel):
    """What one place counted; a question is a judge's name and the first message of a user.

    Attributes:
        calls: Requests, the refused ones included.
        answered, garbage, broken, refused, aborted: How they ended; `refused` is 429, and whoever
            asked an `aborted` one was gone before its reply.
        questions: Different ones.
        lost: Questions that never got a verdict.
        doubled: Verdicts beyond the first of a question.
        peak: Most requests in flight.
        connections: TCP connections.
        seconds: From the first request to the last reply.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    calls: int = 0
    answered: int = 0
    garbage: int = 0
    broken: int = 0
    refused: int = 0
    aborted: int = 0
    questions: int = 0
    lost: int = 0
    doubled: int = 0
    peak: int = 0
    connections: int = 0
    prompt_tokens: int = 0
    seconds: float = 0.0


@dataclass(frozen=True)
class Asked:
    """One request."""

    question: str
    model: str
    text: str
    tokens: int


@dataclass(frozen=True)
class Plan:
    """How one request will be answered; `status` is 200 for garbage too."""

    seconds: float
    status: int
    garbage: str | None


class Bucket:
    """Fills with time, and refuses what it does not hold."""

    def __init__(self, per_minute: int, size: float, now: float) -> None:
        """Begin full."""
        self.per_minute = per_minute
        self._rate = per_minute / _MINUTE_SECONDS
        self._size = size
        self._level = size
        self._at = now

    def fill(self, now: float) -> None:
        """Add what has come since."""
        self._level = min(self._size, self._level + (now - self._at) * self._rate)
        self._at = now

    def find_wait(self, amount: float) -> float:
        """Return the seconds until so much may be taken."""
        # What is larger than the bucket may go when it is full.
        return max(0.0, min(amount, self._size) - self._level) / self._rate

    def take(self, amount: float) -> None:
        """Take so much."""
        self._level -= amount

    def build_headers(self, unit: str) -> dict[str, str]:
        """Return what vendors say of such a limit with each reply."""
        return {
            f"x-ratelimit-limit-{unit}": str(self.per_minute),
            f"x-ratelimit-remaining-{unit}": str(max(0, int(self._level))),
            f"x-ratelimit-reset-{unit}": f"{(self._size - self._level) / self._rate:.3f}s",
        }


@dataclass
class _Question:
    """How often a question was let in, and how often it got a verdict."""

    admitted: int = 0
    answered: int = 0


@dataclass
class Place:
    """Where one program asks: limits of each judge, and what is counted."""

    conditions: Conditions
    clock: Callable[[], float]
    counts: dict[str, int] = field(default_factory=dict)
    _questions: dict[str, _Question] = field(default_factory=dict)
    _buckets: dict[str, tuple[Bucket | None, Bucket | None]] = field(default_factory=dict)
    _connections: set[object] = field(default_factory=set)
    _in_flight: int = 0
    _first: float | None = None
    _last: float = 0.0

    def open(self, asked: Asked, connection: object) -> None:
        """Note a request."""
        self._first = self.clock() if self._first is None else self._first
        self._in_flight += 1
        self._connections.add(connection)
        self._questions.setdefault(asked.question, _Question())
        self._count("calls")
        self.counts["peak"] = max(self.counts.get("peak", 0), self._in_flight)

    def admit(self, asked: Asked) -> tuple[float, dict[str, str]]:
        """Take a request's share of the limits; return the seconds to wait if that is too much."""
        now = self.clock()
        buckets = [
            (bucket, unit, amount)
            for bucket, unit, amount in zip(
                self._find_buckets(asked.model, now),
                ("requests", "tokens"),
                (1, asked.tokens),
                strict=True,
            )
            if bucket is not None
        ]
        for bucket, _, _ in buckets:
            bucket.fill(now)
        wait = max((bucket.find_wait(amount) for bucket, _, amount in buckets), default=0.0)
        headers: dict[str, str] = {}
        for bucket, unit, amount in buckets:
            if not wait:
                bucket.take(amount)
            headers |= bucket.build_headers(unit)
        return wait, headers

    def plan(self, asked: Asked) -> Plan:
        """Decide how a request goes, by chance, but the same for every run of a program."""
        question = self._questions[asked.question]
        question.admitted += 1
        self._count("prompt_tokens", asked.tokens)
        rules = self.conditions
        chance = random.Random(f"{rules.seed}:{asked.question}:{question.admitted}")  # noqa: S311 - no secret
        seconds = chance.triangular(rules.fastest, rules.slowest, rules.usual)
        fate = chance.random()
        if fate < rules.broken:
            return Plan(seconds, chance.choice(_BROKEN_STATUSES), None)
        if fate < rules.broken + rules.busy:
            return Plan(0.0, 429, None)
        is_garbage = fate < rules.broken + rules.busy + rules.garbage
        return Plan(seconds, 200, chance.choice(_GARBAGE) if is_garbage else None)

    def close(self, asked: Asked, outcome: str) -> None:
        """Note how a request ended."""
        self._in_flight -= 1
        self._last = self.clock()
        self._count(outcome)
        if outcome == "answered":
            self._questions[asked.question].answered += 1

    def build_statistics(self) -> Statistics:
        """Sum up."""
        answered = [question.answered for question in self._questions.values()]
        return Statistics(
            **self.counts,
            questions=len(answered),
            lost=answered.count(0),
            doubled=sum(max(0, count - 1) for count in answered),
            connections=len(self._connections),
            seconds=self._last - (self._first or 0.0),
        )

    def _count(self, name: str, amount: int = 1) -> None:
        self.counts[name] = self.counts.get(name, 0) + amount

    def _find_buckets(self, model: str, now: float) -> tuple[Bucket | None, Bucket | None]:
        if model not in self._buckets:
            rules = self.conditions
            requests, tokens = rules.requests_per_minute, rules.tokens_per_minute
            self._buckets[model] = (
                Bucket(requests, rules.burst, now) if requests else None,
                Bucket(tokens, rules.token_burst, now) if tokens else None,
            )
        return self._buckets[model]


def parse_request(body: Mapping[str, Any]) -> Asked:
    """Return what a chat asks; what follows the first user's message is no new question."""
    messages: Sequence[Mapping[str, str]] = body["messages"]
    text = "\n".join(message["content"] for message in messages)
    first = next(message["content"] for message in messages if message["role"] == "user")
    question = sha256(f"{body['model']}\n{first}".encode()).hexdigest()[:32]
    return Asked(question, body["model"], text, len(text) // _CHARACTERS_OF_TOKEN)


def find_slot(text: str) -> int:
    """Return which of the first two answers in a prompt is better, or 0 for a tie."""
    marks = [int(mark, 16) for mark in _MARK.findall(text)[:2]]
    if len(marks) != len(("first", "second")):
        msg = f"a prompt must hold two answers with marks, got {len(marks)}"
        raise ValueError(msg)
    lead = marks[0] - marks[1]
    if abs(lead) < _TIE * _MARK_RANGE:
        return 0
    return 1 if lead > 0 else 2


def make_mark(*parts: object) -> str:
    """Return the mark of an answer."""
    digest = sha256("\n".join(map(str, parts)).encode()).hexdigest()
    return f"answer-id-{digest[:16]}"


def build_choice(dialect: Dialect, slot: int) -> dict[str, Any]:
    """Return the choice of a chat's reply that names a winner in the form of a program."""
    if dialect is Dialect.LOG_PROBABILITIES:
        return _build_logprobs(slot)
    said = {
        Dialect.YAML: f"```yaml\nwhich_response_was_better: {slot}\nwhy: |\n  {_REASON}\n"
        f"score_response1: {(7, 8, 5)[slot]}\nscore_response2: {(7, 5, 8)[slot]}\n```",
        Dialect.LETTERS: f"{_REASON}\n[[{'CAB'[slot]}]]",
        Dialect.ARROWS: f"{_REASON}\nMy final verdict: [[{('A=B', 'A>B', 'B>A')[slot]}]]",
    }
    return build_text_choice(said[dialect])


def build_text_choice(text: str) -> dict[str, Any]:
    """Return the choice of a chat's reply."""
    message = {"role": "assistant", "content": text}
    return {"index": 0, "message": message, "finish_reason": "stop"}


def _build_logprobs(slot: int) -> dict[str, Any]:
    shares = {"m": (0.5, 0.9, 0.1)[slot], "M": (0.5, 0.1, 0.9)[slot]}
    tokens: list[dict[str, Any]] = [
        {"token": token, "logprob": math.log(share), "bytes": list(token.encode())}
        for token, share in shares.items()
    ]
    said = "M" if shares["M"] > shares["m"] else "m"
    first = next(each for each in tokens if each["token"] == said)
    logprobs = {"content": [{**first, "top_logprobs": tokens}], "refusal": None}
    return {**build_text_choice(said), "logprobs": logprobs}
