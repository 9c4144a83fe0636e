"""A judge that fails costs little and loses nothing; money ends where the user said."""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from virtual_time import run_virtually

from tunebench_api.v1alpha1 import JudgeSpec, OnUnavailable
from tunebench_jobs.budget import Budget
from tunebench_jobs.errors import InputError, JobError, RetryableError
from tunebench_jobs.journal import Journal
from tunebench_jobs.judge.asking import Asking, Judge
from tunebench_jobs.judge.breaker import MOST_FAILURES, PATIENCE_SECONDS, Breaker
from tunebench_jobs.judge.comparisons import Message, Question
from tunebench_jobs.judge.ledger import Ledger, MissingCause
from tunebench_jobs.judge.questions import Asked, ask_judge
from tunebench_jobs.llm import Endpoint, NoAnswerError, Reply
from tunebench_jobs.prices import Prices
from tunebench_jobs.throttle import tell_time

GOOD = "which_response_was_better: 1\nwhy: because\n"
PRICES = Prices(0.001, 0.01, given=True)


class Vendor:
    """Answers by rule after a second, and counts what it was asked."""

    def __init__(self, rule: Callable[[str, int], Reply | Exception]) -> None:
        """Answer with what `rule` makes of a question and how often it was asked."""
        self.rule = rule
        self.times: Counter[str] = Counter()
        # Short calls, to find out whether it is there.
        self.calls = 0
        self.asked_at: list[float] = []
        self.in_flight = 0
        self.peak = 0

    async def __call__(self, _endpoint: Endpoint, messages: Sequence[Message]) -> Reply:
        """Answer once."""
        text = messages[0]["content"]
        self.asked_at.append(tell_time())
        if text.startswith("question"):
            self.times[text] += 1
        else:
            self.calls += 1
        self.in_flight += 1
        self.peak = max(self.peak, self.in_flight)
        await asyncio.sleep(1.0)
        self.in_flight -= 1
        answer = self.rule(text, self.times[text])
        if isinstance(answer, Exception):
            raise answer
        return answer


def reply(text: str = GOOD) -> Reply:
    """Return what a judge says, with its size."""
    return Reply(text, None, "stop", 10, 4)


def fail() -> NoAnswerError:
    """Return what a broken server leads to."""
    return NoAnswerError("status 500")


def make_questions(count: int) -> list[Question]:
    """Return as many different questions."""
    return [
        Question(str(number), ({"role": "user", "content": f"question {number}"},), {})
        for number in range(count)
    ]


def make_judge(prices: Prices | None = None, **settings: Any) -> Judge:
    """Return a judge."""
    spec = JudgeSpec(name="gpt", model="acme/gpt", max_tokens=16, **settings)
    return Judge(spec, Endpoint("acme/gpt", max_tokens=16), "digest", "spec.judges[0]", prices)


def ask(
    folder: Path, vendor: Vendor, count: int, judge: Judge | None = None, **settings: Any
) -> tuple[Asked, Ledger, Asking, float]:
    """Ask so many questions, and return what came of it and how long it took."""
    asking = Asking(vendor, settings.pop("retries", 2), **settings)

    async def work() -> tuple[Asked, Ledger, Asking, float]:
        with Ledger(Journal(folder)) as ledger:
            asked = await ask_judge(judge or make_judge(), make_questions(count), ledger, asking)
            return asked, ledger, asking, tell_time()

    return run_virtually(work())


def is_odd(text: str) -> bool:
    """Tell half of the questions from the other."""
    return text.startswith("question") and int(text.split()[1]) % 2 == 1


@pytest.mark.parametrize(
    ("problem", "cause", "times"),
    [
        pytest.param(fail, None, 6, id="5xx"),
        pytest.param(lambda: reply("no idea"), MissingCause.UNREADABLE, 3, id="garbage"),
        pytest.param(
            lambda: InputError("no", reason="ContentRefused"), MissingCause.REFUSED, 1, id="refusal"
        ),
    ],
)
def test_a_judge_that_fails_on_half_of_the_tasks_loses_nothing(
    tmp_path: Path,
    problem: Callable[[], Reply | Exception],
    cause: MissingCause | None,
    times: int,
) -> None:
    """The other half is judged; what fails is tried a few times and is missing by its cause."""
    vendor = Vendor(lambda text, _: problem() if is_odd(text) else reply())
    asked, ledger, _, seconds = ask(tmp_path, vendor, 200)
    entries = [ledger.get(str(number)) for number in range(200)]

    assert all(entry and entry.missing is None for entry in entries[::2])
    if cause is None:
        # A server that broke says nothing of the answer, so that the ledger has none.
        assert entries[1::2] == [None] * 100
        assert Counter(asked.missing.values()) == {MissingCause.NO_ANSWER: 100}
    else:
        assert [entry and entry.missing for entry in entries[1::2]] == [cause] * 100
        assert asked.missing == {}
    assert asked.entries == 200 - len(asked.missing)
    assert {vendor.times[text] for text in vendor.times if is_odd(text)} == {times}
    assert {vendor.times[text] for text in vendor.times if not is_odd(text)} == {1}
    assert seconds < 60


