"""The leaderboard as Markdown, in the shape of the two tables of the public benchmark."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from tunebench_api.contract import VariantKind
from tunebench_api.v1alpha1 import Control
from tunebench_jobs.score.judges import NOT_AN_LLM
from tunebench_jobs.score.results import (
    FunnelStep,
    JudgeResult,
    Rate,
    Results,
    Validity,
    VariantResult,
)

NOTHING = "n/a"
NO_INTERVAL = "no interval"
_MAX_CELL = 300
_SPECIAL = re.compile(r"([\\`*_{}\[\]<>#|~])")
_EXPECTED = {
    Control.NULL: "must lose",
    Control.SELF: "must come out even: 50, tie-adjusted",
}


def render_markdown(results: Results) -> str:
    """Render everything that a reader needs, from the results alone."""
    sections = (
        [f"# {_escape(results.run)}", "", *_render_intro(results)],
        _render_ranking(results),
        _render_impact(results),
        _render_tools(results),
        _render_by_judge(results),
        _render_judges(results),
        _render_agreement(results),
        _render_validity(results),
        _render_controls(results),
        _render_failed(results),
        _render_funnel(results),
        _render_contamination(results),
        _render_list("Warnings", [warned.message for warned in results.warnings]),
        _render_list("What to keep in mind", results.notes),
    )
    return "\n\n".join("\n".join(lines) for lines in map(list, sections) if lines) + "\n"


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


def _format_change(delta: Rate | None) -> str:
    if delta is None:
        return NOTHING
    if delta.lo is None or delta.hi is None:
        return f"{delta.pct:+.1f} ({NO_INTERVAL})"
    return f"{delta.pct:+.1f} ({delta.lo:+.1f} to {delta.hi:+.1f})"


def name_judge(judge: JudgeResult) -> str:
    """Return a judge's name; the reference judge is never taken for an LLM."""
    return _escape(judge.name) if judge.llm else f"{_escape(judge.name)} ({NOT_AN_LLM})"


