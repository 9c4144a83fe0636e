"""Work for the tests of processes: they import it by name."""

from __future__ import annotations

import itertools
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence

from tunebench_jobs.data.parallel import Workers
from tunebench_jobs.errors import InputError


def prepare() -> Callable[[Sequence[int]], tuple[int, int]]:
    """Return work that says which process did it; odd batches take longer."""

    def work(batch: Sequence[int]) -> tuple[int, int]:
        time.sleep(0.05 * (batch[0] % 2))
        return sum(batch), os.getpid()

    return work


def prepare_count() -> Callable[[Sequence[int]], int]:
    """Return work that counts the batches of its process."""
    numbers = itertools.count(1)
    return lambda _batch: next(numbers)


def prepare_refusal() -> Callable[[Sequence[int]], int]:
    """Return work that refuses the third batch."""

    def work(batch: Sequence[int]) -> int:
        if batch[0] == 2:
            raise InputError("the third is bad", reason="Bad")
        return batch[0]

    return work


def prepare_death() -> Callable[[Sequence[int]], int]:
    """Return work that is killed."""

    def work(_batch: Sequence[int]) -> int:
        os.kill(os.getpid(), signal.SIGKILL)
        return 0

    return work


def prepare_sleep() -> Callable[[Sequence[int]], int]:
    """Return work that says who does it and does not end."""

    def work(_batch: Sequence[int]) -> int:
        sys.stdout.write(f"{os.getpid()}\n")
        sys.stdout.flush()
        time.sleep(600)
        return 0

    return work


if __name__ == "__main__":
    with Workers(2) as workers:
        list(workers.map_batches(prepare_sleep, ([number] for number in range(8))))