@pytest.mark.parametrize("count", [1, 40])
def test_what_only_fails_is_told_from_a_judge_that_is_away(tmp_path: Path, count: int) -> None:
    """Where nothing else is left to ask, one word finds out whose fault it is."""
    vendor = Vendor(lambda text, _: fail() if text.startswith("question") else reply("ready"))
    asked, _, _, seconds = ask(tmp_path, vendor, count)

    assert list(asked.missing.values()) == [MissingCause.NO_ANSWER] * count
    assert vendor.calls < 8
    assert seconds < 120


def test_a_few_broken_replies_cost_nothing_but_time(tmp_path: Path) -> None:
    """Each question is asked until it has its answer, and only once after that."""
    vendor = Vendor(lambda text, time: fail() if time == 1 and is_odd(text) else reply())
    asked, ledger, _, _ = ask(tmp_path, vendor, 100)

    assert (asked.entries, len(ledger)) == (100, 100)
    assert sum(vendor.times.values()) == 150


def test_a_judge_that_is_away_is_tried_now_and_then(tmp_path: Path) -> None:
    """Not every question finds out anew: after some failures in a row, one at a time is tried."""
    vendor = Vendor(lambda *_: fail())
    with pytest.raises(RetryableError, match="judge `gpt`: status 500"):
        ask(tmp_path, vendor, 1000)

    assert vendor.times.total() <= MOST_FAILURES + 16
    assert vendor.calls < 12
    assert PATIENCE_SECONDS <= vendor.asked_at[-1] < PATIENCE_SECONDS + 61


def test_a_judge_that_comes_back_answers_everything(tmp_path: Path) -> None:
    """An outage of two minutes ends nothing, and then all go on at once."""
    vendor = Vendor(lambda *_: fail() if 5 < tell_time() < 125 else reply())
    asked, ledger, _, seconds = ask(tmp_path, vendor, 2000)

    assert (asked.entries, len(ledger), asked.missing) == (2000, 2000, {})
    assert sum(vendor.times.values()) < 2000 + 150
    assert seconds < 125 + 64 + 30
    assert vendor.peak == 128


def test_a_judge_that_stays_away_may_be_left_out(tmp_path: Path) -> None:
    """What it has said is kept; the rest is missing, and says why."""
    vendor = Vendor(lambda *_: fail() if tell_time() > 3.5 else reply())
    asked, ledger, _, _ = ask(tmp_path, vendor, 500, on_unavailable=OnUnavailable.SKIP)

    assert 0 < len(ledger) == asked.entries < 500
    assert set(asked.missing.values()) == {MissingCause.UNAVAILABLE}
    assert len(asked.missing) + len(ledger) == 500
    assert "status 500" in str(asked.absence)


@pytest.mark.parametrize(("per_minute", "first"), [(None, 16), (7200, 120)])
def test_a_limit_that_is_stated_is_used_from_the_first_second(
    tmp_path: Path, per_minute: int | None, first: int
) -> None:
    """A second's worth of it may be in flight before anything is answered; never more than told."""
    vendor = Vendor(lambda *_: reply())
    judge = make_judge(requests_per_minute=per_minute)
    asked, _, _, _ = ask(tmp_path, vendor, 500, judge)

    assert asked.entries == 500
    assert sum(moment < 1.0 for moment in vendor.asked_at) == first
    assert vendor.peak <= 128


