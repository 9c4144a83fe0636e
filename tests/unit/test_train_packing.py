"""Examples that share rows: all of them once, none too long, few rows."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from tunebench_jobs.train.packing import build_packed_rows

CAPACITY = 900
LENGTHS = st.lists(st.integers(2, CAPACITY), min_size=1, max_size=80)


@given(lengths=LENGTHS, workers=st.integers(1, 5))
def test_every_example_has_room_in_one_row(lengths: list[int], workers: int) -> None:
    """Nothing is cut, left out or doubled."""
    indices = range(len(lengths))

    rows = build_packed_rows(indices, lengths, capacity=CAPACITY, workers=workers)

    assert sorted(index for row in rows for index in row) == list(indices)
    assert all(0 < sum(lengths[index] for index in row) <= CAPACITY for row in rows)


@given(lengths=LENGTHS)
def test_rows_are_few(lengths: list[int]) -> None:
    """Best-fit decreasing keeps its promise: 11/9 of the fewest, and one."""
    rows = build_packed_rows(range(len(lengths)), lengths, capacity=CAPACITY, workers=1)

    longer_than_half = sum(2 * length > CAPACITY for length in lengths)
    fewest = max(math.ceil(sum(lengths) / CAPACITY), longer_than_half)
    # The fewest possible are at least `fewest`; so many more is what twice as much room would need.
    assert len(rows) <= max(math.ceil(11 / 9 * 1.5 * fewest) + 1, fewest)


def test_rows_of_workers_are_even() -> None:
    """Workers wait for each other, so their rows are alike in length."""
    lengths = [500, 100, 100, 100, 100, 100]

    rows = build_packed_rows(range(6), lengths, capacity=1000, workers=2)

    assert sorted(sum(lengths[index] for index in row) for row in rows) == [500, 500]


def test_one_worker_takes_the_fullest_rows() -> None:
    """Six examples that fit into two rows exactly are not spread over three."""
    lengths = [600, 500, 400, 300, 100, 100]

    rows = build_packed_rows(range(6), lengths, capacity=1000, workers=1)

    assert [sum(lengths[index] for index in row) for row in rows] == [1000, 1000]


def test_a_full_row_is_no_reason_for_uneven_ones() -> None:
    """What cannot be spread evenly keeps the rows of best fit."""
    lengths = [700, 700, 300, 300, 300]

    rows = build_packed_rows(range(5), lengths, capacity=1000, workers=2)

    assert all(sum(lengths[index] for index in row) <= 1000 for row in rows)
    assert sum(map(len, rows)) == 5
