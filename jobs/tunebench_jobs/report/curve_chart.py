"""The drawing of a training: one number over the steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple
from xml.etree.ElementTree import Element

from markupsafe import Markup

from tunebench_jobs.report.svg import Scale, drawing, element, format_tick, render

_WIDTH, _HEIGHT = 300, 150
_LEFT, _RIGHT, _TOP, _BOTTOM = 42, 8, 8, 22
# Beyond these, a tick would not fit beside the axis.
_THOUSANDS, _SMALL = 10_000, 0.001


class At(NamedTuple):
    """A value at a step."""

    step: int
    value: float


@dataclass(frozen=True)
class _Frame:
    """Where steps and values lie in the drawing."""

    steps: Scale
    values: Scale

    def x(self, step: float) -> float:
        return round(_LEFT + (_WIDTH - _LEFT - _RIGHT) * self.steps.place(step) / 100, 1)

    def y(self, value: float) -> float:
        share = self.values.place(value) / 100
        return round(_TOP + (_HEIGHT - _TOP - _BOTTOM) * (1 - share), 1)


def draw_curve(curve: Sequence[At], title: str, quantity: str, values: Scale) -> Markup:
    """Draw a quantity over the steps of one training, on an axis that all trainings share."""
    first, last = curve[0], curve[-1]
    frame = _Frame(Scale(0, last.step), values)
    svg = drawing(class_="curve", viewBox=f"0 0 {_WIDTH} {_HEIGHT}", role="img")
    svg.set(
        "aria-label",
        f"{title}: {quantity} {first.value:,.4g} at step {first.step}, "
        f"{last.value:,.4g} at step {last.step}",
    )
    _add_axes(svg, frame)
    points = " ".join(f"{frame.x(each.step)},{frame.y(each.value)}" for each in curve)
    element(svg, "polyline", class_="loss", points=points)
    if len(curve) == 1:
        at = (frame.x(last.step), frame.y(last.value))
        element(svg, "circle", class_="loss-point", cx=at[0], cy=at[1], r=3)
    return render(svg)


def format_short(value: float) -> str:
    """Return a round number in at most five signs or so."""
    if abs(value) >= _THOUSANDS:
        return f"{format_tick(value / 1000)}k"
    if 0 < abs(value) < _SMALL:
        digits, power = f"{value:.1e}".split("e")
        return f"{float(digits):g}e{int(power)}"
    return format_tick(value)


def _add_axes(svg: Element, frame: _Frame) -> None:
    left, right, below = _LEFT, _WIDTH - _RIGHT, _HEIGHT - 6
    for tick in frame.values.ticks:
        y = frame.y(tick)
        element(svg, "line", class_="grid", x1=left, x2=right, y1=y, y2=y)
        element(svg, "text", format_short(tick), x=left - 6, y=y + 3.5, text_anchor="end")
    end = frame.steps.high
    element(svg, "text", "0", x=left, y=below, text_anchor="start")
    element(svg, "text", "step", x=(left + right) / 2, y=below, text_anchor="middle")
    element(svg, "text", f"{end:,.0f}", x=right, y=below, text_anchor="end")