@pytest.mark.parametrize("hangs", [False, True])
def test_a_judge_that_was_away_is_given_up_soon(tmp_path: Path, *, hangs: bool) -> None:
    """A few words find out that it still is; no question is sent, and the next variant goes on."""

    class Silent(Vendor):
        async def __call__(self, _endpoint: Endpoint, messages: Sequence[Message]) -> Reply:
            self.asked_at.append(tell_time())
            await asyncio.sleep(300)
            return await super().__call__(_endpoint, messages)

    vendor = (Silent if hangs else Vendor)(lambda *_: fail())
    asked, _, _, seconds = ask(
        tmp_path, vendor, 500, on_unavailable=OnUnavailable.SKIP, absent=frozenset({"gpt"})
    )

    assert set(asked.missing.values()) == {MissingCause.UNAVAILABLE}
    assert (len(asked.missing), vendor.times.total()) == (500, 0)
    assert len(vendor.asked_at) < 6
    assert seconds < 30


def test_a_judge_that_was_away_and_is_back_answers_everything(tmp_path: Path) -> None:
    """One word is enough; from then on it has the patience that any judge has."""
    vendor = Vendor(lambda *_: fail() if 5 < tell_time() < 125 else reply())
    settings = {"on_unavailable": OnUnavailable.SKIP, "absent": frozenset({"gpt"})}
    asked, ledger, _, _ = ask(tmp_path, vendor, 2000, **settings)

    assert (asked.entries, len(ledger), asked.missing) == (2000, 2000, {})


def test_nobody_is_asked_for_what_the_ledger_holds(tmp_path: Path) -> None:
    """A judge that was away is not even asked a word where nothing is open."""
    ask(tmp_path, Vendor(lambda *_: reply()), 5)
    vendor = Vendor(lambda *_: fail())
    asked, _, _, _ = ask(tmp_path, vendor, 5, absent=frozenset({"gpt"}))

    assert (asked.entries, asked.missing, vendor.asked_at) == (0, {}, [])


def test_a_busy_judge_is_waited_for(tmp_path: Path) -> None:
    """Being put off is no failure of a question, however often it happens."""
    busy = NoAnswerError("slow down", reason="RateLimited", busy=True, seconds=20.0)
    vendor = Vendor(lambda *_: busy if tell_time() < 200 else reply())
    asked, ledger, _, _ = ask(tmp_path, vendor, 50)

    assert (asked.entries, len(ledger)) == (50, 50)


def test_a_question_that_is_too_large_for_the_limit_ends(tmp_path: Path) -> None:
    """It is put off for ever while others are answered, so it is given up."""
    busy = NoAnswerError("too large", reason="RateLimited", busy=True, seconds=0.1)
    vendor = Vendor(lambda text, _: busy if text == "question 0" else reply())
    asked, _, _, _ = ask(tmp_path, vendor, 50)

    assert asked.missing == {"0": MissingCause.NO_ANSWER}


@pytest.mark.parametrize("policy", OnUnavailable)
def test_what_the_user_must_mend_ends_at_once(tmp_path: Path, policy: OnUnavailable) -> None:
    """A refused key is no absence: leaving the judge out would hide it."""
    vendor = Vendor(lambda *_: InputError("no", reason="AuthenticationFailed"))
    with pytest.raises(InputError, match="judge `gpt`: `spec"):
        ask(tmp_path, vendor, 1000, on_unavailable=policy)

    assert len(vendor.asked_at) <= 16


def test_one_bad_request_is_one_missing_verdict(tmp_path: Path) -> None:
    """A stranger's text may be what the server chokes on; settings that are wrong end all."""
    bad = InputError("no", reason="BadRequest")
    vendor = Vendor(lambda text, _: bad if text == "question 3" else reply())
    asked, _, _, _ = ask(tmp_path / "one", vendor, 50)
    with pytest.raises(InputError, match="judge `gpt`: no"):
        ask(tmp_path / "all", Vendor(lambda *_: bad), 50)

    assert asked.missing == {"3": MissingCause.NO_ANSWER}


def test_a_full_disk_is_no_absence(tmp_path: Path) -> None:
    """What cannot be kept ends the stage, whatever is to happen when a judge stays away."""

    def refuse() -> None:
        raise RetryableError("disk full", reason="DiskFull")

    vendor = Vendor(lambda *_: reply())
    with pytest.raises(RetryableError, match="disk full"):
        ask(tmp_path, vendor, 50, on_unavailable=OnUnavailable.SKIP, on_entry=refuse)


