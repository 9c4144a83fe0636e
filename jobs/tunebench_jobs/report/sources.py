"""What the models were trained on and asked: the dataset in numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tunebench_jobs.report.material import Material
from tunebench_jobs.report.words import NOTHING

_MOST = 12


@dataclass(frozen=True)
class Tally:
    """Pull requests of the evaluation by one property; `other` is what the list leaves out."""

    title: str
    rows: Sequence[tuple[str, int]]
    other: int


@dataclass(frozen=True)
class Sources:
    """The dataset in numbers; a count is absent where the data stage did not say."""

    train_prs: int | None
    eval_prs: int
    repositories: int
    # By tool.
    examples: Mapping[str, int]
    tasks: Mapping[str, int]
    tallies: Sequence[Tally]


def build_sources(material: Material) -> Sources:
    """Count what is known."""
    prs = {task.pr: task for task in material.tasks}
    languages = Counter(task.language or NOTHING for task in prs.values())
    licenses = Counter(
        material.pulls[pr].license or "not known" for pr in prs if pr in material.pulls
    )
    tallies = [("Licences", licenses), ("Programming languages", languages)]
    return Sources(
        train_prs=material.data.get("train_prs"),
        eval_prs=len(prs),
        repositories=len({task.repository for task in prs.values()}),
        examples=material.data.get("examples") or {},
        tasks=Counter(str(task.tool) for task in material.tasks),
        tallies=[_build_tally(title, counts) for title, counts in tallies if counts],
    )


def _build_tally(title: str, counts: Counter[str]) -> Tally:
    # Equal counts by name, so that the same data give the same page.
    rows = sorted(counts.items(), key=lambda each: (-each[1], each[0]))
    return Tally(title, rows[:_MOST], sum(count for _, count in rows[_MOST:]))
