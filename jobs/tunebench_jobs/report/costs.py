"""What the run cost, as far as the stages say."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tunebench_jobs.report.material import Material
from tunebench_jobs.report.words import format_count


@dataclass(frozen=True)
class Cost:
    """One thing that was paid; without an amount, nobody knows its price."""

    name: str
    note: str
    usd: float | None


@dataclass(frozen=True)
class Costs:
    """All that was paid; `at_least`: the sum leaves out what has no known price."""

    rows: Sequence[Cost]
    total: float
    at_least: bool
    gpu_hours: float
    # Trainings that do not say how many GPUs they had.
    unknown_gpus: int


def build_costs(material: Material) -> Costs:
    """Add up what the stages say."""
    rows = list(_list_costs(material))
    hours = [training.gpu_hours for training in material.trainings.values()]
    return Costs(
        rows=rows,
        total=sum(each.usd for each in rows if each.usd is not None),
        at_least=any(each.usd is None for each in rows),
        gpu_hours=sum(each for each in hours if each is not None),
        unknown_gpus=sum(each is None for each in hours),
    )


def _list_costs(material: Material) -> Iterator[Cost]:
    for judge in material.results.judges:
        if judge.llm:
            note = f"judge; {format_count(judge.verdicts, 'verdict')}"
            yield Cost(judge.name, note, judge.cost_usd)
    paid = sum(row.cost_usd for row in material.baseline)
    if paid:
        note = f"baseline; {format_count(len(material.baseline), 'completion')}"
        yield Cost(material.results.baseline.name, note, paid)
    makers: Mapping[str, Any] = material.data.get("makers") or {}
    for name, facts in makers.items():
        amount = facts.get("paid_usd") if isinstance(facts, Mapping) else None
        yield Cost(str(facts.get("model", name)), "training answers", amount)
