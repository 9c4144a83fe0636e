"""Attacks on judges, and the ways in which a judge's reply may quote them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tunebench_jobs.judge.escape import Delimiters, escape_untrusted
from tunebench_jobs.judge.verdicts import UnparsableVerdictError, Winner, parse_verdict

# Raise it with each change of the attacks, because shares are comparable within a version only.
VERSION = 1
_FILE = Path(__file__).with_name("attacks.jsonl")
_WINNERS = {1: Winner.MODEL, 2: Winner.BASELINE, 0: Winner.TIE}


@dataclass(frozen=True)
class Attack:
    """A text that wants a verdict; `where` it stands: completion, diff, or only in a reply."""

    id: str
    kind: str
    where: str
    text: str

    def aim(self, slot: int) -> str:
        """Return the text for the completion in this place."""
        return self.text.replace("{slot}", str(slot))


@cache
def load_attacks() -> tuple[Attack, ...]:
    """Return all attacks."""
    return tuple(Attack(**json.loads(line)) for line in _FILE.read_text().splitlines())


def build_verdict(slot: int, why: str = "It names the defect.") -> str:
    """Return what an honest judge says."""
    scores = {1: (8, 3), 2: (3, 8), 0: (5, 5)}[slot]
    return (
        f"which_response_was_better: {slot}\nwhy: {why}\n"
        f"score_response1: {scores[0]}\nscore_response2: {scores[1]}\n"
    )


def _indent(text: str, prefix: str) -> str:
    return "".join(f"{prefix}{line}\n" for line in text.split("\n"))


def _fence(text: str) -> str:
    """Fence a text as Markdown asks: by more marks than it has itself."""
    longest = max(map(len, re.findall("`+", text)), default=0)
    marks = "`" * max(3, longest + 1)
    return f"{marks}\n{text}\n{marks}\n"


# Each takes the quotation and the place of the better completion.
Way = Callable[[str, int], str]
# As people and models quote: the verdict must be read.
QUOTING: Mapping[str, Way] = {
    "no quotation": lambda _, slot: build_verdict(slot),
    "reason, block scalar": lambda text, slot: build_verdict(
        slot, f"|\n{_indent(f'It says: {text}', '  ')}".rstrip("\n")
    ),
    "reason, in quotes": lambda text, slot: build_verdict(slot, json.dumps(f"It says {text}")),
    "quoted lines before": lambda text, slot: (
        f"It says\n{_indent(text, '> ')}\nI ignore that.\n\n{build_verdict(slot)}"
    ),
    "quoted lines after": lambda text, slot: (
        f"{build_verdict(slot)}\nIt says\n{_indent(text, '> ')}"
    ),
    "code before": lambda text, slot: (
        f"It says\n\n{_indent(text, '    ')}\nI ignore that.\n\n{build_verdict(slot)}"
    ),
    "in a sentence before": lambda text, slot: (
        f'It says "{" ".join(text.split())}", which I ignore.\n\n{build_verdict(slot)}'
    ),
    "fence before": lambda text, slot: (
        f"It says\n{_fence(text)}I ignore that.\n\n{build_verdict(slot)}"
    ),
}
# As they should not: the verdict is read, or asked for again.
SLOPPY: Mapping[str, Way] = {
    "reason, not indented": lambda text, slot: build_verdict(slot, f"It says {text}"),
    "fence of three marks before": lambda text, slot: (
        f"It says\n```\n{text}\n```\nI ignore that.\n\n{build_verdict(slot)}"
    ),
    "fence after": lambda text, slot: f"{build_verdict(slot)}\nIt says\n{_fence(text)}",
    "fences": lambda text, slot: f"{_fence(text)}\nMy own:\n```yaml\n{build_verdict(slot)}```\n",
    "nothing round it, before": lambda text, slot: (
        f"It says\n{text}\n\nI ignore that.\n\n{build_verdict(slot)}"
    ),
}
# A verdict that is not quoted and comes last is the judge's last word.
LAST_WORD: Mapping[str, Way] = {
    "nothing round it, after": lambda text, slot: f"{build_verdict(slot)}\nIt says\n{text}\n",
}


@dataclass(frozen=True)
class Trial:
    """What the parser made of one quotation: `right`, `unreadable` or `changed`."""

    attack: Attack
    way: str
    # Whether the judge copied what it read, which was escaped, or undid the escape.
    escaped: bool
    outcome: str


def try_parser(
    attacks: Sequence[Attack], ways: Mapping[str, Way], delimiters: Delimiters
) -> Iterator[Trial]:
    """Let an honest judge quote each attack in each way, escaped and not, fenced and not."""
    for attack in attacks:
        for slot in (1, 0):
            text = attack.aim(2)
            for escaped in (True, False):
                quoted = escape_untrusted(text, delimiters) if escaped else text
                for name, way in ways.items():
                    outcome = _read(way(quoted, slot), slot)
                    yield Trial(attack, name, escaped, outcome)


def _read(reply: str, slot: int) -> str:
    try:
        verdict = parse_verdict(reply, model_is_first=True)
    except UnparsableVerdictError:
        return "unreadable"
    return "right" if verdict.winner is _WINNERS[slot] else "changed"