def _render_intro(results: Results) -> Iterator[str]:
    panel = [judge for judge in results.judges if judge.in_panel]
    judges = ", ".join(map(name_judge, panel))
    yield (
        f"{results.tasks} tasks of {results.pull_requests} pull requests "
        f"({', '.join(results.tools)}), each judged in both orders against "
        f"`{_escape_code(results.baseline.name)}` by {judges}."
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
    rows = _of_kind(results, VariantKind.FINE_TUNED)
    if not rows:
        return
    yield "## After fine-tuning"
    yield ""
    yield from _render_table(
        [
            "model",
            "size [B]",
            f"better than {_escape(results.baseline.name)} rate [%]",
            "tie-adjusted [%]",
            "tasks",
            "missing verdicts",
        ],
        "lrrrrr",
        [
            [
                _escape(row.name),
                row.size_billions or NOTHING,
                format_rate(row.win_rate),
                format_rate(row.tie_adjusted),
                str(row.tasks),
                str(row.missing),
            ]
            for row in rows
        ],
    )


def _render_impact(results: Results) -> Iterator[str]:
    by_name = {row.name: row for row in results.variants}
    rows = [row for row in _of_kind(results, VariantKind.FINE_TUNED) if row.untuned in by_name]
    if not rows:
        return
    yield "## What fine-tuning changes"
    yield ""
    yield from _render_table(
        [
            "model",
            "un-tuned [%]",
            "fine-tuned [%]",
            "change [points]",
        ],
        "lrrr",
        [
            [
                _escape(row.name),
                format_rate(by_name[row.untuned or ""].win_rate),
                format_rate(row.win_rate),
                _format_change(row.delta),
            ]
            for row in rows
        ],
    )


def _render_tools(results: Results) -> Iterator[str]:
    yield "## Win rate by tool [%]"
    yield ""
    yield from _render_table(
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
    yield from _render_table(
        ["variant", *map(name_judge, results.judges)],
        "l" + "r" * len(results.judges),
        [
            [_name_variant(row), *(format_rate(judge.win_rate) for judge in row.by_judge)]
            for row in results.variants
        ],
    )


def _render_judges(results: Results) -> Iterator[str]:
    yield "## Judges"
    yield ""
    yield from _render_table(
        [
            "judge",
            "model",
            "verdicts",
            "missing",
            "same winner in both orders [%]",
            "first place wins [%]",
            "ties [%]",
            "asked again",
            "cost [USD]",
        ],
        "llrrrrrrr",
        [
            [
                name_judge(judge),
                f"`{_escape_code(judge.model)}`",
                str(judge.verdicts),
                str(sum(judge.missing.values())),
                _format_number(judge.order_consistency_pct),
                _format_number(judge.first_slot_pct),
                _format_number(judge.ties_pct),
                str(judge.re_asks),
                "unknown" if judge.cost_usd is None else f"{judge.cost_usd:.2f}",
            ]
            for judge in results.judges
        ],
    )


def _render_agreement(results: Results) -> Iterator[str]:
    if not results.agreement:
        return
    names = {judge.name: name_judge(judge) for judge in results.judges}
    yield "## Agreement of judges"
    yield ""
    yield from _render_table(
        ["judges", "comparisons", "same verdict [%]", "Cohen's kappa"],
        "lrrr",
        [
            [
                " and ".join(names[name] for name in pair.judges),
                str(pair.comparisons),
                _format_number(pair.raw_pct),
                NOTHING if pair.kappa is None else f"{pair.kappa:.2f}",
            ]
            for pair in results.agreement
        ],
    )


def _render_validity(results: Results) -> Iterator[str]:
    yield "## Valid answers [%]"
    yield ""
    yield from _render_table(
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
                f"{_escape(results.baseline.name)} (baseline)",
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
    return [name, *map(_format_number, (*shares, *by_tool))]


def _render_controls(results: Results) -> Iterator[str]:
    rows = _of_kind(results, VariantKind.CONTROL)
    if not rows:
        return
    yield "## Controls"
    yield ""
    yield from _render_table(
        [
            "control",
            "expected",
            f"better than {_escape(results.baseline.name)} rate [%]",
            "tie-adjusted [%]",
        ],
        "llrr",
        [
            [
                _escape(row.name),
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
    yield from _render_table(
        ["model", "reason", "message"],
        "lll",
        [[_escape(row.name), _escape(row.reason), _escape(row.message)] for row in results.failed],
    )


def _render_funnel(results: Results) -> Iterator[str]:
    if not results.funnel:
        return
    yield "## From the sources to the data"
    yield ""
    yield from _render_table(
        ["step", "set", "counted", "in", "out", "left out, by reason"],
        "lllrrl",
        [
            [
                _escape(step.step),
                _escape(step.set),
                _escape(step.unit),
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
    yield from (f"{_escape(reason)}: {count}" for reason, count in step.dropped.items())


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


def _render_table(
    head: Sequence[str], alignment: str, rows: Iterable[Sequence[str]]
) -> Iterator[str]:
    rules = ["---:" if side == "r" else "---" for side in alignment]
    for cells in (head, rules, *rows):
        yield f"| {' | '.join(cells)} |"


def _of_kind(results: Results, kind: VariantKind) -> list[VariantResult]:
    return [row for row in results.variants if row.kind is kind]


def _name_variant(row: VariantResult) -> str:
    kinds = {
        VariantKind.FINE_TUNED: "fine-tuned",
        VariantKind.UNTUNED: "un-tuned",
        VariantKind.CONTROL: "control",
    }
    return f"{_escape(row.name)} ({kinds[row.kind]})"


def _format_number(number: float | None) -> str:
    return NOTHING if number is None else f"{number:.1f}"


def _flatten(text: str) -> str:
    """Return text of others as one line of bounded length that cannot steer a terminal."""
    line = "".join(each for each in " ".join(text.split()) if each.isprintable())
    return line if len(line) <= _MAX_CELL else f"{line[: _MAX_CELL - 1]}…"


def _escape(text: str) -> str:
    return _SPECIAL.sub(r"\\\1", _flatten(text))


def _escape_code(text: str) -> str:
    return _flatten(text).replace("`", "'").replace("|", "\\|")
