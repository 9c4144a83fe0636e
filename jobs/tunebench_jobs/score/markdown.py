"""The leaderboard as Markdown, in the shape of the two tables of the public benchmark."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from tunebench_api.contract import VariantKind
from tunebench_api.v1alpha1 import Control
from tunebench_jobs.markdown import show, show_in_code
from tunebench_jobs.score.benchmark_2024 import LARGE_FROM_BILLIONS
from tunebench_jobs.score.cells import (
    KIND_WORDS,
    NOT_AN_LLM,
    NOTHING,
    format_change,
    format_compact_rate,
    format_interval,
    format_number,
    format_rank,
    format_rate,
    name_judge,
    render_table,
)
from tunebench_jobs.score.markdown_judges import (
    mark_doubtful,
    render_agreement,
    render_judges,
    render_kinship,
    render_reliability,
)
from tunebench_jobs.score.results import (
    FunnelStep,
    Ranking,
    Results,
    SizeGroup,
    Validity,
    VariantResult,
)

__all__ = [
    "NOTHING",
    "format_compact_rate",
    "format_interval",
    "format_rate",
    "name_judge",
    "render_markdown",
]

_EXPECTED = {
    Control.NULL: "must lose",
    Control.SELF: "must come out even: 50, tie-adjusted",
    Control.PADDED: "must not win: 50 or less, tie-adjusted",
}
_GROUPS = {
    SizeGroup.LARGE: f"Large models, from {LARGE_FROM_BILLIONS:.0f} billion parameters",
    SizeGroup.SMALL: "Small models",
    None: "Models of unknown size",
}


def render_markdown(results: Results) -> str:
    """Render everything that a reader needs, from the results alone."""
    sections = (
        [f"# {show(results.run)}", "", *_render_intro(results)],
        render_reliability(results),
        _render_ranking(results),
        _render_pairs(results.ranking),
        _render_impact(results),
        _render_length(results),
        _render_tools(results),
        _render_by_judge(results),
        render_judges(results),
        render_agreement(results),
        render_kinship(results),
        _render_validity(results),
        _render_controls(results),
        _render_failed(results),
        _render_funnel(results),
        _render_contamination(results),
        _render_list("Warnings", [warned.message for warned in results.warnings]),
        _render_list("What to keep in mind", results.notes),
    )
    return "\n\n".join("\n".join(lines) for lines in map(list, sections) if lines) + "\n"


def _render_intro(results: Results) -> Iterator[str]:
    panel = [judge for judge in results.judges if judge.in_panel]
    judges = ", ".join(map(name_judge, panel))
    yield (
        f"{results.tasks} tasks of {results.pull_requests} pull requests "
        f"({', '.join(results.tools)}), each judged in both orders against "
        f"`{show_in_code(results.baseline.name)}` by {judges}."
    )
    yield (
        "A win rate is the share of comparisons that the judges give to the model, averaged over "
        "the tools; a tie is no win. The tie-adjusted rate counts a tie as half. A completion that "
        "cannot be read as an answer is lost, except in the self control, where both sides are the "
        "same. Parentheses hold 95% intervals."
    )
    if any(not judge.llm for judge in panel):
        yield ""
        yield (
            f"**The judge is a {NOT_AN_LLM}**: it measures likeness to the dataset's own answers. "
            "These rates show that the parts work together and what fine-tuning changed. They do "
            "not show which answer people or an LLM would prefer."
        )


def _render_ranking(results: Results) -> Iterator[str]:
    """Yield one table, or one for each size where there are several, as the benchmark has them."""
    rows = _of_kind(results, VariantKind.FINE_TUNED)
    if not rows:
        return
    yield "## After fine-tuning"
    groups = {group: [row for row in rows if row.group is group] for group in _GROUPS}
    present = {group: members for group, members in groups.items() if members}
    for group, members in present.items():
        yield ""
        if len(present) > 1:
            yield f"### {_GROUPS[group]}"
            yield ""
        yield from _render_ranked(results, members, apart=len(present) > 1)
    if results.ranking and not results.ranking.blocked and len(rows) > 1:
        yield ""
        yield (
            "A rank is the range that the data allow: models whose ranges overlap may stand in "
            "either order."
        )


def _render_ranked(
    results: Results, rows: Sequence[VariantResult], *, apart: bool
) -> Iterator[str]:
    """Yield a table with the ranks in it, and those among all where there are several tables."""
    headline = f"better than {show(results.baseline.name)} rate [%]"
    yield from render_table(
        [
            *(["rank here", "rank of all"] if apart else ["rank"]),
            "model",
            "size [B]",
            mark_doubtful(headline, "win rate", results),
            "tie-adjusted [%]",
            "won in both orders [%]",
            "tasks",
            "missing verdicts",
        ],
        "rrlrrrrrr" if apart else "rlrrrrrr",
        [
            [
                *([format_rank(row.group_rank) or NOTHING] if apart else []),
                format_rank(row.rank) or NOTHING,
                show(row.name),
                row.size_billions or NOTHING,
                format_rate(row.win_rate),
                format_rate(row.tie_adjusted),
                format_rate(row.strict),
                str(row.tasks),
                str(row.missing),
            ]
            for row in rows
        ],
    )


def _render_pairs(ranking: Ranking | None) -> Iterator[str]:
    """Yield who is surely better than whom; the other pairs the data cannot tell apart."""
    if ranking is None or not ranking.pairs:
        return
    sure = [pair for pair in ranking.pairs if pair.significant]
    yield "## Which differences are sure"
    yield ""
    yield (
        f"{len(sure)} of {len(ranking.pairs)} pairs differ ({ranking.separable_pct or 0:.1f}%): "
        "paired by task, sign flips of whole pull requests, Holm's correction over all pairs, "
        f"level {100 * ranking.level:.0f}%."
    )
    if not sure:
        return
    yield ""
    yield from render_table(
        ["better", "worse", "difference [points]", "p", "p, corrected", "p, McNemar"],
        "llrrrr",
        [
            [
                show(pair.better),
                show(pair.worse),
                format_change(pair.difference),
                _format_p(pair.p),
                _format_p(pair.p_holm),
                NOTHING if pair.p_mcnemar is None else _format_p(pair.p_mcnemar),
            ]
            for pair in sure
        ],
    )


def _format_p(p_value: float) -> str:
    return "< 0.001" if p_value < 0.001 else f"{p_value:.3f}"  # noqa: PLR2004 - what is shown


def _render_length(results: Results) -> Iterator[str]:
    rows = [row for row in results.variants if row.length and row.length_controlled]
    if not rows:
        return
    yield "## How much goes with length"
    yield ""
    yield from render_table(
        ["variant", "tokens", "to the baseline's", "win rate [%]", "at the baseline's length [%]"],
        "lrrrr",
        list(map(_list_length, rows)),
    )
    if any(row.length_controlled and row.length_controlled.extrapolated for row in rows):
        yield ""
        yield (
            "\\* beyond what was seen: fewer than 5% of the answers are longer, or shorter, than "
            "the baseline's."
        )


def _list_length(row: VariantResult) -> list[str]:
    length, controlled = row.length, row.length_controlled
    if length is None or controlled is None:
        return [_name_variant(row), *[NOTHING] * 4]
    mark = " \\*" if controlled.extrapolated else ""
    return [
        _name_variant(row),
        f"{length.mean_tokens:.0f}",
        NOTHING if length.ratio is None else f"{length.ratio:.2f}",
        format_rate(row.win_rate),
        f"{format_rate(controlled.rate)}{mark}",
    ]


def _render_impact(results: Results) -> Iterator[str]:
    by_name = {row.name: row for row in results.variants}
    rows = [row for row in _of_kind(results, VariantKind.FINE_TUNED) if row.untuned in by_name]
    if not rows:
        return
    yield "## What fine-tuning changes"
    yield ""
    yield from render_table(
        [
            "model",
            "un-tuned [%]",
            "fine-tuned [%]",
            "change [points]",
        ],
        "lrrr",
        [
            [
                show(row.name),
                format_rate(by_name[row.untuned or ""].win_rate),
                format_rate(row.win_rate),
                format_change(row.delta),
            ]
            for row in rows
        ],
    )


def _render_tools(results: Results) -> Iterator[str]:
    yield "## Win rate by tool [%]"
    yield ""
    yield from render_table(
        ["variant", *results.tools],
        "l" + "r" * len(results.tools),
        [
            [_name_variant(row), *(format_rate(tool.win_rate) for tool in row.by_tool)]
            for row in results.variants
        ],
    )


def _render_by_judge(results: Results) -> Iterator[str]:
    if len(results.judges) < 2:  # noqa: PLR2004 - one judge's column is the headline
        return
    yield "## Win rate by judge [%]"
    yield ""
    yield from render_table(
        [
            "variant",
            *(
                mark_doubtful(name_judge(judge), f"win rate by {judge.name}", results)
                for judge in results.judges
            ),
        ],
        "l" + "r" * len(results.judges),
        [
            [_name_variant(row), *(format_rate(judge.win_rate) for judge in row.by_judge)]
            for row in results.variants
        ],
    )


def _render_validity(results: Results) -> Iterator[str]:
    yield "## Valid answers [%]"
    yield ""
    yield from render_table(
        [
            "variant",
            "as it stands",
            "after repair",
            "invalid",
            "empty",
            "cut off",
            *(f"valid {tool}" for tool in results.tools),
        ],
        "lrrrrr" + "r" * len(results.tools),
        [
            *(
                _list_validity(
                    _name_variant(row),
                    row.validity,
                    [tool.validity.valid_pct for tool in row.by_tool],
                )
                for row in results.variants
            ),
            _list_validity(
                f"{show(results.baseline.name)} (baseline)",
                results.baseline.validity,
                results.baseline.valid_pct_by_tool,
            ),
        ],
    )


def _list_validity(name: str, validity: Validity, by_tool: Iterable[float]) -> list[str]:
    shares = (
        validity.strict_pct,
        validity.fixed_pct,
        validity.invalid_pct,
        validity.empty_pct,
        validity.cut_off_pct,
    )
    return [name, *map(format_number, (*shares, *by_tool))]


def _render_controls(results: Results) -> Iterator[str]:
    rows = _of_kind(results, VariantKind.CONTROL)
    if not rows:
        return
    yield "## Controls"
    yield ""
    yield from render_table(
        [
            "control",
            "expected",
            f"better than {show(results.baseline.name)} rate [%]",
            "tie-adjusted [%]",
        ],
        "llrr",
        [
            [
                show(row.name),
                _EXPECTED[row.control] if row.control else NOTHING,
                format_rate(row.win_rate),
                format_rate(row.tie_adjusted),
            ]
            for row in rows
        ],
    )


def _render_failed(results: Results) -> Iterator[str]:
    if not results.failed:
        return
    yield "## Models that failed"
    yield ""
    yield from render_table(
        ["model", "reason", "message"],
        "lll",
        [[show(row.name), show(row.reason), show(row.message)] for row in results.failed],
    )


def _render_funnel(results: Results) -> Iterator[str]:
    if not results.funnel:
        return
    yield "## From the sources to the data"
    yield ""
    yield from render_table(
        ["step", "set", "counted", "in", "out", "left out, by reason"],
        "lllrrl",
        [
            [
                show(step.step),
                show(step.set),
                show(step.unit),
                str(step.taken),
                str(step.given),
                ", ".join(_list_left_out(step)),
            ]
            for step in results.funnel
        ],
    )


def _list_left_out(step: FunnelStep) -> Iterator[str]:
    if step.moved:
        yield f"{step.moved} to the other set"
    yield from (f"{show(reason)}: {count}" for reason, count in step.dropped.items())


def _render_contamination(results: Results) -> Iterator[str]:
    yield "## Training and evaluation"
    yield ""
    if results.contamination:
        yield f"{results.contamination.describe()}."
    else:
        yield "Nothing says whether training was kept apart from these pull requests."


def _render_list(title: str, entries: Sequence[str]) -> Iterator[str]:
    if not entries:
        return
    yield f"## {title}"
    yield ""
    yield from (f"- {' '.join(entry.split())}" for entry in entries)


def _of_kind(results: Results, kind: VariantKind) -> list[VariantResult]:
    return [row for row in results.variants if row.kind is kind]


def _name_variant(row: VariantResult) -> str:
    return f"{show(row.name)} ({KIND_WORDS[row.kind]})"
