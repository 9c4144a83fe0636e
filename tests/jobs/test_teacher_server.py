"""A teacher over real HTTP: a busy server, a killed process, money that runs out."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from answer_drafts import answer
from make_drafts import GOOD
from scripted_judge import ScriptedJudge, serving_judge

from tunebench_jobs.errors import InputError

pytestmark = [
    pytest.mark.jobs,
    # LiteLLM silences this warning of its own in the test that imports it, and in no later one.
    pytest.mark.filterwarnings("ignore:.*ReadOnly. qualifier:UserWarning"),
]

KEY = "sk-of-the-teacher"
CONCURRENCY = 8
PROGRAM = Path(__file__).parents[1] / "support" / "answer_drafts.py"
DEADLINE_SECONDS = 180.0


@pytest.fixture
def teacher(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, ScriptedJudge]]:
    """Serve a teacher whose answers are all good."""
    monkeypatch.setenv("TEACHER_KEY", KEY)
    with serving_judge("127.0.0.1", KEY, 0.05, lambda _question, _text: GOOD) as served:
        yield served


def start(store: Path, url: str, count: int) -> subprocess.Popen[str]:
    """Start the program that lets the teacher answer."""
    support = str(PROGRAM.parent)
    path = os.pathsep.join([support, *sys.path])
    return subprocess.Popen(
        [sys.executable, str(PROGRAM), str(store), url, str(count)],
        env={**os.environ, "PYTHONPATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def count_kept(store: Path) -> int:
    """Return the replies that are whole in the store."""
    return sum(shard.read_bytes().count(b"\n") for shard in store.glob("replies/*/*/*.jsonl"))


def test_busy_server_is_given_time_and_nothing_is_lost(
    tmp_path: Path, teacher: tuple[str, ScriptedJudge]
) -> None:
    """Questions that are put off come again, no sooner than the server says."""
    url, served = teacher
    served.busy = ["1"] * 20
    began = time.monotonic()
    made = answer(tmp_path, url, 60)
    seconds = time.monotonic() - began

    assert made["answers"] == [GOOD.strip()] * 60
    assert served.put_off == 20
    assert set(served.sold.values()) == {1}
    assert seconds >= 1.0


def test_killed_process_goes_on_without_paying_twice(
    tmp_path: Path, teacher: tuple[str, ScriptedJudge]
) -> None:
    """After each kill, what was kept is not asked again: only what was under way is."""
    url, served = teacher
    total = 300
    for wanted in (1, 90, 200):
        process = start(tmp_path, url, total)
        deadline = time.monotonic() + DEADLINE_SECONDS
        while count_kept(tmp_path) < wanted and time.monotonic() < deadline:
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert wanted <= count_kept(tmp_path) < total
    # A reply may still be on its way to nobody.
    time.sleep(0.2)
    kept, sold = count_kept(tmp_path), served.sold.total()
    output, errors = start(tmp_path, url, total).communicate(timeout=DEADLINE_SECONDS)
    made: dict[str, Any] = json.loads(output)

    assert made["answers"] == [GOOD.strip()] * total, errors
    assert served.sold.total() - sold == total - kept == made["summary"]["paid_replies"]
    assert sold - kept <= 3 * CONCURRENCY
    assert len(served.sold) == total


def test_second_run_and_more_rows_ask_for_the_new_ones_only(
    tmp_path: Path, teacher: tuple[str, ScriptedJudge]
) -> None:
    """Another run over the same store pays for nothing that is there."""
    url, served = teacher
    first = answer(tmp_path, url, 20)
    again = answer(tmp_path, url, 25)

    assert again["answers"][:20] == first["answers"]
    assert served.sold.total() == 25
    assert (first["summary"]["paid_replies"], again["summary"]["paid_replies"]) == (20, 5)
    assert again["summary"]["cost_usd"] == pytest.approx(0.25)
    assert again["summary"]["paid_usd"] == pytest.approx(0.05)


def test_money_that_runs_out_ends_the_asking_cleanly(
    tmp_path: Path, teacher: tuple[str, ScriptedJudge]
) -> None:
    """Replies that are twice as long as allowed cost more than the estimate; the budget holds."""
    url, served = teacher
    # Each costs a cent and not half of one.
    made = answer(tmp_path, url, 60, maxTokens=5, budgetUSD="0.30")
    without = [finding for finding in made["findings"] if finding]

    # Only what was under way when the money ran out may cost more than was set aside for it.
    assert 29 <= served.sold.total() <= 30 + CONCURRENCY // 2
    assert len(without) == 60 - served.sold.total()
    assert {tuple(finding) for finding in without} == {
        ("NoAnswer", "`spec.dataset.teacher.budgetUSD` is spent")
    }


def test_estimate_above_the_budget_sends_nothing(
    tmp_path: Path, teacher: tuple[str, ScriptedJudge]
) -> None:
    """The server never hears of what would cost too much."""
    url, served = teacher

    with pytest.raises(InputError, match=r"estimate of 0\.61, got 0\.6: 61 questions"):
        answer(tmp_path, url, 61, budgetUSD="0.6")
    assert not served.sold
    assert answer(tmp_path, url, 60, budgetUSD="0.6")["summary"]["paid_replies"] == 60


def test_wrong_key_is_named_and_not_shown(
    tmp_path: Path, teacher: tuple[str, ScriptedJudge], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message leads to the field; the key stays out of it."""
    url, served = teacher
    monkeypatch.setenv("TEACHER_KEY", "sk-of-somebody-else")

    with pytest.raises(InputError, match=r"^`spec\.dataset\.teacher`: model") as caught:
        answer(tmp_path, url, 30)
    assert caught.value.reason == "AuthenticationFailed"
    assert "sk-of-somebody-else" not in str(caught.value)
    assert served.refused <= 4 * CONCURRENCY
