"""The leaderboard, what fine-tuning changes, and the rates by tool and by judge."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from tunebench_api.contract import VariantKind
from tunebench_jobs.report.charts import (
    build_rate_scale,
    draw_axis,
    draw_change,
    draw_interval,
    draw_shares,
)
from tunebench_jobs.report.material import Material
from tunebench_jobs.report.published_2024 import load_published
from tunebench_jobs.report.svg import Scale
from tunebench_jobs.report.words import link_samples, name_control, name_kind
from tunebench_jobs.score.results import Rate, SizeGroup, Validity, VariantResult

_TONES = {
    VariantKind.FINE_TUNED: "tuned",
    VariantKind.UNTUNED: "untuned",
    VariantKind.CONTROL: "control",
}
_GROUPS = {
    SizeGroup.LARGE: "Large models",
    SizeGroup.SMALL: "Small models",
    None: "Models of unknown size",
}


@dataclass(frozen=True)
class BoardRow:
    """A variant in the leaderboard."""

    result: VariantResult
    base: str
    note: str
    drawing: Markup
    # Of the public table, in percent.
    published: float | None
    published_untuned: float | None
    link: str


@dataclass(frozen=True)
class BoardGroup:
    """Variants that are ranked among each other."""

    title: str
    rows: Sequence[BoardRow]


@dataclass(frozen=True)
class Board:
    """The leaderboard; `axis` stands above the drawings."""

    axis: Markup
    groups: Sequence[BoardGroup]
    has_ranks: bool
    has_published: bool
    has_lengths: bool


@dataclass(frozen=True)
class Change:
    """What fine-tuning changed of one model."""

    name: str
    before: Rate | None
    after: Rate | None
    delta: Rate | None
    drawing: Markup
    published_before: float | None
    published_after: float | None


@dataclass(frozen=True)
class Cell:
    """A rate with its drawing."""

    rate: Rate | None
    drawing: Markup


@dataclass(frozen=True)
class Grid:
    """Rates of all variants in several columns."""

    columns: Sequence[str]
    axis: Markup
    rows: Sequence[tuple[str, str, Sequence[Cell]]]


@dataclass(frozen=True)
class ValidRow:
    """How a variant's completions read."""

    name: str
    kind: str
    validity: Validity
    drawing: Markup
    by_tool: Sequence[float]


def build_board(material: Material) -> Board:
    """Build the leaderboard: fine-tuned models by size, then the un-tuned, then controls."""
    variants = material.results.variants
    published = load_published()
    found = {row.name: published.find(material.find_base(row)) for row in variants}
    shown = [
        each.untuned_pct if row.kind is VariantKind.UNTUNED else each.win_rate_pct
        for row in variants
        if row.kind is not VariantKind.CONTROL and (each := found[row.name])
    ]
    scale = build_rate_scale((row.win_rate for row in variants), shown)

    def build(row: VariantResult) -> BoardRow:
        known = found[row.name]
        value = None
        if known and row.kind is not VariantKind.CONTROL:
            tuned = row.kind is VariantKind.FINE_TUNED
            value = known.win_rate_pct if tuned else known.untuned_pct
        return BoardRow(
            result=row,
            base=_find_shown_base(material, row),
            note=name_control(row.control),
            drawing=draw_interval(row.win_rate, scale, _TONES[row.kind], value),
            published=value,
            published_untuned=known.untuned_pct if known else None,
            link=link_samples(model=row.name),
        )

    groups = [
        BoardGroup(title, [build(row) for row in rows])
        for title, rows in _group_variants(variants)
        if rows
    ]
    return Board(
        axis=draw_axis(scale),
        groups=groups,
        has_ranks=any(row.group_rank or row.rank for row in variants),
        has_published=any(row.published is not None for group in groups for row in group.rows),
        has_lengths=any(row.length_controlled for row in variants),
    )


