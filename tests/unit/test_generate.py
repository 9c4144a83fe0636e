"""What generate keeps between attempts, and what it sums up."""

from __future__ import annotations

from pathlib import Path

import pytest

from tunebench_jobs.generate import PartialFile, build_summary, is_overflow, parse_partial
from tunebench_jobs.records import Completion, dump_jsonl

ROWS = [
    Completion(task=f"t{number}", completion="a\nb", finish_reason=reason, completion_tokens=10)
    for number, reason in enumerate(("stop", "length", "refused"))
]
WHOLE = dump_jsonl(ROWS).encode()


@pytest.mark.parametrize("lost", range(1, 90, 8))
def test_a_torn_line_costs_one_completion(lost: int) -> None:
    """Wherever a crash tore the last line, all completions before it are kept."""
    completions, whole = parse_partial(WHOLE[:-lost])

    assert list(completions) == ["t0", "t1"]
    assert WHOLE[:whole] == dump_jsonl(ROWS[:2]).encode()


def test_whole_file_is_kept() -> None:
    """With no torn line, nothing is lost."""
    assert parse_partial(WHOLE) == ({row.task: row for row in ROWS}, len(WHOLE))


def test_partial_file_goes_on_behind_a_torn_line(tmp_path: Path) -> None:
    """What is appended after a crash can be read again."""
    path = tmp_path / "partial.jsonl"
    path.write_bytes(WHOLE[:-5])
    with PartialFile(path) as partial:
        partial.add(ROWS[2])

    assert path.read_bytes() == WHOLE


def test_summary_counts_what_readers_ask_for() -> None:
    """Cut off and refused completions are counted; speed is that of this attempt."""
    summary = build_summary(ROWS, seconds=2.0, fresh_tokens=20)

    assert summary == {
        "tasks": 3,
        "cut_off": 1,
        "refused": 1,
        "prompt_tokens": 0,
        "tokens": 30,
        "seconds": 2.0,
        "tokens_per_second": 10.0,
    }


@pytest.mark.parametrize(
    ("code", "message", "expected"),
    [
        pytest.param("context_length_exceeded", "", True, id="by code"),
        pytest.param("400", "This model's maximum context length is 8 tokens", True, id="by words"),
        pytest.param(None, "messages must be a list", False, id="another mistake"),
    ],
)
def test_overflow_is_recognised(code: str | None, message: str, *, expected: bool) -> None:
    """Only a task that is too long counts as refused."""
    assert is_overflow(code, message) is expected
