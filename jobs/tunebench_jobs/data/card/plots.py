"""Histograms of lengths, for light and for dark pages."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

from tunebench_jobs.data.card.counts import CHANGED_LINES, DIFF_CHARACTERS, SetFacts

# The background is the page's own; these can be read on white and on black.
_INK, _FAINT = "#7d8590", "#7d859033"
_TRAIN, _TEST = "#3d8bdb", "#e2853a"
_TOOLS = ("#3d8bdb", "#e2853a", "#3aa67a")
_BINS_PER_OCTAVE = 2


def draw_lengths(train: SetFacts, test: SetFacts) -> bytes:
    """Return a PNG with how long pull requests and answers are; the same facts, the same bytes."""
    import matplotlib as mpl  # noqa: PLC0415 - a second that other commands need not pay
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415 - likewise
    from matplotlib.figure import Figure  # noqa: PLC0415 - likewise
    from matplotlib.layout_engine import ConstrainedLayoutEngine  # noqa: PLC0415 - likewise

    # Not this machine's settings, and no window.
    with mpl.rc_context():
        mpl.rcdefaults()
        # With room for the legends.
        layout = ConstrainedLayoutEngine(rect=(0, 0, 1, 0.93))
        figure = Figure(figsize=(12, 3.6), dpi=144, layout=layout)
        canvas: Any = FigureCanvasAgg(figure)
        panels = figure.subplots(1, 3)
        for axes, measure in zip(panels, (CHANGED_LINES, DIFF_CHARACTERS), strict=False):
            sets = {"train": (train.sizes[measure], _TRAIN), "test": (test.sizes[measure], _TEST)}
            _draw(axes, sets, f"{measure} of a pull request", "pull requests [%]")
        answers = dict(zip(train.answers, _TOOLS, strict=True))
        tools = {
            tool: ([*train.answers[tool], *test.answers[tool]], color)
            for tool, color in answers.items()
        }
        _draw(panels[2], tools, "characters of an answer", "answers [%]")
        file = io.BytesIO()
        # The library's version would change the bytes and tell nobody anything.
        canvas.print_png(file, metadata={"Software": None})
    return file.getvalue()


def _draw(
    axes: Any, series: Mapping[str, tuple[Sequence[int], str]], x_label: str, y_label: str
) -> None:
    """Draw distributions over one logarithmic axis, each as shares of its own total."""
    import numpy as np  # noqa: PLC0415 - as above

    there = {name: np.maximum(values, 1) for name, (values, _) in series.items() if values}
    least = min((int(values.min()) for values in there.values()), default=1)
    most = max((int(values.max()) for values in there.values()), default=1)
    # From the power of two below all values to the one above.
    octaves = (least.bit_length() - 1, most.bit_length())
    steps = np.arange(octaves[0] * _BINS_PER_OCTAVE, octaves[1] * _BINS_PER_OCTAVE + 1)
    edges = np.power(2.0, steps / _BINS_PER_OCTAVE)
    for index, (name, values) in enumerate(there.items()):
        shares = 100 * np.histogram(values, edges)[0] / len(values)
        color = series[name][1]
        axes.stairs(shares, edges, color=color, linewidth=1.6, label=name, zorder=3 + index)
        axes.stairs(shares, edges, color=color, alpha=0.14, fill=True, linewidth=0)
    _style(axes, x_label, y_label)
    if there:
        _show_legend(axes)
    else:
        axes.text(0.5, 0.5, "none", color=_INK, ha="center", transform=axes.transAxes)


def _style(axes: Any, x_label: str, y_label: str) -> None:
    from matplotlib import ticker  # noqa: PLC0415 - as above

    axes.figure.patch.set_alpha(0)
    axes.patch.set_alpha(0)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(ticker.EngFormatter(sep=""))
    axes.xaxis.set_minor_formatter(ticker.NullFormatter())
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_locator(ticker.MaxNLocator(6, integer=True))
    axes.set_xlabel(x_label, color=_INK)
    axes.set_ylabel(y_label, color=_INK)
    axes.tick_params(which="both", colors=_INK, length=0)
    axes.grid(axis="y", color=_FAINT, linewidth=0.8)
    axes.set_axisbelow(True)
    for side, spine in axes.spines.items():
        spine.set_visible(side == "bottom")
        spine.set_color(_INK)


def _show_legend(axes: Any) -> None:
    # Above the panel, where no curve is.
    legend = axes.legend(
        frameon=False,
        labelcolor=_INK,
        fontsize=9,
        loc="lower left",
        bbox_to_anchor=(0, 1),
        borderaxespad=0,
        ncols=3,
        handlelength=1.2,
        columnspacing=1,
    )
    # All panels are equally wide, whatever their legends hold.
    legend.set_in_layout(False)
