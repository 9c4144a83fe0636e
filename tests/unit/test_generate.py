"""What generate keeps between attempts, and what it sums up."""

from __future__ import annotations

from pathlib import Path

import pytest

from tunebench_jobs.completions import CompletionJournal
from tunebench_jobs.generate import build_summary, is_overflow
from tunebench_jobs.journal import Journal
from tunebench_jobs.records import Completion, dump_jsonl

ROWS = [
    Completion(task=f"t{number}", completion="a\nb", finish_reason=reason, completion_tokens=10)
    for number, reason in enumerate(("stop", "length", "refused"))
]
WHOLE = dump_jsonl(ROWS).encode()


@pytest.mark.parametrize("lost", range(1, 90, 8))
def test_a_torn_line_costs_one_completion(tmp_path: Path, lost: int) -> None:
    """Wherever a crash tore the last line, all completions before it are kept."""
    (tmp_path / "partial.jsonl").write_bytes(WHOLE[:-lost])
    kept = CompletionJournal(Journal(tmp_path, "partial")).completions

    assert list(kept) == ["t0", "t1"]


def test_what_came_after_a_crash_is_read_with_what_came_before(tmp_path: Path) -> None:
    """An attempt appends to a file of its own, and the next one reads all."""
    (tmp_path / "partial.jsonl").write_bytes(WHOLE[:-5])
    with CompletionJournal(Journal(tmp_path, "partial")) as journal:
        journal.add(ROWS[2])
    again = CompletionJournal(Journal(tmp_path, "partial"))

    assert again.completions == {row.task: row for row in ROWS}


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
