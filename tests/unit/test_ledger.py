"""No verdict is lost, and none is paid twice."""

from __future__ import annotations

import asyncio
import json
import re
import resource
import signal
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from judge_store import make_tasks
from virtual_time import run_virtually

from tunebench_api.v1alpha1 import JudgeSpec, SecretRef, Tool
from tunebench_jobs.diffs import Options2024
from tunebench_jobs.errors import InputError, RetryableError
from tunebench_jobs.journal import Journal
from tunebench_jobs.judge.asking import Asking, Judge
from tunebench_jobs.judge.comparisons import (
    Message,
    Question,
    build_comparisons,
    build_judge_digest,
)
from tunebench_jobs.judge.ledger import Ledger, LedgerEntry, MissingCause, open_ledger
from tunebench_jobs.judge.stage import JudgeReport, judge_comparisons
from tunebench_jobs.judge.talk import Talk
from tunebench_jobs.llm import Endpoint, Reply
from tunebench_jobs.prompts import PromptSet, PromptTemplate
from tunebench_jobs.records import Completion

SECRET = "sk-very-secret"  # noqa: S105 - stands for a key
PROMPTS = PromptSet(
    name="test",
    sha256="0",
    licence=None,
    diff=Options2024(),
    templates=(
        PromptTemplate(
            "pr_evaluate_prompt",
            "prompt",
            "evaluate.toml",
            "{{ pr_task }}\n== 1 ==\n{{ pr_response1 }}\n== 2 ==\n{{ pr_response2 }}\n==\nYAML:",
            frozenset({"pr_task", "pr_response1", "pr_response2"}),
        ),
    ),
)


@dataclass
class ScriptedJudge:
    """Answers by rule, counts what it was asked, and can go away."""

    # Bad replies before each readable one.
    unreadable: int = 0
    # Questions after which it is away.
    patience: int | None = None
    failure: Exception = field(default_factory=lambda: RetryableError("away"))
    asked: list[Sequence[Message]] = field(default_factory=list)
    rounds: Counter[str] = field(default_factory=Counter)
    in_flight: int = 0
    most_in_flight: int = 0

    async def __call__(self, endpoint: Endpoint, messages: Sequence[Message]) -> Reply:
        """Prefer the longer completion."""
        self.asked.append(messages)
        turn = len(self.asked)
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        await asyncio.sleep(0)
        self.in_flight -= 1
        if self.patience is not None and turn > self.patience:
            raise self.failure
        assert endpoint.api_key == SECRET
        text = messages[0]["content"]
        self.rounds[text] += 1
        if self.rounds[text] <= self.unreadable:
            return Reply("no idea", 0.5, "stop")
        _, first, second, _ = re.split("\n== 1 ==\n|\n== 2 ==\n|\n==\n", text)
        slot = 0 if len(first) == len(second) else 1 if len(first) > len(second) else 2
        return Reply(f"which_response_was_better: {slot}\nwhy: length\n", 0.25, "stop")


def make_judge(name: str = "judge", model: str = "acme/judge-1", **settings: int) -> Judge:
    """Return a judge with a key."""
    spec = JudgeSpec(
        name=name, model=model, secret_ref=SecretRef(name="keys", key="JUDGE_KEY"), **settings
    )
    endpoint = Endpoint(model=model, api_key=SECRET)
    sent = {"max_tokens": spec.max_tokens}
    return Judge(spec, endpoint, build_judge_digest(spec), "spec.judges[0]", sent=sent)


def run_stage(  # noqa: PLR0913 - most tests need few of them
    store: Path,
    script: ScriptedJudge,
    *judges: Judge,
    model: str = "longer than it",
    tasks: int = 3,
    retries: int = 2,
    repeats: int = 1,
) -> list[JudgeReport]:
    """Judge `model` against a fixed baseline."""
    rows = make_tasks(tasks, [Tool.DESCRIBE])
    sides = (
        {row.id: Completion(task=row.id, completion=text, finish_reason="stop") for row in rows}
        for text in (model, "baseline")
    )
    comparisons = list(build_comparisons(rows, *sides, repeats))
    return run_virtually(
        judge_comparisons(
            comparisons, PROMPTS, judges or (make_judge(),), store, Asking(script, retries)
        )
    )


def test_nothing_known_is_asked_again(tmp_path: Path) -> None:
    """A second run of the same comparisons makes no call and gives the same rows."""
    script = ScriptedJudge()
    first = run_stage(tmp_path, script)
    second = run_stage(tmp_path, script)

    assert len(script.asked) == 6
    assert (first[0].asked, second[0].asked) == (6, 0)
    assert second[0].rows == first[0].rows
    assert {row.winner for row in first[0].rows} == {"Model"}


