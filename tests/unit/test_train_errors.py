"""What a training says when its workers die."""

from __future__ import annotations

from pathlib import Path

import pytest

from tunebench_jobs.train.stage import build_job_error

PROCESSES = "PID\tMEM(GB)\tCOMMAND\n104\t2.71\tray::RayTrainWorker\n" * 50


def make_death(name: str, text: str) -> Exception:
    """Return an error as Ray raises it."""
    kind = type(name, (Exception,), {"__module__": "ray.exceptions"})
    death: Exception = kind(text)
    return death


@pytest.mark.parametrize(
    ("name", "text", "reason", "said"),
    [
        pytest.param(
            "OutOfMemoryError",
            "1 worker(s) were killed due to the node running low on memory. Memory on the node "
            f"(IP: 10.0.0.7, ID: ab) was 2.86GB used / 3.00GB limit (0.953)\n{PROCESSES}",
            "OutOfMemory",
            ("2.86GB used / 3.00GB limit", "`microBatchSize`", "`resources.pool`"),
            id="memory",
        ),
        pytest.param(
            "ActorDiedError",
            f"The actor died because its node has died.\n{PROCESSES}",
            "NodeLost",
            ("the node of a training worker is gone", "because its node has died."),
            id="node",
        ),
        pytest.param(
            "ActorDiedError",
            f"The actor is dead because its worker process has died.\n{PROCESSES}",
            "WorkerDied",
            ("a training worker died", "its worker process has died."),
            id="process",
        ),
    ],
)
def test_a_death_is_told_in_a_sentence(
    tmp_path: Path, name: str, text: str, reason: str, said: tuple[str, ...]
) -> None:
    """The cause and the remedy stand in one short line; Ray's list of processes does not."""
    error = build_job_error({0: make_death(name, text)}, tmp_path)
    message = str(error)

    assert error.reason == reason
    assert all(each in message for each in said)
    assert "\n" not in message
    assert len(message) < 500
