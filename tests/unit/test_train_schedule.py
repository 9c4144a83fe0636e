"""The order of training: every example, the same after a restart, at the right rate."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from tunebench_jobs.train.schedule import Sizes, build_learning_rate, build_steps, count_steps

LENGTHS = st.lists(st.integers(2, 900), min_size=1, max_size=120)
SIZES = st.builds(
    Sizes,
    batch=st.integers(1, 16),
    micro_batch=st.integers(1, 8),
    workers=st.integers(1, 4),
)


@given(lengths=LENGTHS, sizes=SIZES, seed=st.integers(0, 9))
def test_an_epoch_has_every_example_once(lengths: list[int], sizes: Sizes, seed: int) -> None:
    """Nothing is left out or doubled, however the sizes divide."""
    end = math.ceil(len(lengths) / sizes.batch)

    steps = list(build_steps(lengths, sizes, seed=seed, first=0, end=end))

    assert sorted(index for step in steps for index in step.indices) == list(range(len(lengths)))
    assert all(len(step.indices) <= sizes.batch for step in steps)


@given(lengths=LENGTHS, sizes=SIZES, seed=st.integers(0, 9))
def test_workers_go_through_the_model_equally_often(
    lengths: list[int], sizes: Sizes, seed: int
) -> None:
    """ZeRO-3 gathers weights in every forward pass, so no worker may have fewer."""
    end = math.ceil(len(lengths) / sizes.batch)

    for step in build_steps(lengths, sizes, seed=seed, first=0, end=end):
        assert len(step.workers) == sizes.workers
        assert len({len(batches) for batches in step.workers}) == 1
        assert step.workers[0]
        for batch in (batch for batches in step.workers for batch in batches):
            assert 1 <= len(batch.indices) <= sizes.micro_batch


@given(lengths=LENGTHS, sizes=SIZES, cut=st.integers(0, 40))
def test_a_resumed_run_sees_the_same_steps(lengths: list[int], sizes: Sizes, cut: int) -> None:
    """From any step on, the schedule is that of a run without interruption."""
    end = 2 * math.ceil(len(lengths) / sizes.batch)
    first = min(cut, end)

    whole = list(build_steps(lengths, sizes, seed=3, first=0, end=end))

    assert list(build_steps(lengths, sizes, seed=3, first=first, end=end)) == whole[first:]
    assert len(whole) == end


def test_epochs_have_different_orders() -> None:
    """Examples are shuffled again in every epoch."""
    sizes = Sizes(batch=4, micro_batch=2, workers=1)

    steps = list(build_steps(list(range(2, 66)), sizes, seed=0, first=0, end=32))

    assert [step.indices for step in steps[:16]] != [step.indices for step in steps[16:]]


def test_micro_batches_hold_similar_lengths() -> None:
    """Little is padded: far less than with micro-batches in random order."""
    lengths = [20 + 7 * (index * 37 % 100) for index in range(100)]
    sizes = Sizes(batch=10, micro_batch=5, workers=1)

    steps = build_steps(lengths, sizes, seed=0, first=0, end=10)
    batches = [batch.indices for step in steps for batch in step.workers[0]]
    padded = sum(max(lengths[index] for index in batch) * len(batch) for batch in batches)

    assert padded < 1.15 * sum(lengths)


def test_count_of_steps_covers_the_last_part_batch() -> None:
    """A last, smaller batch is a step; `maxSteps` ends a run earlier."""
    assert count_steps(17, batch=8, epochs=2, limit=None) == 6
    assert count_steps(17, batch=8, epochs=2, limit=5) == 5
    assert count_steps(17, batch=8, epochs=2, limit=50) == 6


def test_learning_rate_rises_then_falls_to_the_end() -> None:
    """The peak comes after the warm-up, and the last step still learns."""
    rates = [build_learning_rate(step, total=10, warmup=2, peak=1.0) for step in range(10)]

    assert rates[:3] == [0.5, 1.0, 1.0]
    assert rates[2:] == sorted(rates[2:], reverse=True)
    assert 0 < rates[-1] < 0.2


def test_learning_rate_of_a_run_shorter_than_its_warm_up() -> None:
    """The rate is then still rising at the end."""
    rates = [build_learning_rate(step, total=3, warmup=10, peak=1.0) for step in range(3)]

    assert rates == [0.1, 0.2, 0.3]