def build_changes(material: Material) -> tuple[Markup, list[Change]]:
    """Build what fine-tuning changed, the largest change first, with the axis of the drawings."""
    by_name = {row.name: row for row in material.results.variants}
    pairs = [
        (by_name[row.untuned], row)
        for row in material.results.variants
        if row.kind is VariantKind.FINE_TUNED and row.untuned in by_name
    ]
    scale = build_rate_scale(each.win_rate for pair in pairs for each in pair)
    published = load_published()
    changes = []
    for before, after in pairs:
        known = published.find(material.find_base(after))
        both = known is not None and known.untuned_pct is not None
        changes.append(
            Change(
                name=after.name,
                before=before.win_rate,
                after=after.win_rate,
                delta=after.delta,
                drawing=draw_change(before.win_rate, after.win_rate, scale),
                published_before=known.untuned_pct if known and both else None,
                published_after=known.win_rate_pct if known and both else None,
            )
        )
    changes.sort(key=lambda each: -(each.delta.pct if each.delta else float("-inf")))
    return draw_axis(scale), changes


def build_tool_grid(material: Material) -> Grid:
    """Build the rates by tool."""
    results = material.results
    return _build_grid(
        results.variants, list(results.tools), lambda row: [each.win_rate for each in row.by_tool]
    )


def build_judge_grid(material: Material) -> Grid:
    """Build the rates by judge."""
    results = material.results
    return _build_grid(
        results.variants,
        [judge.name for judge in results.judges],
        lambda row: [each.win_rate for each in row.by_judge],
    )


def build_valid_rows(material: Material) -> list[ValidRow]:
    """Build how the completions of all variants and of the baseline read."""
    results = material.results
    rows = [
        ValidRow(
            row.name,
            name_kind(row.kind),
            row.validity,
            _draw_validity(row.validity),
            [tool.validity.valid_pct for tool in row.by_tool],
        )
        for row in results.variants
    ]
    baseline = results.baseline
    drawing = _draw_validity(baseline.validity)
    by_tool = baseline.valid_pct_by_tool
    return [*rows, ValidRow(baseline.name, "baseline", baseline.validity, drawing, by_tool)]


def _find_shown_base(material: Material, row: VariantResult) -> str:
    """Return the base of a variant, unless its name says as much."""
    base = material.find_base(row) or ""
    last = base.rpartition("/")[2].casefold()
    return "" if row.name.casefold().startswith(last) else base


def _group_variants(
    variants: Sequence[VariantResult],
) -> Iterator[tuple[str, list[VariantResult]]]:
    tuned = [row for row in variants if row.kind is VariantKind.FINE_TUNED]
    sized = [(group, [row for row in tuned if row.group is group]) for group in _GROUPS]
    there = [(group, rows) for group, rows in sized if rows]
    for group, rows in there:
        yield (_GROUPS[group] if len(there) > 1 else "Fine-tuned models"), rows
    for title, kind in (
        ("Before fine-tuning", VariantKind.UNTUNED),
        ("Controls", VariantKind.CONTROL),
    ):
        yield title, [row for row in variants if row.kind is kind]


def _build_grid(
    variants: Iterable[VariantResult],
    columns: Sequence[str],
    read: Callable[[VariantResult], Sequence[Rate | None]],
) -> Grid:
    rows = list(variants)
    scale = build_rate_scale(rate for row in rows for rate in read(row))

    def build(row: VariantResult, scale: Scale = scale) -> list[Cell]:
        tone = _TONES[row.kind]
        return [Cell(rate, draw_interval(rate, scale, tone)) for rate in read(row)]

    return Grid(
        columns, draw_axis(scale), [(row.name, name_kind(row.kind), build(row)) for row in rows]
    )


def _draw_validity(validity: Validity) -> Markup:
    return draw_shares(
        [
            ("good", validity.strict_pct),
            ("mended", validity.fixed_pct),
            ("bad", validity.invalid_pct),
        ]
    )
