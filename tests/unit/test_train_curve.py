"""The curve of a training: short, whole, and the same however often it was interrupted."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunebench_jobs.train.curve import MAX_POINTS, Curve, CurvePoint, extend_curve
from tunebench_jobs.train.layout import Position


def make_curve(steps: int) -> Curve:
    """Return the curve of so many steps, whose loss is the number of the step."""
    curve: Curve = ()
    for step in range(1, steps + 1):
        curve = extend_curve(
            curve,
            CurvePoint(
                step=step,
                loss=float(step),
                learning_rate=1 / step,
                tokens=10 * step,
                gradient_norm=2.0 * step,
                seconds=step / 2,
            ),
        )
    return curve


@given(steps=st.integers(0, 3 * MAX_POINTS))
def test_every_step_is_in_the_curve_once(steps: int) -> None:
    """The means over the points are the mean over the steps, and there are never too many."""
    curve = make_curve(steps)

    assert len(curve) <= MAX_POINTS
    assert sum(point.steps for point in curve) == steps
    total = sum(point.loss * point.steps for point in curve)
    assert total == pytest.approx(steps * (steps + 1) / 2)
    assert [point.step for point in curve] == sorted({point.step for point in curve})
    assert not curve or (curve[-1].step, curve[-1].tokens) == (steps, 10 * steps)
    assert not curve or curve[-1].seconds == steps / 2
    norms = sum((point.gradient_norm or 0) * point.steps for point in curve)
    assert norms == pytest.approx(2 * total)


def test_points_cover_equally_many_steps() -> None:
    """All points but the last stand for the same number of steps."""
    curve = make_curve(4 * MAX_POINTS + 3)

    assert {point.steps for point in curve[:-1]} == {8}
    assert curve[-1].steps == 3


def test_a_resume_point_without_a_curve_is_still_one() -> None:
    """A position that an earlier version wrote goes on."""
    position = Position.model_validate_json('{"step": 7, "tokens": 9}')

    assert (position.step, position.curve) == (7, ())
