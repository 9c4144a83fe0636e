"""When a training is stopped: planted losses stop it, noise does not."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest

from tunebench_jobs.errors import InputError
from tunebench_jobs.train.layout import Position
from tunebench_jobs.train.watch import (
    WINDOW,
    check_below_start,
    check_exploding,
    check_finite,
    check_learnable,
    check_vocabulary,
)


def _watch(losses: Sequence[float]) -> int | None:
    """Return the step at which a training with these losses is stopped."""
    for step in range(1, len(losses) + 1):
        position = Position(
            step=step,
            first_losses=tuple(losses[:step][:WINDOW]),
            recent_losses=tuple(losses[:step][-WINDOW:]),
        )
        try:
            check_exploding(position)
        except InputError:
            return step
    return None


def _fall(count: int, *, noise: float, seed: int) -> list[float]:
    """Return the losses of a healthy training on small batches."""
    draws = random.Random(seed)  # noqa: S311 - noise, not secrecy
    return [
        (0.5 + 1.2 * 0.99**step) * draws.lognormvariate(-(noise**2) / 2, noise)
        for step in range(count)
    ]


@pytest.mark.parametrize("loss", [float("nan"), float("inf"), float("-inf")])
def test_loss_that_is_no_number_stops_at_once(loss: float) -> None:
    """The error names the step and what to change."""
    with pytest.raises(InputError, match=r"at step 3; lower `learningRate`") as caught:
        check_finite(loss, 3)

    assert caught.value.reason == "LossNotFinite"


def test_explosion_is_named_with_its_remedy() -> None:
    """Where the loss was, where it is, and what to change."""
    wild = Position(step=4, first_losses=(1.5, 40.0), recent_losses=(1.5, 40.0, 50.0, 60.0))

    with pytest.raises(InputError, match=r"1\.50 .* got 50\.00 at step 4.*learningRate") as caught:
        check_exploding(wild)

    assert caught.value.reason == "LossExploded"


def test_wild_loss_stops_within_three_steps() -> None:
    """Also in a run of a few steps."""
    assert _watch([1.5, 1.4, 40.0, 900.0, 5000.0, 9000.0]) == 5


def test_risen_loss_stops_within_a_window() -> None:
    """A model that forgets its language is worse than before, but not worse than guessing."""
    healthy = _fall(40, noise=0.2, seed=1)

    assert _watch([*healthy, *[7.5] * 20]) in range(43, 50)


@pytest.mark.parametrize(
    "losses",
    [
        [1.5, 1.4, 300.0, 1.4, 1.3, 250.0, 1.3, *[1.2] * 30],
        [6.1, 9.0, 8.0, 7.0, *[5.0] * 30],
        [40.0, 39.0, 38.0, 30.0],
        [0.05, 1.2, 0.7, 0.9, 0.04, 0.8, 1.1, 0.6, *[0.9, 0.1] * 12],
    ],
    ids=["lone spikes", "hump of a warm-up", "random weights", "batches of one example"],
)
def test_rough_training_goes_on(losses: list[float]) -> None:
    """What is common in good trainings stops none."""
    assert _watch(losses) is None


def test_noise_stops_no_training() -> None:
    """Of 500 healthy trainings on noisy batches, none is stopped."""
    assert [seed for seed in range(500) if _watch(_fall(60, noise=0.5, seed=seed))] == []


@pytest.mark.parametrize("end", [1.5, 1.6, float("nan")])
def test_loss_that_is_not_below_the_start_is_refused(end: float) -> None:
    """Equal is not below: then nothing was learnt."""
    with pytest.raises(InputError, match=r"got 1\.5000 before") as caught:
        check_below_start(1.5, end, 100)

    assert caught.value.reason == "LossNotBelowStart"


@pytest.mark.parametrize(("start", "end", "steps"), [(1.5, 1.4, 8), (1.5, 1.6, 7), (None, 2.0, 99)])
def test_learnt_short_and_unwatched_trainings_pass(
    start: float | None, end: float, steps: int
) -> None:
    """A few steps may do anything; a resume point of an earlier version has no start."""
    check_below_start(start, end, steps)


@pytest.mark.parametrize(
    ("learnt", "wanted", "reason"),
    [(0, 0, "NoTrainableToken"), (0, 12, "NoTrainableToken"), (11, 12, "AnswerTruncated")],
)
def test_batch_must_teach_its_answers(learnt: int, wanted: int, reason: str) -> None:
    """All of their tokens."""
    check_learnable(12, 12, 1)

    with pytest.raises(InputError) as caught:
        check_learnable(learnt, wanted, 5)

    assert caught.value.reason == reason


def test_each_token_has_an_embedding() -> None:
    """The highest id is one less than their number."""
    check_vocabulary(399, 400)

    with pytest.raises(InputError, match="got 400 of them and token 400") as caught:
        check_vocabulary(400, 400)

    assert caught.value.reason == "BaseModelUnusable"
