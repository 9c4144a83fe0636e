"""The curve of a training: its loss over the steps, short however long the training is.

It is part of the position of a resume point, so that a training that was interrupted has a whole
curve. Once it has too many points, each two neighbours become one.
"""

from __future__ import annotations

from tunebench_jobs.records import Record

CURVE_FILE = "curve.jsonl"
MAX_POINTS = 512


class CurvePoint(Record):
    """Some steps in a row, up to and with `step`."""

    step: int
    # Mean over these steps.
    loss: float
    # Of the last of them.
    learning_rate: float
    # Trained on so far, padding left out.
    tokens: int
    # How many steps these are.
    steps: int = 1
    # Mean over these steps, before clipping; absent: an earlier version, or not known.
    gradient_norm: float | None = None
    # Spent in steps so far, those of interrupted attempts included; absent: an earlier version.
    seconds: float | None = None


Curve = tuple[CurvePoint, ...]


def extend_curve(curve: Curve, point: CurvePoint) -> Curve:
    """Return a curve with one more step.

    The number of steps in a point is a power of two and the same for all points but the last, so
    that the curve does not depend on where a training was interrupted.
    """
    stride = curve[0].steps if curve else 1
    last = curve[-1] if curve else None
    if last and last.steps < stride:
        return (*curve[:-1], _merge(last, point))
    if len(curve) < MAX_POINTS:
        return (*curve, point)
    pairs = zip(curve[::2], curve[1::2], strict=True)
    return (*(_merge(left, right) for left, right in pairs), point)


def _merge(left: CurvePoint, right: CurvePoint) -> CurvePoint:
    steps = left.steps + right.steps

    def mean(one: float, other: float) -> float:
        return (one * left.steps + other * right.steps) / steps

    norm = None
    if left.gradient_norm is not None and right.gradient_norm is not None:
        norm = mean(left.gradient_norm, right.gradient_norm)
    return right.model_copy(
        update={"loss": mean(left.loss, right.loss), "gradient_norm": norm, "steps": steps}
    )
