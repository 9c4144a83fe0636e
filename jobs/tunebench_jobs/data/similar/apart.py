"""Keep training apart from the evaluation: what is let through, what is not, and what was done."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Generic, Protocol, TypeVar

from tunebench_api.contamination import Contamination, MatchKind
from tunebench_jobs.data.drops import Finding, RowDrop
from tunebench_jobs.data.similar.gate import EvalGate
from tunebench_jobs.data.similar.match import Match
from tunebench_jobs.data.similar.signature import Signature
from tunebench_jobs.errors import InputError

_SHOWN = 5
# These are the same pull request, not only one like it.
_SAME = frozenset({MatchKind.SAME_ID, MatchKind.SAME_PATCH})


class RowKey(Protocol):
    """What stays in memory of a row."""

    @property
    def id(self) -> str:
        """Id of the pull request."""

    @property
    def origin(self) -> str:
        """Where it came from, in words."""


KeyT = TypeVar("KeyT", bound=RowKey)


@dataclass(frozen=True)
class Apart(Generic[KeyT]):
    """The rows that may be trained on, in their order, and those that may not."""

    kept: Sequence[KeyT]
    dropped: Sequence[tuple[KeyT, Finding]]
    contamination: Contamination


def keep_apart(
    train: Sequence[KeyT],
    evaluation: Sequence[KeyT],
    load_signature: Callable[[KeyT], Signature],
    *,
    threshold: float,
    refuses: bool,
) -> Apart[KeyT]:
    """Find the training rows that give an evaluation row away.

    Signatures are loaded twice for each training row, because what occurs in many rows is known
    only when all have been seen; one at a time is in memory.

    Args:
        train: Rows to train on.
        evaluation: Rows that no training row may resemble.
        load_signature: Says what a row is recognised by.
        threshold: From which Jaccard index on two rows are near-duplicates.
        refuses: Whether the same pull request in both is an error: somebody made the sets so, and
            only they can say which is right.

    Raises:
        InputError: It `refuses`, and names the rows that are in both sets.
    """
    gate = EvalGate(threshold, ((key.id, load_signature(key)) for key in evaluation))
    for key in train:
        gate.count(load_signature(key))
    matches = [gate.find(key.id, load_signature(key)) for key in train]
    origins = {key.id: key.origin for key in evaluation}
    found = [(key, match) for key, match in zip(train, matches, strict=True) if match]
    if refuses:
        _refuse_same([(key, match) for key, match in found if match.kind in _SAME], origins)
    return Apart(
        kept=[key for key, match in zip(train, matches, strict=True) if match is None],
        dropped=[(key, _build_finding(match, origins[match.key])) for key, match in found],
        contamination=Contamination(
            checked=tuple(MatchKind),
            removed=dict(Counter(str(match.kind) for _, match in found)),
            train=len(train),
            eval=len(evaluation),
        ),
    )


def _refuse_same(shared: Sequence[tuple[KeyT, Match]], origins: dict[str, str]) -> None:
    if not shared:
        return
    shown = "; ".join(f"{key.origin} and {origins[match.key]}" for key, match in shared[:_SHOWN])
    msg = (
        f"`spec.dataset.train` must not hold pull requests of `spec.dataset.eval`, got "
        f"{len(shared)} with the same id or the same patch: {shown}; remove them from one"
    )
    raise InputError(msg, reason="Contaminated")


def _build_finding(match: Match, origin: str) -> Finding:
    reason = RowDrop.DUPLICATE_OF_EVAL if match.kind in _SAME else RowDrop.SIMILAR_TO_EVAL
    return Finding(reason, replace(match, key=origin).detail)
