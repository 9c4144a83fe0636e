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


Curve = tuple[CurvePoint, ...]


def extend_curve(
    curve: Curve, *, step: int, loss: float, learning_rate: float, tokens: int
) -> Curve:
    """Return a curve with one more step.

    The number of steps in a point is a power of two and the same for all points but the last, so
    that the curve does not depend on where a training was interrupted.
    """
    stride = curve[0].steps if curve else 1
    last = curve[-1] if curve else None
    point = CurvePoint(step=step, loss=loss, learning_rate=learning_rate, tokens=tokens)
    if last and last.steps < stride:
        return (*curve[:-1], _merge(last, point))
    if len(curve) < MAX_POINTS:
        return (*curve, point)
    pairs = zip(curve[::2], curve[1::2], strict=True)
    return (*(_merge(left, right) for left, right in pairs), point)


def _merge(left: CurvePoint, right: CurvePoint) -> CurvePoint:
    steps = left.steps + right.steps
    mean = (left.loss * left.steps + right.loss * right.steps) / steps
    return right.model_copy(update={"loss": mean, "steps": steps})
