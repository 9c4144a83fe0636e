"""SVG in small: elements whose text is escaped, and scales.

Positions along the axis are in percent, so that a drawing fills whatever room it gets without
being stretched. Colours come from the style sheet by class.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, floor, log10
from xml.etree.ElementTree import Element, SubElement, tostring

from markupsafe import Markup

from tunebench_jobs.report.words import show_hidden

_STEPS = (1, 2, 2.5, 5, 10)
# Values that are closer to a tick than this share of a step lie on it.
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Scale:
    """A straight axis from `low` to `high`."""

    low: float
    high: float
    ticks: tuple[float, ...] = ()

    def place(self, value: float) -> float:
        """Return where a value lies, in percent of the axis; what is off it, at its end."""
        share = (value - self.low) / (self.high - self.low)
        return round(100 * min(1.0, max(0.0, share)), 2)


def build_scale(values: Sequence[float], *, ticks: int = 4, floor_at: float | None = None) -> Scale:
    """Build an axis with round ends that holds all values, and zero where `floor_at` is given."""
    shown = [*values, *([] if floor_at is None else [floor_at])] or [0.0]
    low, high = min(shown), max(shown)
    step = _build_step((high - low) / ticks if high > low else max(abs(high), 1.0) / ticks)
    start = floor(low / step + _ROUNDING)
    end = max(ceil(high / step - _ROUNDING), start + 1)
    marks = tuple(round(number * step, 10) for number in range(start, end + 1))
    return Scale(marks[0], marks[-1], marks)


def format_tick(value: float) -> str:
    """Return the shortest text of a round number."""
    return f"{value:.6g}".replace("-", "\N{MINUS SIGN}")


def element(parent: Element, tag: str, text: str = "", **attributes: str | float) -> Element:
    """Add an element; `class_` and `text_anchor` become `class` and `text-anchor`."""
    names = {name.rstrip("_").replace("_", "-"): str(each) for name, each in attributes.items()}
    child = SubElement(parent, tag, names)
    child.text = text
    return child


def drawing(**attributes: str | float) -> Element:
    """Begin a drawing."""
    root = Element("holder")
    return element(root, "svg", "", **attributes)


def render(root: Element) -> Markup:
    """Return a drawing as markup, with all of its texts and attributes escaped."""
    for each in root.iter():
        each.text = show_hidden(each.text or "")
        each.attrib.update({name: show_hidden(value) for name, value in each.items()})
    return Markup(tostring(root, encoding="unicode"))  # noqa: S704 - escaped by the library


def percent(value: float) -> str:
    """Return a length as SVG writes it."""
    return f"{value:g}%"


def _build_step(rough: float) -> float:
    power = 10.0 ** floor(log10(rough))
    return next(power * step for step in _STEPS if power * step >= rough * (1 - _ROUNDING))
