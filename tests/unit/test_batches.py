"""What is asked in batches is asked once, whatever becomes of the batch or of who asked."""

from __future__ import annotations

import asyncio
import itertools
import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from batch_server import VERDICT, BatchVendor, Line, expire, refuse, say

from tunebench_api.v1alpha1 import JudgeSpec
from tunebench_jobs.budget import Budget
from tunebench_jobs.errors import InputError, RetryableError
from tunebench_jobs.journal import Journal
from tunebench_jobs.judge.asking import Asking, Judge
from tunebench_jobs.judge.batch_api import BatchEnd, BatchView
from tunebench_jobs.judge.batch_lines import group_lines, parse_lines
from tunebench_jobs.judge.batch_log import BatchLog
from tunebench_jobs.judge.batches import Batching, OpenLedger, ask_in_batches, open_beside
from tunebench_jobs.judge.comparisons import Question
from tunebench_jobs.judge.ledger import LedgerEntry, MissingCause, open_ledger
from tunebench_jobs.judge.questions import Asked
from tunebench_jobs.llm import Endpoint, Reply
from tunebench_jobs.prices import Prices

PRICES = Prices(prompt=1e-6, reply=2e-6)
RETRIES = 2


class Killed(BaseException):
    """The process ends here."""


async def ask_nobody(*_: object) -> Reply:
    """Refuse to chat: all goes in batches."""
    raise AssertionError


@dataclass
class InProcess:
    """A vendor without a network, at which a process can be killed before or after each call."""

    vendor: BatchVendor
    # Calls until the process is killed, and whether the vendor still carries out the last.
    left: float = float("inf")
    carried_out: bool = False
    calls: int = 0
    # Calls that nobody answers.
    away: range = range(0)

    async def upload(self, content: bytes) -> str:
        """Keep a file."""
        return str(self._do(lambda: self.vendor.add_file(content))["id"])

    async def create(self, file: str) -> str:
        """Begin a batch."""
        return str(self._do(lambda: self.vendor.begin(file))["id"])

    async def find(self, file: str) -> str | None:
        """Look for a batch."""
        found = [
            name for name, batch in self.vendor.batches.items() if batch["input_file_id"] == file
        ]
        return self._do(lambda: found[0] if found else None)

    async def look(self, batch: str) -> BatchView:
        """Show a batch."""
        shown = self._do(lambda: self.vendor.look(batch))
        ends = {str(end) for end in BatchEnd}
        errors = shown.get("errors", {}).get("data", [{}])
        names = ("output_file_id", "error_file_id")
        return BatchView(
            end=BatchEnd(shown["status"]) if shown["status"] in ends else None,
            files=tuple(shown[name] for name in names if name in shown),
            code=errors[0].get("code", ""),
            message=errors[0].get("message", ""),
        )

    async def download(self, file: str) -> bytes:
        """Return a file."""
        return self._do(lambda: self.vendor.files[file])

    def _do(self, call: Any) -> Any:
        self.calls += 1
        if self.calls - 1 in self.away:
            msg = "away"
            raise RetryableError(msg)
        self.left -= 1
        if self.left < 0 and not self.carried_out:
            raise Killed
        result = call()
        if self.left < 0:
            raise Killed
        return result


