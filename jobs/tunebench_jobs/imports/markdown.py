"""Scored imports as Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tunebench_jobs.imports.results import BoardResult, ImportedResults, ImportedVariant
from tunebench_jobs.markdown import build_table, show
from tunebench_jobs.score.markdown import NOTHING, format_rate

# Of pairs, the closest at the top of the table are what people ask for.
_MAX_PAIRS = 30


def render_imports(results: ImportedResults) -> str:
    """Render everything that a reader needs, from the results alone."""
    sections: list[list[str]] = [["# Imported verdicts", "", *_render_sets(results)]]
    for board in results.boards:
        sections += [
            [f"## {board.source}: against {show(board.baseline)}", "", *_render_ranking(board)],
            list(_render_figures(board)),
            list(_render_groups(board)),
            list(_render_judges(board)),
            list(_render_pairs(board)),
        ]
    sections.append(list(_render_list("Warnings", [each.message for each in results.warnings])))
    sections.append(list(_render_list("What to keep in mind", results.notes)))
    return "\n\n".join("\n".join(lines) for lines in sections if lines) + "\n"


def _render_sets(results: ImportedResults) -> Iterator[str]:
    rows: list[list[str | int]] = [
        [
            f"`{each.name}`",
            str(each.format),
            len(each.sources),
            sum(source.rows for source in each.sources),
            ", ".join(f"{reason} {count}" for reason, count in each.left_out.items()) or "nothing",
        ]
        for each in results.sets
    ]
    yield build_table(["set", "format", "files", "rows", "left out"], rows)


def _render_ranking(board: BoardResult) -> Iterator[str]:
    header = [
        *("rank", "model", "preference [%]", "win rate [%]", "tie-adjusted [%]"),
        *("length-controlled [%]", "tasks", "missing verdicts"),
    ]
    rows: list[list[str | int]] = [
        [
            _format_ranks(row),
            show(row.name),
            format_rate(row.preference),
            format_rate(row.win_rate),
            format_rate(row.tie_adjusted),
            _format_controlled(row),
            f"{row.judged}/{row.tasks}",
            row.missing,
        ]
        for row in board.variants
    ]
    yield build_table(header, rows)


def _render_figures(board: BoardResult) -> Iterator[str]:
    rows: list[list[str | int]] = [
        [show(row.name), show(judged.name), f"`{each.name}`", f"{each.value:.4f}", each.counted]
        for row in board.variants
        for judged in row.by_judge
        for each in judged.figures
    ]
    if rows:
        yield f"### As {board.source} computes it"
        yield ""
        header = ["model", "judge", "figure", "value [%]", "counted"]
        yield build_table(header, rows)


def _render_groups(board: BoardResult) -> Iterator[str]:
    rows: list[list[str | int]] = [
        [
            show(row.name),
            show(group.name or "(none)"),
            group.tasks,
            format_rate(group.preference),
            format_rate(group.win_rate),
        ]
        for row in board.variants
        for group in row.by_group
    ]
    if rows:
        yield "### By group of questions"
        yield ""
        header = ["model", "group", "tasks", "preference [%]", "win rate [%]"]
        yield build_table(header, rows)


def _render_judges(board: BoardResult) -> Iterator[str]:
    yield "### Judges"
    yield ""
    header = [
        "judge",
        "verdicts",
        "missing",
        "same in both orders [%]",
        "first wins [%]",
        "ties [%]",
    ]
    rows: list[list[str | int]] = [
        [
            show(judge.name),
            judge.verdicts,
            ", ".join(f"{cause} {count}" for cause, count in judge.missing.items()) or "0",
            *(
                NOTHING if share is None else f"{share:.1f}"
                for share in (judge.order_consistency_pct, judge.first_slot_pct, judge.ties_pct)
            ),
        ]
        for judge in board.judges
    ]
    yield build_table(header, rows)
    for pair in board.agreement:
        kappa = NOTHING if pair.kappa is None else f"{pair.kappa:.2f}"
        yield ""
        yield (
            f"{show(pair.judges[0])} and {show(pair.judges[1])} agree on {pair.raw_pct:.1f}% of "
            f"{pair.comparisons} comparisons (kappa {kappa})."
        )


def _render_pairs(board: BoardResult) -> Iterator[str]:
    rows: list[list[str | int]] = [
        [
            show(pair.better),
            show(pair.worse),
            pair.tasks,
            format_rate(pair.difference),
            f"{pair.p_holm:.4f}",
            "yes" if pair.significant else "no",
        ]
        for pair in board.pairs[:_MAX_PAIRS]
    ]
    if rows:
        yield "### Model against model"
        yield ""
        header = ["better", "worse", "tasks", "difference [points]", "p (Holm)", "significant"]
        yield build_table(header, rows)
        if len(board.pairs) > _MAX_PAIRS:
            yield ""
            yield f"{len(board.pairs) - _MAX_PAIRS} more pairs are in `results.json`."


def _render_list(title: str, lines: Sequence[str]) -> Iterator[str]:
    if lines:
        yield f"## {title}"
        yield ""
        yield from (f"- {show(line)}" for line in lines)


def _format_ranks(row: ImportedVariant) -> str:
    low, high = row.rank_low, row.rank_high
    return str(low) if low == high else f"{low}-{high}"


def _format_controlled(row: ImportedVariant) -> str:
    if row.length is None or row.length.controlled is None:
        return NOTHING
    mark = " (extrapolated)" if row.length.extrapolated else ""
    return format_rate(row.length.controlled) + mark
