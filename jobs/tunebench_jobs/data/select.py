"""Choose pull requests that differ: by language, size, kind of change and repository.

The value of a set is the sum, over five facets and the values of each, of the square root of how
often the value occurs: the second Python pull request is worth less than the first, so what is
rare yet is chosen next. The fifth facet is language, size and kind together, so that each language
comes in several sizes and kinds. This is the diversity reward of Lin and Bilmes, "A Class of
Submodular Functions for Document Summarization" (ACL 2011), a monotone submodular function: greedy
choice reaches at least 1 - 1/e of the best possible value (Nemhauser, Wolsey and Fisher, 1978), and
may leave most gains uncomputed (Minoux, 1978).
"""

from __future__ import annotations

import hashlib
import heapq
import math
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from tunebench_jobs.data.file_languages import find_main_language
from tunebench_jobs.data.kinds import Kind, find_kind
from tunebench_jobs.rows import ChangedFile, PullRequest

# Most changed lines of each size.
SIZES: Mapping[str, float] = MappingProxyType(
    {"XS": 10, "S": 50, "M": 200, "L": 1000, "XL": math.inf}
)
# Repositories are too many to list each one in a report.
_SHOWN_VALUES = 20


@dataclass(frozen=True)
class Candidate:
    """What the choice looks at: few bytes of a pull request, so that all fit into memory."""

    id: str
    repository: str
    language: str
    changed_lines: int
    files: int
    kind: Kind
    merged_at: str | None = None

    @property
    def size(self) -> str:
        """Return the size as a word."""
        return next(name for name, most in SIZES.items() if self.changed_lines <= most)


Facet = Callable[[Candidate], object]
FACETS: Mapping[str, Facet] = MappingProxyType(
    {
        "language": lambda each: each.language,
        "size": lambda each: each.size,
        "kind": lambda each: each.kind,
        "repository": lambda each: each.repository,
        "mix": lambda each: (each.language, each.size, each.kind),
    }
)


@dataclass(frozen=True)
class Selection:
    """The ids chosen, in the order of choice, and how they are spread beside all candidates."""

    ids: tuple[str, ...]
    spread: Mapping[str, Any]


def build_candidate(pr: PullRequest) -> Candidate:
    """Return the candidate of a pull request."""
    lines = {file.path: count_changed_lines(file) for file in pr.files}
    return Candidate(
        id=pr.id,
        repository=pr.repository,
        language=pr.language or find_main_language(lines.items()) or "unknown",
        changed_lines=sum(lines.values()),
        files=len(pr.files),
        kind=find_kind(pr.title, lines),
        merged_at=pr.merged_at,
    )


def count_changed_lines(file: ChangedFile) -> int:
    """Return how many lines a patch adds and removes; it has no header but those of hunks."""
    return sum(line.startswith(("+", "-")) for line in file.patch.split("\n"))


def select_diverse(
    candidates: Iterable[Candidate], count: int, seed: int, chosen: Iterable[str] = ()
) -> Selection:
    """Choose up to `count` candidates, which must have ids of their own.

    The same candidates in any order give the same choice; `seed` decides between equals.

    Args:
        candidates: What to choose from.
        count: How many to choose, those of `chosen` included.
        seed: Another one gives another choice of the same spread.
        chosen: Ids that are in any case part of the choice, such as those that a person accepted.
    """
    ranked = sorted(candidates, key=lambda each: _draw(each.id, seed))
    wanted = set(chosen)
    kept = [each for each in ranked if each.id in wanted][:count]
    rest = [each for each in ranked if each.id not in wanted]
    picked = [*kept, *_pick(rest, count - len(kept), _count_values(kept))]
    return Selection(tuple(each.id for each in picked), build_spread(ranked, picked))


def build_spread(candidates: Sequence[Candidate], chosen: Sequence[Candidate]) -> dict[str, Any]:
    """Say how a choice is spread over each facet, beside what it was chosen from.

    `effective` is the exponential of Shannon's entropy (Hill's number of order 1): as many values,
    if they were equally frequent, would be as diverse.
    """
    moments = sorted(each.merged_at for each in chosen if each.merged_at)
    return {
        "candidates": len(candidates),
        "chosen": len(chosen),
        "merged": {"first": moments[0], "last": moments[-1]} if moments else {},
        **{
            name: _build_facet_spread(candidates, chosen, facet)
            for name, facet in FACETS.items()
            if name != "mix"
        },
    }


def _build_facet_spread(
    candidates: Sequence[Candidate], chosen: Sequence[Candidate], facet: Facet
) -> dict[str, Any]:
    there = Counter(str(facet(each)) for each in candidates)
    taken = Counter(str(facet(each)) for each in chosen)
    shown = sorted(there, key=lambda value: (-taken[value], -there[value], value))
    return {
        "values": len(there),
        "chosen_values": len(taken),
        "effective": round(_count_effective(taken), 2),
        "counts": {
            value: {"candidates": there[value], "chosen": taken[value]}
            for value in shown[:_SHOWN_VALUES]
        },
    }


def _count_effective(counts: Counter[str]) -> float:
    total = counts.total()
    shares = [count / total for count in counts.values()]
    return math.exp(-sum(share * math.log(share) for share in shares)) if shares else 0.0


def _pick(rest: Sequence[Candidate], count: int, counts: Counter[object]) -> list[Candidate]:
    """Choose greedily; of equal gains, the first in `rest`.

    A gain only falls while more is chosen. So the best of outdated gains, computed anew, is the
    best of all if it is no worse than the next outdated one. Candidates of the same values have
    the same gain: only the first of them competes.
    """
    groups: dict[tuple[object, ...], deque[int]] = {}
    for place, each in enumerate(rest):
        groups.setdefault(_list_values(each), deque()).append(place)
    # Places differ, so that no two entries are compared further.
    heap = [(-_gain(counts, values), places[0], values) for values, places in groups.items()]
    heapq.heapify(heap)
    picked: list[Candidate] = []
    while heap and len(picked) < count:
        values = heap[0][2]
        places = groups[values]
        entry = (-_gain(counts, values), places[0], values)
        if entry != heap[0]:
            heapq.heapreplace(heap, entry)
            continue
        counts.update(values)
        picked.append(rest[places.popleft()])
        if places:
            heapq.heapreplace(heap, (-_gain(counts, values), places[0], values))
        else:
            heapq.heappop(heap)
    return picked


def _gain(counts: Counter[object], values: Iterable[object]) -> float:
    """Return what one more of each value adds."""
    return sum(math.sqrt(counts[value] + 1) - math.sqrt(counts[value]) for value in values)


def _count_values(chosen: Iterable[Candidate]) -> Counter[object]:
    return Counter(value for each in chosen for value in _list_values(each))


def _list_values(candidate: Candidate) -> tuple[object, ...]:
    return tuple((name, facet(candidate)) for name, facet in FACETS.items())


def _draw(identity: str, seed: int) -> tuple[str, str]:
    return hashlib.sha256(f"{seed}:{identity}".encode()).hexdigest(), identity