def test_repeats_are_asked_beside_what_is_known(tmp_path: Path) -> None:
    """Each asking has a verdict of its own, and the first is the one that was there before."""
    script = ScriptedJudge()
    once = run_stage(tmp_path, script)[0]
    thrice = run_stage(tmp_path, script, repeats=3)[0]

    assert (len(script.asked), thrice.asked) == (18, 12)
    assert [row for row in thrice.rows if row.repeat == 0] == list(once.rows)
    assert len({row.key for row in thrice.rows}) == 18
    assert Counter((row.task, row.order) for row in thrice.rows).most_common(1)[0][1] == 3


def test_another_name_for_the_same_judge_costs_nothing(tmp_path: Path) -> None:
    """Name, limits and key of a judge do not decide its verdicts; its settings do."""
    script = ScriptedJudge()
    run_stage(tmp_path, script, make_judge())
    run_stage(tmp_path, script, make_judge(name="other", concurrency=1, requests_per_minute=10**6))
    known = len(script.asked)
    run_stage(tmp_path, script, make_judge(max_tokens=99))

    assert (known, len(script.asked)) == (6, 12)


def test_a_judge_that_goes_away_loses_nothing(tmp_path: Path) -> None:
    """The stage fails, may be retried, and then asks the rest only."""
    away = ScriptedJudge(patience=4)
    with pytest.raises(RetryableError, match="judge `judge`: away"):
        run_stage(tmp_path, away, make_judge(concurrency=2), tasks=10)
    back = ScriptedJudge()
    report = run_stage(tmp_path, back, tasks=10)[0]

    assert len(back.asked) == report.asked == 16
    assert all(row.winner == "Model" for row in report.rows)


def test_other_judges_finish_when_one_is_away(tmp_path: Path) -> None:
    """A failing judge does not throw away another one's work."""
    script = ScriptedJudge()

    async def ask(endpoint: Endpoint, messages: Sequence[Message]) -> Reply:
        if endpoint.model == "acme/away":
            raise RetryableError("away")
        return await script(endpoint, messages)

    pair = (make_judge(name="away", model="acme/away"), make_judge())
    rows = make_tasks(2, [Tool.DESCRIBE])
    sides = {row.id: Completion(task=row.id, completion="x", finish_reason="stop") for row in rows}
    comparisons = list(build_comparisons(rows, sides, sides))
    with pytest.raises(RetryableError, match="judge `away`"):
        run_virtually(judge_comparisons(comparisons, PROMPTS, pair, tmp_path, Asking(ask, 2)))

    assert len(Ledger(Journal(tmp_path / "verdicts" / pair[1].digest))) == 2


def test_a_refused_key_names_the_secret_and_not_its_value(tmp_path: Path) -> None:
    """The user learns which Secret to mend."""
    refusal = InputError("model `acme/judge-1` refused", reason="AuthenticationFailed")
    script = ScriptedJudge(patience=0, failure=refusal)
    with pytest.raises(InputError) as caught:
        run_stage(tmp_path, script)

    assert "`spec.judges[0].secretRef` (key `JUDGE_KEY` of `keys`)" in str(caught.value)
    assert caught.value.reason == "AuthenticationFailed"
    assert len(script.asked) <= 6


def test_no_key_reaches_the_disk(tmp_path: Path) -> None:
    """Ledger and rows hold no credential."""
    reports = run_stage(tmp_path, ScriptedJudge())
    written = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())

    assert b"which_response_was_better" in written
    assert SECRET.encode() not in written
    assert SECRET not in repr(reports)


def test_unreadable_replies_are_asked_for_again_with_the_problem(tmp_path: Path) -> None:
    """The judge is told what was wrong; all its replies are paid for and counted."""
    script = ScriptedJudge(unreadable=2)
    report = run_stage(tmp_path, script, tasks=1)[0]

    assert [len(messages) for messages in script.asked].count(3) == 4
    assert "could not be read" in script.asked[-1][-1]["content"]
    assert [(row.winner, row.replies, row.cost_usd) for row in report.rows] == [
        ("Model", 3, 1.25),
        ("Model", 3, 1.25),
    ]


def test_a_long_reply_is_not_sent_back_whole() -> None:
    """What a judge is reminded of is paid for once more."""
    talk = Talk(Question("key", ({"role": "user", "content": "Which?"},), {}))
    talk.hear(Reply("x" * 1_000_000, None, "length"), None)

    assert len(talk.text) == 1_000_000
    assert talk.characters < 11_000


