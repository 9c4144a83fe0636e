"""Batches are worked on in processes, and nobody can tell from the result."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import batch_work
import psutil
import pytest

from tunebench_jobs.data.parallel import Workers, count_workers
from tunebench_jobs.errors import InputError, RetryableError

pytestmark = pytest.mark.jobs

BATCHES = [[number, number] for number in range(12)]


@pytest.mark.parametrize("count", [1, 2, 3])
def test_results_come_in_order(count: int) -> None:
    """However many processes there are, and however long a batch takes."""
    with Workers(count) as workers:
        done = list(workers.map_batches(batch_work.prepare, iter(BATCHES)))
    pids = {pid for _, (_, pid) in done}

    assert [batch for batch, _ in done] == BATCHES
    assert [total for _, (total, _) in done] == [2 * number for number in range(12)]
    assert (pids == {os.getpid()}) is (count == 1)


def test_processes_serve_one_work_after_the_other() -> None:
    """They are started once, and each work is prepared anew."""
    with Workers(2) as workers:
        first = {pid for _, (_, pid) in workers.map_batches(batch_work.prepare, BATCHES)}
        counts = [result for _, result in workers.map_batches(batch_work.prepare_count, BATCHES)]
        again = {pid for _, (_, pid) in workers.map_batches(batch_work.prepare, BATCHES)}

    assert len(first | again) <= 2
    assert counts.count(1) <= 2
    assert sum(counts) >= len(BATCHES)


def test_a_single_batch_starts_no_process() -> None:
    """Small data must not wait for processes to start."""
    with Workers(2) as workers:
        ((_, (_, pid)),) = workers.map_batches(batch_work.prepare, BATCHES[:1])

    assert pid == os.getpid()


def test_an_error_keeps_its_reason() -> None:
    """What a process refuses is refused in the same words; batches before it are done."""
    with Workers(2) as workers:
        results = workers.map_batches(batch_work.prepare_refusal, BATCHES)
        first, second = next(results), next(results)
        with pytest.raises(InputError, match="the third is bad") as caught:
            next(results)

    assert (first[1], second[1]) == (0, 1)
    assert caught.value.reason == "Bad"


def test_a_killed_process_is_an_error_that_may_heal() -> None:
    """Such as when memory runs out; nothing waits for ever."""
    with Workers(2) as workers, pytest.raises(RetryableError, match="more memory"):
        list(workers.map_batches(batch_work.prepare_death, BATCHES))


def test_processes_end_with_the_one_that_started_them() -> None:
    """Nobody is left behind by `kill -9`."""
    script = Path(batch_work.__file__)
    with subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        workers = [psutil.Process(int(parent.stdout.readline())) for _ in range(2)]
        parent.kill()
    gone, alive = psutil.wait_procs(workers, timeout=30)

    assert alive == []
    assert len(gone) == 2


def test_no_more_processes_than_the_stage_was_given() -> None:
    """At least one, and not all of a large machine."""
    allowed = len(os.sched_getaffinity(0))

    assert count_workers(1) == 1
    assert count_workers(None) == min(allowed, 8)
    assert count_workers(10_000) == min(allowed, 8)