@pytest.mark.parametrize("concurrency", [1, 7, 128])
def test_no_more_is_bought_than_the_budget_allows(tmp_path: Path, concurrency: int) -> None:
    """What is under way is counted at its most; the rest is missing, and is bought with more."""
    budget = Budget(1.0)
    vendor = Vendor(lambda *_: reply())
    judge = make_judge(PRICES, concurrency=concurrency)
    asked, _, asking, _ = ask(tmp_path, vendor, 100, judge, budget=budget)
    spent = asking.tally_of("gpt").cost_usd or 0.0
    again, _, _, _ = ask(tmp_path, vendor, 100, judge, budget=Budget(10.0))

    assert 0.8 < spent <= 1.0
    assert spent == pytest.approx(budget.spent)
    assert set(asked.missing.values()) == {MissingCause.BUDGET_SPENT}
    assert again.entries == len(asked.missing)
    assert set(vendor.times.values()) == {1}


def test_all_judges_share_the_budget(tmp_path: Path) -> None:
    """Together they spend what the run may; one that is free goes on."""
    vendor = Vendor(lambda *_: reply())
    asking = Asking(vendor, 2, budget=Budget(1.0))

    async def work() -> list[Asked]:
        return await asyncio.gather(
            *(
                ask_judge(judge, make_questions(100), Ledger(Journal(tmp_path / name)), asking)
                for name, judge in judges.items()
            )
        )

    judges = {
        name: Judge(
            JudgeSpec(name=name, model=f"acme/{name}", max_tokens=16),
            Endpoint("m"),
            name,
            "spec.judges[0]",
            prices,
        )
        for name, prices in (("a", PRICES), ("b", PRICES), ("own", Prices(0.0, 0.0)))
    }
    first, second, free = run_virtually(work())

    assert sum(asking.tally_of(name).cost_usd or 0 for name in "ab") <= 1.0
    assert first.entries + second.entries >= 16
    assert (free.entries, asking.tally_of("own").cost_usd) == (100, None)


def test_money_for_an_unfinished_talk_is_not_forgotten(tmp_path: Path) -> None:
    """A reply that could not be read was paid for, though the budget does not reach for another."""
    vendor = Vendor(lambda *_: reply("no idea"))
    asked, ledger, asking, _ = ask(
        tmp_path, vendor, 1, make_judge(PRICES), budget=Budget(0.25), retries=9
    )
    entry = ledger.get("0")

    assert asked.missing == {}
    assert entry is not None
    assert entry.missing is MissingCause.UNREADABLE
    assert entry.cost_usd == asking.tally_of("gpt").cost_usd == pytest.approx(0.05)


def test_tokens_and_money_are_counted(tmp_path: Path) -> None:
    """Of each judge and of each verdict, unreadable replies included."""
    vendor = Vendor(lambda _, time: reply("no idea") if time == 1 else reply())
    _, ledger, asking, _ = ask(tmp_path, vendor, 10, make_judge(PRICES))
    entry, shown = ledger.get("0"), asking.tally_of("gpt").build_progress()

    assert entry is not None
    assert (entry.prompt_tokens, entry.completion_tokens, entry.replies) == (20, 8, 2)
    assert entry.cost_usd == pytest.approx(0.1)
    assert (shown.done, shown.total) == (10, 10)
    assert (shown.prompt_tokens, shown.completion_tokens, shown.cost_usd) == (200, 80, "1.0000")


def test_a_bug_is_not_a_failure_of_the_judge(tmp_path: Path) -> None:
    """What nobody foresaw ends the stage as what it is."""
    vendor = Vendor(lambda *_: KeyError("bug"))
    with pytest.raises(KeyError):
        ask(tmp_path, vendor, 10)


def test_breaker_counts_from_the_last_answer() -> None:
    """One answer closes it; so long without one, and the judge is away."""
    now = 0.0
    breaker = Breaker(lambda: now)
    for _ in range(MOST_FAILURES - 1):
        breaker.failed()
    almost = breaker.is_open
    breaker.failed()
    is_open = breaker.is_open
    now += PATIENCE_SECONDS

    assert (almost, is_open, breaker.is_away) == (False, True, True)
    breaker.answered()
    assert (breaker.is_open, breaker.is_away) == (False, False)


def test_failures_have_the_types_of_jobs() -> None:
    """What stages catch and report includes a model that gave no answer."""
    assert issubclass(NoAnswerError, JobError)
    assert not Budget(math.inf).is_limited
