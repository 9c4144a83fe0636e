"""What the public benchmark asked, answered from the numbers of this run, as far as they go."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import TypeVar

from markupsafe import Markup

from tunebench_api.contract import VariantKind
from tunebench_jobs.report.charts import build_rate_scale, draw_axis, draw_strip
from tunebench_jobs.report.material import Material
from tunebench_jobs.report.published_2024 import (
    Focus,
    Form,
    build_lineage,
    find_focus,
    find_form,
    load_published,
)
from tunebench_jobs.report.words import (
    format_count,
    format_number,
    format_pct,
    format_rank,
    format_signed,
    format_signed_ends,
    join,
)
from tunebench_jobs.score.results import PairResult, SizeGroup, VariantResult

KeyT = TypeVar("KeyT", Focus, Form)

_GROUP_WORDS = {SizeGroup.LARGE: "large", SizeGroup.SMALL: "small", None: "of unknown size"}
_FOCUS_WORDS = {Focus.CODE: "made for code", Focus.GENERAL: "general"}
_FORM_WORDS = {Form.BASE: "base", Form.INSTRUCT: "instruct"}
_CONFOUNDED = (
    "The groups differ in families and sizes as well, and a few models say little about all "
    "others: this is what was seen, not an effect with an interval."
)
_SOURCE_OF_KIND = (
    "What a base is, the public table of 2024 says, or else the words of its Hugging Face id."
)


@dataclass(frozen=True)
class Strip:
    """A group of models on one line."""

    label: str
    names: str
    mean: str
    drawing: Markup


@dataclass(frozen=True)
class Question:
    """A question with its answer in a sentence, and what the answer rests on."""

    title: str
    answer: str
    details: Sequence[str] = ()
    strips: Sequence[Strip] = ()
    axis: Markup | None = None


def build_questions(material: Material) -> list[Question]:
    """Build the questions that this run has anything to say to."""
    asked = (
        _ask_tuning(material),
        _ask_which(material),
        _ask_focus(material),
        _ask_form(material),
        _ask_judges(material),
    )
    return [question for question in asked if question]


def _ask_tuning(material: Material) -> Question | None:
    rows = [row for row in _list_tuned(material) if row.delta]
    if not rows:
        return None
    deltas = [row.delta for row in rows if row.delta]
    better = sum(each.lo is not None and each.lo > 0 for each in deltas)
    worse = sum(each.hi is not None and each.hi < 0 for each in deltas)
    points = [each.pct for each in deltas]
    counted = f"{better} of {format_count(len(rows), 'model')}"
    if better == len(rows):
        answer = f"Yes: all intervals of the change lie above zero ({counted} judged both ways)."
    elif better:
        answer = f"For some: the interval of the change lies above zero for {counted}."
    else:
        answer = "This run does not show it: no interval of the change lies above zero."
    change = (
        f"On average, fine-tuning changes the win rate by {format_signed(fmean(points))} points; "
        f"from {format_signed(min(points))} to {format_signed(max(points))}."
    )
    details = [change]
    if worse:
        details.append(f"It made {format_count(worse, 'model')} worse.")
    known = next(each for each in load_published().models if each.untuned_pct is not None)
    details.append(
        f"Published in 2024, for {known.name}: {format_number(known.untuned_pct)} to "
        f"{format_pct(known.win_rate_pct)}."
    )
    return Question("Does fine-tuning matter?", answer, details)


def _ask_which(material: Material) -> Question | None:
    rows = [row for row in _list_tuned(material) if row.win_rate]
    groups = [(group, [row for row in rows if row.group is group]) for group in _GROUP_WORDS]
    there = [(group, members) for group, members in groups if members]
    if not there:
        return None
    answers = []
    details = []
    for group, members in there:
        word = f"{_GROUP_WORDS[group]} " if len(there) > 1 and group else ""
        best = members[0]
        assert best.win_rate  # noqa: S101 - rows without a rate were left out
        answers.append(f"{best.name} leads the {word}models with {format_pct(best.win_rate.pct)}.")
        details.append(_describe_rivals(members, word))
    return Question("Which model?", " ".join(answers), details)


def _describe_rivals(members: Sequence[VariantResult], word: str) -> str:
    """Say who may be as good as the first."""
    best = members[0]
    if all(row.group_rank for row in members):
        rivals = [row.name for row in members[1:] if row.group_rank and row.group_rank.low == 1]
        how = "by paired tests, corrected for the number of pairs"
        ranks = f" (rank {format_rank(best.group_rank)})"
    else:
        low = best.win_rate.lo if best.win_rate else None
        rivals = [
            row.name
            for row in members[1:]
            if low is None or (row.win_rate and (row.win_rate.hi is None or row.win_rate.hi >= low))
        ]
        how = "by overlapping intervals, which is less than a test"
        ranks = ""
    if not rivals:
        return f"No other of the {word}models may be as good as {best.name}{ranks}, {how}."
    return f"{best.name}{ranks} cannot be told from {join(rivals)}, {how}."


def _ask_focus(material: Material) -> Question | None:
    groups = _group_by(material, find_focus)
    if set(groups) != set(Focus):
        return None
    code, general = (_mean(groups[each]) for each in (Focus.CODE, Focus.GENERAL))
    answer = (
        f"Models made for code win {format_pct(code)} on average, general ones "
        f"{format_pct(general)}: {format_signed(code - general)} points."
    )
    axis, strips = _build_strips(groups, _FOCUS_WORDS)
    details = [_CONFOUNDED, _SOURCE_OF_KIND]
    return Question("A model made for code, or a general one?", answer, details, strips, axis)


def _ask_form(material: Material) -> Question | None:
    groups = _group_by(material, find_form)
    if set(groups) != set(Form):
        return None
    base, instruct = (_mean(groups[each]) for each in (Form.BASE, Form.INSTRUCT))
    answer = (
        f"Instruct models win {format_pct(instruct)} on average, base models "
        f"{format_pct(base)}: {format_signed(instruct - base)} points."
    )
    axis, strips = _build_strips(groups, _FORM_WORDS)
    siblings = list(_describe_siblings(material, groups))
    details = [*siblings, _CONFOUNDED]
    return Question("Start from base, or from instruct?", answer, details, strips, axis)


def _describe_siblings(
    material: Material, groups: Mapping[Form, Sequence[VariantResult]]
) -> Iterator[str]:
    """Compare models that differ in nothing but this."""
    lineages = {build_lineage(material.find_base(row) or ""): row for row in groups[Form.BASE]}
    ranking = material.results.ranking
    pairs = ranking.pairs if ranking else ()
    for row in groups[Form.INSTRUCT]:
        sibling = lineages.get(build_lineage(material.find_base(row) or ""))
        if sibling is None or not (row.win_rate and sibling.win_rate):
            continue
        words = (
            f"The same model in both forms: {row.name} {format_pct(row.win_rate.pct)}, "
            f"{sibling.name} {format_pct(sibling.win_rate.pct)}"
        )
        yield f"{words}{_describe_pair(pairs, {row.name, sibling.name})}."


def _describe_pair(pairs: Sequence[PairResult], names: set[str]) -> str:
    pair = next((each for each in pairs if {each.better, each.worse} == names), None)
    if pair is None:
        return ""
    told = "they differ" if pair.significant else "they cannot be told apart"
    difference = pair.difference
    return (
        f"; {format_signed(difference.pct)} points ({format_signed_ends(difference)}), "
        f"p = {pair.p_holm:.2g} after Holm: {told}"
    )


def _ask_judges(material: Material) -> Question | None:
    results = material.results
    panel = [judge.name for judge in results.judges if judge.in_panel]
    rows = [row for row in _list_tuned(material) if row.win_rate]
    if len(panel) < 2 or len(rows) < 2:  # noqa: PLR2004 - nothing to agree on
        return None
    firsts = {name: _find_first(rows, name) for name in panel}
    best = rows[0].name
    same = [name for name, first in firsts.items() if first == best]
    if len(same) == len(panel):
        answer = f"All {len(panel)} judges put {best} first."
    else:
        others = [
            f"{name} puts {first} first"
            for name, first in firsts.items()
            if first and first != best
        ]
        answer = f"{len(same)} of {len(panel)} judges put {best} first; {join(others)}."
    return Question(
        "Do the judges agree on the ranking?", answer, list(_describe_rankings(material))
    )


def _describe_rankings(material: Material) -> Iterator[str]:
    agreement = material.results.panel_agreement
    if agreement is None:
        return
    for pair in agreement.rankings:
        if pair.tau is None:
            continue
        ends = ""
        if pair.tau.lo is not None and pair.tau.hi is not None:
            ends = f" ({format_number(pair.tau.lo, 2)} to {format_number(pair.tau.hi, 2)})"
        yield (
            f"{join(list(pair.judges))}: Kendall's tau {format_number(pair.tau.value, 2)}{ends} "
            f"over {pair.variants} variants."
        )
    for left in agreement.left_out:
        moved = (
            f"{left.variant} moves by {format_count(left.max_rank_shift, 'rank')}"
            if left.variant and left.max_rank_shift
            else "nothing moves"
        )
        yield f"Without {left.judge}, {moved}."


def _find_first(rows: Sequence[VariantResult], judge: str) -> str | None:
    rated = [
        (each.win_rate.pct, row.name)
        for row in rows
        for each in row.by_judge
        if each.name == judge and each.win_rate
    ]
    return max(rated)[1] if rated else None


def _list_tuned(material: Material) -> list[VariantResult]:
    return [row for row in material.results.variants if row.kind is VariantKind.FINE_TUNED]


def _group_by(material: Material, find: Callable[[str], KeyT]) -> dict[KeyT, list[VariantResult]]:
    groups: dict[KeyT, list[VariantResult]] = {}
    for row in _list_tuned(material):
        base = material.find_base(row)
        if base and row.win_rate:
            groups.setdefault(find(base), []).append(row)
    return groups


def _build_strips(
    groups: Mapping[KeyT, Sequence[VariantResult]], words: Mapping[KeyT, str]
) -> tuple[Markup, list[Strip]]:
    scale = build_rate_scale(row.win_rate for rows in groups.values() for row in rows)
    return draw_axis(scale), [
        Strip(
            label=f"{words[key]} ({len(rows)})",
            names=join([row.name for row in rows]),
            mean=format_number(_mean(rows)),
            drawing=draw_strip([row.win_rate.pct for row in rows if row.win_rate], scale),
        )
        for key, rows in groups.items()
    ]


def _mean(rows: Sequence[VariantResult]) -> float:
    return fmean(row.win_rate.pct for row in rows if row.win_rate)
