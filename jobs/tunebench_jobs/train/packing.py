"""Which examples share a row: none is padded, and no row is longer than it may be.

Best-fit decreasing: the longest example first, each into the fullest row that still has room (at
most 11/9 of the fewest rows possible, and one more; Johnson et al. 1974).
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Sequence

Row = list[int]


def build_packed_rows(
    indices: Sequence[int], lengths: Sequence[int], *, capacity: int, workers: int
) -> list[Row]:
    """Deal examples out to rows of at most `capacity` tokens.

    Workers wait for each other after every row, so as many rows as best fit needs, rounded up to a
    multiple of the workers, are filled evenly where that is possible.
    """
    longest_first = sorted(indices, key=lambda index: -lengths[index])
    fitted = _fit(longest_first, lengths, capacity)
    count = math.ceil(len(fitted) / workers) * workers
    even = _balance(longest_first, lengths, min(count, len(indices)))
    fits = all(sum(lengths[index] for index in row) <= capacity for row in even)
    return even if fits else fitted


def _fit(indices: Sequence[int], lengths: Sequence[int], capacity: int) -> list[Row]:
    """Put each example into the fullest row that has room for it, or into a new one."""
    rows: list[Row] = []
    # Room that is left and the row's number, in order.
    room: list[tuple[int, int]] = []
    for index in indices:
        place = bisect.bisect_left(room, (lengths[index], -1))
        if place == len(room):
            left, number = capacity, len(rows)
            rows.append([])
        else:
            left, number = room.pop(place)
        rows[number].append(index)
        bisect.insort(room, (left - lengths[index], number))
    return rows


def _balance(indices: Sequence[int], lengths: Sequence[int], count: int) -> list[Row]:
    """Put each example into the emptiest of so many rows."""
    rows: list[Row] = [[] for _ in range(count)]
    filled = [0] * count
    for index in indices:
        number = filled.index(min(filled))
        rows[number].append(index)
        filled[number] += lengths[index]
    return rows
