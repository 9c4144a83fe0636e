"""Which of the pull requests that may be asked are asked: people first, then the selection."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tunebench_api.v1alpha1 import EvalSource, Selection
from tunebench_jobs.data.curation import Applied, apply_decisions
from tunebench_jobs.data.decisions import Choice, Merged
from tunebench_jobs.data.drops import DroppedRow, RowDrop
from tunebench_jobs.data.opened import RowLike
from tunebench_jobs.data.select import build_candidate, build_spread, select_diverse

# The pull requests that may be asked, before the decisions of people: what `curate` reads.
CANDIDATES_FILE = "candidates.jsonl"
# A diverse holdout is chosen from so many times as many newest pull requests.
HOLDOUT_POOL = 4
_SHOWN = 5


@dataclass(frozen=True)
class Chosen:
    """The rows to ask, in the order of the source, with what the manifest says of the choice."""

    rows: Sequence[RowLike] = ()
    dropped: Sequence[DroppedRow] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)
    warnings: Sequence[str] = ()


def count_pool(source: EvalSource, decisions: Merged | None, rows: int) -> int:
    """Return how many of the newest rows a holdout keeps, so that there is a choice.

    What was rejected is replaced by what comes next, and half of the rows are left to train on.
    """
    factor = HOLDOUT_POOL if source.selection is Selection.DIVERSE else 1
    made = decisions.decisions if decisions else ()
    rejected = sum(each.decision is Choice.REJECTED for each in made)
    return max(source.per_tool, min(source.per_tool * factor + rejected, rows // 2))


def choose_eval(
    pool: Sequence[RowLike], source: EvalSource, decisions: Merged | None, seed: int
) -> Chosen:
    """Choose the rows to ask from those that may be asked.

    What a person accepted is chosen first, whatever the selection; what a person rejected, never.
    """
    applied = apply_decisions(pool, decisions.decisions if decisions else ())
    ids = _choose_ids(applied, source, seed)
    chosen = [row for row in applied.kept if row.pr.id in ids]
    left = [
        DroppedRow("eval", row.origin, row.pr.id, RowDrop.OVER_LIMIT)
        for row in applied.kept
        if row.pr.id not in ids
    ]
    candidates = {row.pr.id: build_candidate(row.pr) for row in applied.kept}
    facts: dict[str, Any] = {
        "selection": {
            "by": source.selection,
            "seed": seed,
            **build_spread(list(candidates.values()), [candidates[row.pr.id] for row in chosen]),
        }
    }
    if decisions is None:
        return Chosen(chosen, left, facts)
    unread = len(ids - set(applied.accepted))
    facts["decisions"] = {
        "accepted": len(applied.accepted),
        "rejected": len(applied.dropped),
        "edited": list(applied.edited),
        "asked_without_decision": unread,
        "stale": [each.pr for each in applied.stale],
        "unknown": [each.pr for each in applied.unknown],
        "conflicts": [str(each) for each in decisions.conflicts],
    }
    warnings = _build_warnings(applied, decisions, unread, len(chosen))
    return Chosen(chosen, [*applied.dropped, *left], facts, warnings)


def _choose_ids(applied: Applied, source: EvalSource, seed: int) -> frozenset[str]:
    if source.selection is Selection.DIVERSE:
        candidates = [build_candidate(row.pr) for row in applied.kept]
        return frozenset(select_diverse(candidates, source.per_tool, seed, applied.accepted).ids)
    accepted = set(applied.accepted)
    ranked = sorted(applied.kept, key=lambda row: row.pr.id not in accepted)
    return frozenset(row.pr.id for row in ranked[: source.per_tool])


def _build_warnings(applied: Applied, decisions: Merged, unread: int, chosen: int) -> list[str]:
    stale, unknown = applied.stale, applied.unknown
    said = (
        (stale, "are about pull requests that changed since, and are not applied"),
        (unknown, "are about pull requests that are not there"),
        (decisions.conflicts, "contradict a newer one, which counts"),
    )
    warnings = [
        f"{len(found)} decisions of `spec.dataset.eval.decisions` {what}: {_list_ids(found)}"
        for found, what in said
        if found
    ]
    if unread:
        warnings.append(f"nobody decided about {unread} of {chosen} evaluation pull requests")
    return warnings


def _list_ids(found: Sequence[Any]) -> str:
    ids = [str(getattr(each, "pr", each)) for each in found]
    more = f" and {len(ids) - _SHOWN} more" if len(ids) > _SHOWN else ""
    return ", ".join(ids[:_SHOWN]) + more
