"""Hold out the newest pull requests, as a model in use would meet them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from tunebench_jobs.data.load import Row, parse_moment


def split_newest(rows: Sequence[Row], count: int) -> tuple[list[Row], list[Row]]:
    """Return the rows to train on, in their order, and the `count` newest, newest first.

    Of two rows of one moment, the earlier row counts as newer; rows without a moment are older
    than all others.
    """
    ranked = sorted(range(len(rows)), key=lambda place: _age(rows[place]))
    held = set(ranked[:count])
    return (
        [row for place, row in enumerate(rows) if place not in held],
        [rows[place] for place in ranked[:count]],
    )


def _age(row: Row) -> tuple[bool, float]:
    """Return a sort key that puts the newest first; sorting keeps the order of equals."""
    moment: datetime | None = parse_moment(row.pr.merged_at) if row.pr.merged_at else None
    return (moment is None, -moment.timestamp() if moment else 0.0)