def test_a_reply_that_stays_unreadable_is_missing(tmp_path: Path) -> None:
    """It is neither tie nor loss, and only the retries that are granted later are asked."""
    script = ScriptedJudge(unreadable=3)
    first = run_stage(tmp_path, script, tasks=1, retries=2)[0]
    calls = len(script.asked)
    again = run_stage(tmp_path, script, tasks=1, retries=2)[0]
    more = run_stage(tmp_path, script, tasks=1, retries=3)[0]
    kept = run_stage(tmp_path, script, tasks=1, retries=0)[0]

    assert [(row.winner, row.missing) for row in first.rows] == [
        (None, MissingCause.UNREADABLE)
    ] * 2
    assert (calls, again.asked, more.asked, kept.asked) == (6, 0, 2, 0)
    assert {row.winner for row in more.rows} == {row.winner for row in kept.rows} == {"Model"}


@pytest.mark.parametrize("cause", [MissingCause.REFUSED, MissingCause.CONTEXT_EXCEEDED])
def test_a_refusal_of_one_comparison_is_missing(tmp_path: Path, cause: MissingCause) -> None:
    """A comparison that a judge will not or cannot read does not fail the stage."""
    script = ScriptedJudge(patience=0, failure=InputError("no", reason=cause.value))
    report = run_stage(tmp_path, script, tasks=1)[0]

    assert [row.missing for row in report.rows] == [cause, cause]


def test_an_empty_completion_loses_unasked(tmp_path: Path) -> None:
    """Nobody pays to learn that nothing is worse than something."""
    script = ScriptedJudge()
    report = run_stage(tmp_path, script, model=" \n")[0]

    assert script.asked == []
    assert {(row.winner, row.key) for row in report.rows} == {("Baseline", None)}


def test_equal_completions_are_judged_once_for_both_orders(tmp_path: Path) -> None:
    """The self control sends the same text in both orders, and pays for one."""
    script = ScriptedJudge()
    report = run_stage(tmp_path, script, model="baseline")[0]

    assert len(script.asked) == 3
    assert [row.winner for row in report.rows] == ["Tie"] * 6


def test_at_most_so_many_requests_are_in_flight(tmp_path: Path) -> None:
    """`concurrency` is a limit, and is used."""
    script = ScriptedJudge()
    run_stage(tmp_path, script, make_judge(concurrency=3), tasks=10)

    assert script.most_in_flight == 3


def test_a_torn_tail_is_forgotten(tmp_path: Path) -> None:
    """An entry that a crash cut off is as if never written; those before it stand."""
    with Ledger(Journal(tmp_path)) as ledger:
        for key in "ab":
            ledger.append(LedgerEntry(key=key, reply="x", replies=1))
    (shard,) = tmp_path.glob("*.jsonl")
    shard.write_bytes(shard.read_bytes()[:-7])
    reopened = Ledger(Journal(tmp_path))

    assert (len(reopened), reopened.get("b")) == (1, None)


@pytest.mark.parametrize(
    "rubbish",
    [
        pytest.param(b"\0" * 4096, id="a page without content"),
        pytest.param(b'{"key":"b","rep', id="half a line"),
        pytest.param(b'ies":1}', id="the other half"),
        pytest.param(b'{"key":"b","reply":"\xff\xfe","replies":1}', id="no UTF-8"),
        pytest.param(b"", id="nothing"),
        pytest.param(b"[" * 100_000, id="deep nesting"),
    ],
)
def test_what_a_power_cut_leaves_is_passed_over(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, rubbish: bytes
) -> None:
    """It is named, the entries round it stand, and what it held is asked again."""
    first, last = (
        LedgerEntry(key=key, reply="x", replies=1).model_dump_json().encode() for key in "ac"
    )
    (tmp_path / "one.jsonl").write_bytes(first + b"\n" + rubbish + b"\n" + last + b"\n" + rubbish)
    ledger = Ledger(Journal(tmp_path))

    assert [key for key in "abc" if ledger.get(key)] == ["a", "c"]
    assert [record.getMessage() for record in caplog.records] == [
        f"{tmp_path / 'one.jsonl'}:2 is no JSON; its comparison is judged again"
    ]


@given(
    replies=st.lists(st.text(max_size=40), min_size=1, max_size=6),
    cut=st.floats(0, 1),
    rubbish=st.binary(max_size=40),
)
def test_a_shard_that_ends_anywhere_holds_what_stands_before(
    tmp_path_factory: pytest.TempPathFactory, replies: list[str], cut: float, rubbish: bytes
) -> None:
    """Whatever byte was the last that reached the disk, and whatever stands behind it."""
    folder = tmp_path_factory.mktemp("ledger")
    with Ledger(Journal(folder)) as ledger:
        for number, reply in enumerate(replies):
            ledger.append(LedgerEntry(key=str(number), reply=reply, replies=1))
    (shard,) = folder.glob("*.jsonl")
    content = shard.read_bytes()
    kept = content[: round(cut * len(content))]
    shard.write_bytes(kept + b"\0" + rubbish.replace(b"\n", b"") + b"\n")
    again = Ledger(Journal(folder))

    assert len(again) == kept.count(b"\n")
    assert all(
        entry.reply == replies[number]
        for number in range(len(again))
        if (entry := again.get(str(number)))
    )


