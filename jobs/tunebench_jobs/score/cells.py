"""How numbers and the words of others look in a Markdown table."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from types import MappingProxyType

from tunebench_api.contract import VariantKind
from tunebench_jobs.markdown import show
from tunebench_jobs.score.results import Coefficient, JudgeResult, RankSet, Rate, Relation

NOTHING = "n/a"
NO_INTERVAL = "no interval"
NOT_AN_LLM = "reference judge, not an LLM"
KIND_WORDS = MappingProxyType(
    {
        VariantKind.FINE_TUNED: "fine-tuned",
        VariantKind.UNTUNED: "un-tuned",
        VariantKind.CONTROL: "control",
    }
)
# What the family of a judge did for the run.
RELATION_WORDS = MappingProxyType(
    {
        Relation.BASELINE: "made the baseline",
        Relation.TEACHER: "wrote training answers",
        Relation.MODEL: "made a base model",
    }
)


def format_rate(rate: Rate | None) -> str:
    """Return a rate with its interval, such as `40.7 (36.8 to 44.6)`."""
    return NOTHING if rate is None else f"{rate.pct:.1f} ({format_interval(rate)})"


def format_compact_rate(rate: Rate | None) -> str:
    """Return a rate with its interval where columns are narrow, such as `40.7 (36.8-44.6)`."""
    return format_rate(rate).replace(" to ", "-")


def format_interval(rate: Rate | None) -> str:
    """Return the ends of an interval, such as `36.8 to 44.6`; few pull requests have none."""
    if rate is None or rate.lo is None or rate.hi is None:
        return NO_INTERVAL
    return f"{rate.lo:.1f} to {rate.hi:.1f}"


def format_change(delta: Rate | None) -> str:
    """Return a difference with its interval, such as `+3.1 (-0.4 to +6.6)`."""
    if delta is None:
        return NOTHING
    return _format_estimate(delta.pct, delta.lo, delta.hi, "+.1f")


def format_coefficient(coefficient: Coefficient | None) -> str:
    """Return a coefficient with its interval, such as `0.61 (0.55 to 0.66)`."""
    if coefficient is None:
        return NOTHING
    return _format_estimate(coefficient.value, coefficient.lo, coefficient.hi, ".2f")


def format_rank(rank: RankSet | None) -> str:
    """Return the ranks that the data allow, such as `1-4`; nothing where there are none."""
    if rank is None:
        return ""
    return str(rank.low) if rank.low == rank.high else f"{rank.low}-{rank.high}"


def name_judge(judge: JudgeResult) -> str:
    """Return a judge's name; the reference judge is never taken for an LLM."""
    return show(judge.name) if judge.llm else f"{show(judge.name)} ({NOT_AN_LLM})"


def render_table(
    head: Sequence[str], alignment: str, rows: Iterable[Sequence[str]]
) -> Iterator[str]:
    """Yield the lines of a table; `alignment` has `l` or `r` for each column."""
    rules = ["---:" if side == "r" else "---" for side in alignment]
    for cells in (head, rules, *rows):
        yield f"| {' | '.join(cells)} |"


def format_number(number: float | None) -> str:
    """Return a percentage, or that there is none."""
    return NOTHING if number is None else f"{number:.1f}"


def _format_estimate(value: float, lo: float | None, hi: float | None, form: str) -> str:
    ends = NO_INTERVAL if lo is None or hi is None else f"{lo:{form}} to {hi:{form}}"
    return f"{value:{form}} ({ends})"