@dataclass
class Bench:
    """A store, a vendor and questions."""

    folder: Path
    vendor: BatchVendor
    sleeps: list[float] = field(default_factory=list)
    budget: Budget = field(default_factory=lambda: Budget(math.inf))
    asked: Asked = field(default_factory=lambda: Asked(0))

    def questions(self, count: int, start: int = 0) -> list[Question]:
        """Return questions, each with a text of its own."""
        return [
            Question(f"key-{n}", ({"role": "user", "content": f"question {n}"},), {})
            for n in range(start, start + count)
        ]

    def opened(self) -> OpenLedger:
        """Return what opens ledger and log."""
        return lambda: open_beside(
            open_ledger(self.folder, "{}"), lambda: BatchLog(Journal(self.folder / "batches"))
        )

    async def ask(self, questions: list[Question], api: InProcess | None = None, **how: Any) -> int:
        """Ask until all is settled; time does not pass."""

        async def sleep(seconds: float) -> None:
            self.sleeps.append(seconds)
            await asyncio.sleep(0)

        spec = JudgeSpec(name="j", model="openai/m", max_tokens=100)
        endpoint = Endpoint("openai/m")
        judge = Judge(spec, endpoint, "0", "spec.judges[0]", sent={"temperature": 0.0})
        batching = Batching(
            api or InProcess(self.vendor), self.opened(), "m", PRICES, sleep=sleep, **how
        )
        asking = Asking(ask_nobody, RETRIES, budget=self.budget)
        self.asked = await ask_in_batches(judge, questions, asking, batching)
        return self.asked.entries

    async def entries(self) -> dict[str, LedgerEntry]:
        """Return what the ledger holds."""
        async with self.opened()() as (ledger, log):
            assert log.pending == ()
            found = (ledger.get(f"key-{n}") for n in range(1000))
            return {entry.key: entry for entry in found if entry}


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """Return an empty store, and a vendor that answers everything."""
    return Bench(tmp_path / "judge", BatchVendor())


async def test_every_question_is_answered_in_one_batch(bench: Bench) -> None:
    """The ledger has each reply at its price, and asking again asks nothing."""
    asked = await bench.ask(bench.questions(5))
    again = await bench.ask(bench.questions(5))
    entries = await bench.entries()

    assert (asked, again, len(bench.vendor.batches)) == (5, 0, 1)
    assert set(bench.vendor.sold.values()) == {1}
    assert {entry.reply for entry in entries.values()} == {VERDICT}
    assert entries["key-0"].cost_usd == pytest.approx(1000e-6 + 20e-6)
    assert bench.vendor.asked[0] == {
        "custom_id": "key-0",
        "method": "POST",
        "url": "/v1/chat/completions",
        "body": {
            "model": "m",
            "messages": [{"role": "user", "content": "question 0"}],
            "temperature": 0.0,
        },
    }


async def test_batches_are_bounded(bench: Bench) -> None:
    """Neither too many lines nor too many bytes go into one file."""
    await bench.ask(bench.questions(7), most_lines=3)
    lines = [(str(n), b"x" * size) for n, size in enumerate([40, 70, 10, 300, 5])]
    groups = list(group_lines(lines, most_lines=9, most_bytes=100))

    assert len(bench.vendor.batches) == 3
    assert bench.vendor.sold.total() == 7
    assert [list(group) for group in groups] == [["0"], ["1", "2"], ["3"], ["4"]]


async def test_what_cannot_be_read_is_asked_again_and_then_missing(bench: Bench) -> None:
    """The next batch says what was wrong; after the last one, the verdict is missing."""
    bench.vendor.script = lambda turn, line: say(
        VERDICT if line["custom_id"] == "key-1" and turn > 2 else "no idea"
    )
    await bench.ask(bench.questions(2))
    entries = await bench.entries()
    reminded = bench.vendor.asked[2]["body"]["messages"]

    assert [entries[key].missing for key in ("key-0", "key-1")] == [MissingCause.UNREADABLE, None]
    assert [entries[key].replies for key in ("key-0", "key-1")] == [RETRIES + 1, 2]
    assert entries["key-1"].cost_usd == pytest.approx(2 * 1020e-6)
    assert [message["role"] for message in reminded] == ["user", "assistant", "user"]
    assert "could not be read" in reminded[-1]["content"]


async def test_an_expired_batch_keeps_what_it_answered(bench: Bench) -> None:
    """Only what was not reached is asked again."""
    bench.vendor.ends = {0: "expired"}
    bench.vendor.script = lambda turn, _: expire() if turn in {1, 2} else say(VERDICT)
    await bench.ask(bench.questions(4))

    assert set(bench.vendor.sold.values()) == {1}
    assert len(await bench.entries()) == 4
    assert len(bench.vendor.asked) == 6