def test_a_line_that_nobody_here_wrote_is_named(tmp_path: Path) -> None:
    """What is whole and no entry, such as one of a later version, is not passed over."""
    whole = LedgerEntry(key="a", reply="x", replies=1).model_dump_json()
    (tmp_path / "one.jsonl").write_text(f'{whole}\n{{"key": "b"}}\n{whole}\n')

    with pytest.raises(InputError, match=r"one\.jsonl:2: broken.*the version that wrote"):
        Ledger(Journal(tmp_path))


def test_the_first_of_two_verdicts_counts(tmp_path: Path) -> None:
    """A machine that asked the same changes no result that rests on the first answer."""
    replies = ["no verdict", "which_response_was_better: 1", "which_response_was_better: 2"]
    for reply in replies:
        with Ledger(Journal(tmp_path)) as ledger:
            ledger.append(LedgerEntry(key="a", reply=reply, replies=1))
            seen = ledger.get("a")
    again = Ledger(Journal(tmp_path)).get("a")

    assert seen == again
    assert again is not None
    assert again.reply == replies[1]


def test_shards_stand_in_the_order_of_their_beginning(tmp_path: Path) -> None:
    """However soon after one another processes begin, what the first was told counts."""
    for number in range(200):
        journal = Journal(tmp_path)
        journal.append(str(number).encode())
        journal.close()

    assert [int(line) for _, _, line in Journal(tmp_path).load()] == list(range(200))


def test_what_follows_a_failed_write_is_not_lost_with_it(tmp_path: Path) -> None:
    """After half a line, the next one begins elsewhere."""
    journal = Journal(tmp_path)
    journal.append(b"first")
    limit, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (9, hard))
    try:
        with pytest.raises(OSError, match="too large"):
            journal.append(b"second")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
        signal.signal(signal.SIGXFSZ, before)
    journal.append(b"third")
    journal.close()

    assert [line for _, _, line in Journal(tmp_path).load()] == [b"first", b"third"]


def test_a_reply_that_ends_in_half_a_character_is_kept(tmp_path: Path) -> None:
    """A server that cuts a reply at its limit of tokens does not stop the stage."""
    with Ledger(Journal(tmp_path)) as ledger:
        ledger.append(LedgerEntry(key="a", reply="so \ud83d", replies=1))
    entry = Ledger(Journal(tmp_path)).get("a")

    assert entry is not None
    assert entry.reply == "so ?"


def test_all_shards_are_read(tmp_path: Path) -> None:
    """What several processes wrote is one ledger, and a verdict stands above a missing one."""
    entries = [
        LedgerEntry(key="a", reply="which_response_was_better: 1", replies=1),
        LedgerEntry(key="a", reply="?", missing=MissingCause.UNREADABLE, replies=3),
        LedgerEntry(key="b", reply="x", replies=1),
    ]
    for entry in entries:
        with Ledger(Journal(tmp_path)) as ledger:
            ledger.append(entry)
    ledger = Ledger(Journal(tmp_path))

    assert len(list(tmp_path.glob("*.jsonl"))) == 3
    assert (ledger.get("a"), ledger.get("b")) == (entries[0], entries[2])


def test_a_ledger_is_held_by_one_stage_at_a_time(tmp_path: Path) -> None:
    """The second stage finds what the first one wrote, and asks nothing twice."""
    order: list[str] = []

    async def hold(name: str, *, writes: bool) -> None:
        async with open_ledger(tmp_path / "digest", "{}") as ledger:
            order.append(f"{name} sees {len(ledger)}")
            await asyncio.sleep(0)
            if writes:
                ledger.append(LedgerEntry(key="a", reply="x", replies=1))

    async def hold_both() -> None:
        await asyncio.gather(hold("first", writes=True), hold("second", writes=False))

    asyncio.run(hold_both())

    assert order == ["first sees 0", "second sees 1"]


def test_the_ledger_says_whose_it_is(tmp_path: Path) -> None:
    """Someone who looks into the store finds model and settings."""
    judge = make_judge()
    run_stage(tmp_path, ScriptedJudge(), judge, tasks=1)
    written = json.loads((tmp_path / "verdicts" / judge.digest / "judge.json").read_text())
    settings = {"model": "acme/judge-1", "temperature": "0", "max_tokens": 1024}

    assert written == {**settings, "sent": {"max_tokens": 1024}}
