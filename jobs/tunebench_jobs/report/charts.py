"""The drawings of the report that stand in rows: intervals, changes and shares."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from xml.etree.ElementTree import Element

from markupsafe import Markup

from tunebench_jobs.report.svg import (
    Scale,
    build_scale,
    drawing,
    element,
    format_tick,
    percent,
    render,
)
from tunebench_jobs.score.results import Rate

_ROW_HEIGHT = 24
_MIDDLE = _ROW_HEIGHT / 2


def build_rate_scale(rates: Iterable[Rate | None], extra: Iterable[float | None] = ()) -> Scale:
    """Build the axis of rates, from zero, with the ends of their intervals on it."""
    values = [
        value
        for rate in rates
        if rate
        for value in (rate.pct, rate.lo, rate.hi)
        if value is not None
    ]
    return build_scale([*values, *(each for each in extra if each is not None)], floor_at=0.0)


def draw_interval(
    rate: Rate | None, scale: Scale, tone: str = "tuned", published: float | None = None
) -> Markup:
    """Draw a rate with its interval; the numbers stand beside it, so that nobody has to see it."""
    svg = _begin_row(scale)
    if rate is not None:
        _add_interval(svg, rate, scale, tone)
    if published is not None:
        _add_diamond(svg, scale.place(published))
    return render(svg)


def draw_change(before: Rate | None, after: Rate | None, scale: Scale) -> Markup:
    """Draw the way from the un-tuned rate to the fine-tuned one."""
    svg = _begin_row(scale)
    if before and after:
        ends = (percent(scale.place(each.pct)) for each in (before, after))
        start, end = ends
        element(svg, "line", class_="way", x1=start, x2=end, y1=_MIDDLE, y2=_MIDDLE)
    for rate, tone in ((before, "untuned"), (after, "tuned")):
        if rate:
            _add_interval(svg, rate, scale, tone)
    return render(svg)


def draw_axis(scale: Scale) -> Markup:
    """Draw the numbers of an axis, to stand above rows."""
    svg = drawing(class_="axis", width="100%", height=16, aria_hidden="true")
    for tick in scale.ticks:
        anchor = {scale.low: "start", scale.high: "end"}.get(tick, "middle")
        element(
            svg,
            "text",
            format_tick(tick),
            x=percent(scale.place(tick)),
            y=12,
            text_anchor=anchor,
        )
    return render(svg)


def draw_shares(shares: Sequence[tuple[str, float]]) -> Markup:
    """Draw shares in percent that add up to 100 as one bar."""
    svg = drawing(class_="shares", width="100%", height=14, aria_hidden="true")
    start = 0.0
    for tone, share in shares:
        if share > 0:
            width = percent(round(share, 2))
            element(svg, "rect", class_=tone, x=percent(round(start, 2)), width=width, height=14)
        start += share
    return render(svg)


def _begin_row(scale: Scale) -> Element:
    svg = drawing(class_="bar", width="100%", height=_ROW_HEIGHT, aria_hidden="true")
    for tick in scale.ticks:
        x = percent(scale.place(tick))
        element(svg, "line", class_="grid", x1=x, x2=x, y1=0, y2=_ROW_HEIGHT)
    return svg


def _add_interval(svg: Element, rate: Rate, scale: Scale, tone: str) -> None:
    if rate.lo is not None and rate.hi is not None:
        low, high = percent(scale.place(rate.lo)), percent(scale.place(rate.hi))
        element(svg, "line", class_=f"span {tone}", x1=low, x2=high, y1=_MIDDLE, y2=_MIDDLE)
    place = percent(scale.place(rate.pct))
    element(svg, "circle", class_=f"point {tone}", cx=place, cy=_MIDDLE, r=4.5)


def _add_diamond(svg: Element, place: float) -> None:
    """Add a diamond round a place in percent: a small square, turned in a drawing of its own."""
    inner = element(svg, "svg", x=percent(place), y=_MIDDLE, overflow="visible")
    element(inner, "path", class_="published", d="M0 -5 L5 0 L0 5 L-5 0 Z")


def draw_strip(values: Sequence[float], scale: Scale) -> Markup:
    """Draw several rates on one line, and their mean as a bar across it."""
    svg = _begin_row(scale)
    for value in values:
        place = percent(scale.place(value))
        element(svg, "circle", class_="point many", cx=place, cy=_MIDDLE, r=4.5)
    mean = percent(scale.place(sum(values) / len(values)))
    element(svg, "line", class_="mean", x1=mean, x2=mean, y1=3, y2=_ROW_HEIGHT - 3)
    return render(svg)