async def test_errors_of_single_questions_have_their_place(bench: Bench) -> None:
    """A limit is waited for; what is too long, or not to be answered, is missing for a reason."""
    errors: dict[int, Line] = {
        0: refuse(429, "rate_limit_exceeded"),
        1: refuse(400, "context_length_exceeded"),
        2: refuse(400, "content_filter"),
        3: refuse(500, "server_error"),
    }
    bench.vendor.script = lambda turn, _: errors.get(turn, say(VERDICT))
    await bench.ask(bench.questions(5))
    entries = await bench.entries()

    assert [entries[f"key-{n}"].missing for n in range(5)] == [
        None,
        MissingCause.CONTEXT_EXCEEDED,
        MissingCause.REFUSED,
        None,
        None,
    ]
    assert set(bench.vendor.sold.values()) == {1}


async def test_a_batch_of_refusals_is_an_error(bench: Bench) -> None:
    """What every question is refused for must be mended."""
    bench.vendor.script = lambda *_: refuse(404, "model_not_found")

    with pytest.raises(InputError, match=r"model `m`.*HTTP 404: no: model_not_found") as caught:
        await bench.ask(bench.questions(3))
    assert caught.value.reason == "BadRequest"


async def test_a_full_queue_is_given_smaller_batches(bench: Bench) -> None:
    """An account that may queue few tokens is asked by parts, one after the other."""
    bench.vendor.ends = {0: "failed", 1: "failed"}
    await bench.ask(bench.questions(20), most_lines=16)
    sizes = [
        bench.vendor.files[batch["input_file_id"]].count(b"\n")
        for batch in bench.vendor.batches.values()
    ]

    assert sizes[:2] == [16, 4]
    assert max(sizes[2:]) <= 4
    assert sum(sizes[2:]) == 20
    assert set(bench.vendor.sold.values()) == {1}


async def test_a_batch_that_is_refused_whole_is_an_error(bench: Bench) -> None:
    """A model that is not for batches is named."""
    bench.vendor.ends = {0: "failed"}
    bench.vendor.code = "model_not_found"

    with pytest.raises(InputError, match="model_not_found") as caught:
        await bench.ask(bench.questions(2))
    assert caught.value.reason == "BatchRefused"


async def test_a_vendor_that_answers_nothing_is_left(bench: Bench) -> None:
    """Batches that all expire are not made for ever."""
    bench.vendor.ends = dict.fromkeys(range(100), "expired")
    bench.vendor.script = lambda *_: expire()

    with pytest.raises(RetryableError, match="3 rounds of batches") as caught:
        await bench.ask(bench.questions(2))
    assert caught.value.reason == "BatchesUnanswered"


@pytest.mark.parametrize("carried_out", [False, True], ids=["before", "after"])
async def test_killed_at_any_call_nothing_is_bought_twice(
    tmp_path: Path, *, carried_out: bool
) -> None:
    """However far the first process came, the second ends with every verdict, each sold once."""
    for calls in itertools.count():
        bench = Bench(tmp_path / str(calls), BatchVendor())
        bench.vendor.script = lambda turn, _: say(VERDICT if turn % 5 else "no idea")
        first = InProcess(bench.vendor, left=calls, carried_out=carried_out)
        killed = False
        try:
            await bench.ask(bench.questions(6), first, most_lines=4)
        except Killed:
            killed = True
            await bench.ask(bench.questions(6), most_lines=4)
        entries = await bench.entries()

        assert len(entries) == 6
        assert all(entry.missing is None for entry in entries.values())
        assert sum(entry.replies for entry in entries.values()) == bench.vendor.sold.total()
        if not killed:
            break
    assert calls > 10


async def test_a_vendor_that_is_away_for_a_while_is_waited_for(bench: Bench) -> None:
    """Looking at a batch costs nothing, so a gap of minutes ends nothing."""
    await bench.ask(bench.questions(3), InProcess(bench.vendor, away=range(2, 12)))

    assert len(await bench.entries()) == 3
    assert len(bench.sleeps) == 10
    with pytest.raises(RetryableError):
        await bench.ask(bench.questions(3, 3), InProcess(bench.vendor, away=range(2, 99)))


async def test_a_question_that_always_fails_is_left_open(bench: Bench) -> None:
    """The others have their verdicts, and it may be asked at another time."""
    bench.vendor.script = lambda _, line: (
        refuse(500, "server_error") if line["custom_id"] == "key-2" else say(VERDICT)
    )
    entries = await bench.ask(bench.questions(4))

    assert entries == len(await bench.entries()) == 3
    assert bench.asked.missing == {"key-2": MissingCause.NO_ANSWER}
    assert len(bench.vendor.batches) == 4


async def test_a_budget_is_kept(bench: Bench) -> None:
    """No batch is begun whose replies it may not cover, and what is left over buys the next."""
    # The most that a question may cost is the price of a reply of 100 tokens, and some.
    bench.vendor.script = lambda *_: say(VERDICT, (2, 1))
    bench.budget = Budget(10 * 100 * PRICES.reply)
    entries = await bench.ask(bench.questions(30))
    sizes = [
        bench.vendor.files[batch["input_file_id"]].count(b"\n")
        for batch in bench.vendor.batches.values()
    ]

    assert bench.budget.spent <= bench.budget.most
    assert sizes[0] in {8, 9}
    assert entries == sum(sizes) == 30
    bench.budget = Budget(PRICES.reply)
    assert await bench.ask(bench.questions(10, start=30)) == 0
    assert set(bench.asked.missing.values()) == {MissingCause.BUDGET_SPENT}


async def test_a_vendor_that_counts_no_tokens_is_not_free(bench: Bench) -> None:
    """What is paid for is estimated, so that the budget ends."""
    bench.vendor.script = lambda *_: say(VERDICT, (0, 0))
    await bench.ask(bench.questions(2))

    assert bench.budget.spent > 2 * PRICES.reply
    assert all(entry.cost_usd for entry in (await bench.entries()).values())


async def test_two_stages_share_what_is_under_way(bench: Bench) -> None:
    """What another stage has asked is waited for, not asked again."""
    bench.vendor.hold.set()

    async def release() -> None:
        while len(bench.vendor.batches) < 2 or len(bench.sleeps) < 6:  # noqa: ASYNC110 - a poll
            await asyncio.sleep(0)
        bench.vendor.hold.clear()

    one, two, _ = await asyncio.gather(
        bench.ask(bench.questions(6)), bench.ask(bench.questions(6, start=3)), release()
    )

    assert (one, two) == (6, 6)
    assert set(bench.vendor.sold.values()) == {1}
    assert len(await bench.entries()) == 9


def test_lines_of_a_vendor_are_not_trusted() -> None:
    """What is no line of a reply says nothing, and stops nothing."""
    good = json.dumps({"custom_id": "k", **say("yes")})
    bad = [
        "",
        "{",
        "[]",
        "null",
        "7",
        '{"custom_id": 7, "response": {"status_code": 200}}',
        '{"custom_id": "k", "response": {"status_code": 200, "body": {"choices": []}}}',
        '{"custom_id": "k", "response": {"status_code": 200, "body": {"choices": [7]}}}',
        '{"response": null}',
        '{"custom_id": "k", "response": [], "error": "no"}',
        "[" * 100_000,
    ]
    said = list(parse_lines("\n".join([*bad, good]).encode() + b"\n\xff\xfe\n"))

    assert [each.reply.text for each in said if each.reply] == ["yes"]
    assert all(each.refusal is None and each.missing is None for each in said)


@pytest.mark.parametrize("tokens", ["Infinity", "NaN", "-7", "1e300", '"many"', "[]"])
def test_a_batch_that_cannot_count_says_nothing(tokens: str) -> None:
    """Its replies count, its tokens do not."""
    choices, usage = '[{"message": {"content": "yes"}}]', f'{{"prompt_tokens": {tokens}}}'
    body = f'{{"choices": {choices}, "usage": {usage}}}'
    line = f'{{"custom_id": "k", "response": {{"status_code": 200, "body": {body}}}}}'
    [said] = parse_lines(line.encode())

    assert said.reply is not None
    assert (said.reply.text, said.reply.prompt_tokens) == ("yes", 0)
