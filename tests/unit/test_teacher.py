"""A teacher writes what is missing, and is paid for nothing twice."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from make_drafts import BAD, GOOD, REPLY_TOKENS, ScriptedTeacher, make_draft, make_spec, opened

from tunebench_api.v1alpha1 import Tool
from tunebench_jobs.budget import Estimate, format_usd
from tunebench_jobs.data.drops import Finding, RowDrop
from tunebench_jobs.data.teacher.answers import fill_answers, read_answer
from tunebench_jobs.data.teacher.drafts import Draft
from tunebench_jobs.data.teacher.makers import Makers
from tunebench_jobs.data.teacher.model import PaidModel
from tunebench_jobs.data.teacher.quality import Scoring
from tunebench_jobs.data.teacher.replies import build_key, build_model_digest
from tunebench_jobs.errors import InputError, RetryableError
from tunebench_jobs.llm import Reply
from tunebench_jobs.prices import find_prices
from tunebench_jobs.prompts import builtin_prompts_dir, load_prompt_set

PROMPTS = load_prompt_set(builtin_prompts_dir() / "compact")


def fill(
    store: Path, teacher: ScriptedTeacher, drafts: list[Draft[int]], **spec: Any
) -> list[Draft[int]]:
    """Let a teacher answer drafts."""
    with opened(store, teacher, **spec) as model:
        return list(fill_answers(model, drafts))


def check(model: PaidModel, drafts: list[Draft[int]]) -> None:
    """Estimate what drafts cost, beside those before, and compare it with the budget."""
    Makers(Scoring(PROMPTS, 6), teacher=model).check_budgets(drafts)


def test_open_drafts_are_answered_in_order(tmp_path: Path) -> None:
    """What rows carry stays, what is dropped already stays dropped, and the order is kept."""
    teacher = ScriptedTeacher()
    drafts = [make_draft(n) for n in range(6)]
    drafts[2] = make_draft(2, answer="mine")
    drafts[4] = make_draft(4, finding=Finding(RowDrop.ANSWER_INVALID, "broken"))
    filled = fill(tmp_path, teacher, drafts)

    assert [draft.item for draft in filled] == list(range(6))
    assert filled[2].answer == "mine"
    assert filled[4].finding == Finding(RowDrop.ANSWER_INVALID, "broken")
    assert {filled[n].answer for n in (0, 1, 3, 5)} == {GOOD.strip()}
    assert sorted(teacher.asked) == [f"+line {n}" for n in (0, 1, 3, 5)]


def test_second_time_asks_nobody(tmp_path: Path) -> None:
    """All that is needed lies in the store, and no key is looked for."""
    drafts = [make_draft(n) for n in range(8)]
    first = fill(tmp_path, ScriptedTeacher(), drafts)
    silent = ScriptedTeacher()
    spec = {"secretRef": {"name": "gone", "key": "ABSENT_KEY"}}

    assert fill(tmp_path, silent, drafts, **spec) == first
    assert not silent.asked


def test_added_tool_is_asked_alone(tmp_path: Path) -> None:
    """Another tool's prompts are other conversations; the rest is known."""
    fill(tmp_path, ScriptedTeacher(), [make_draft(1)])
    teacher = ScriptedTeacher(lambda _text, _count: "type: [Tests]\ndescription: d\ntitle: t\n")
    describe = make_draft(2, tool=Tool.DESCRIBE, semantic_files=False)
    fill(tmp_path, teacher, [make_draft(1), describe])

    assert list(teacher.asked) == ["+line 2"]


def test_same_question_twice_is_paid_once(tmp_path: Path) -> None:
    """Two rows with one prompt share the reply, though both are asked at once."""
    teacher = ScriptedTeacher()
    filled = fill(tmp_path, teacher, [make_draft(1), make_draft(1), make_draft(1)])

    assert [draft.answer for draft in filled] == [GOOD.strip()] * 3
    assert teacher.asked.total() == 1


@pytest.mark.parametrize(
    ("change", "is_other"),
    [
        pytest.param({"model": "openai/other"}, True, id="model"),
        pytest.param({"temperature": "0.7"}, True, id="temperature"),
        pytest.param({"maxTokens": 5}, True, id="length"),
        pytest.param({"apiBase": "http://localhost:2/v1"}, True, id="server"),
        pytest.param({"budgetUSD": "99"}, False, id="budget"),
        pytest.param({"concurrency": 1, "family": "acme"}, False, id="how"),
        pytest.param({"secretRef": {"name": "s", "key": "K"}}, False, id="key"),
    ],
)
def test_replies_belong_to_a_model_with_its_settings(
    change: dict[str, Any], *, is_other: bool
) -> None:
    """What decides a reply decides where it is kept, and nothing else does."""
    same = build_model_digest(make_spec(**change)) == build_model_digest(make_spec())

    assert same is not is_other


def test_a_conversation_is_named_by_all_its_messages() -> None:
    """Neither a role nor a word can change unnoticed."""
    names = {
        build_key([{"role": role, "content": text}]) for role in ("user", "system") for text in "ab"
    }

    assert len(names) == 4


def test_unusable_reply_is_asked_for_again_with_the_reason(tmp_path: Path) -> None:
    """The teacher is told what was wrong, and its second answer counts."""
    teacher = ScriptedTeacher(lambda _text, count: GOOD if count else BAD)
    (filled,) = fill(tmp_path, teacher, [make_draft(1)])
    *_, said, reminder = teacher.conversations[1]

    assert filled.answer == GOOD.strip()
    assert said == {"role": "assistant", "content": BAD}
    assert reminder["content"].startswith("Your reply could not be used: ")


def test_bad_replies_are_asked_for_twice_more_and_then_dropped(tmp_path: Path) -> None:
    """Three bad replies are enough, also when the stage starts again."""
    teacher = ScriptedTeacher(lambda _text, count: f"{BAD} {count}")
    (filled,) = fill(tmp_path, teacher, [make_draft(1)])
    fill(tmp_path, teacher, [make_draft(1)])

    assert filled.finding
    assert filled.finding.reason is RowDrop.ANSWER_INVALID
    assert "(3 replies)" in filled.finding.detail
    assert teacher.asked.total() == 3


def test_who_says_the_same_again_is_asked_no_more(tmp_path: Path) -> None:
    """The question would be the same one, and that was answered."""
    teacher = ScriptedTeacher(lambda _text, _count: BAD)
    (filled,) = fill(tmp_path, teacher, [make_draft(1)])

    assert filled.finding
    assert "(2 replies)" in filled.finding.detail
    assert teacher.asked.total() == 2


def test_further_check_of_an_answer_decides_too(tmp_path: Path) -> None:
    """Whoever builds the draft may refuse answers for a reason of its own."""
    finding = Finding(RowDrop.ANSWER_FILES, "names b.py, which is not in the diff")
    teacher = ScriptedTeacher()
    (filled,) = fill(tmp_path, teacher, [make_draft(1, check=lambda _text: finding)])

    assert filled.finding
    assert filled.finding.reason is RowDrop.ANSWER_FILES
    assert finding.detail in teacher.conversations[1][-1]["content"]


@pytest.mark.parametrize(
    ("said", "reason", "words"),
    [
        pytest.param(
            Reply(GOOD, None, "length", 9, REPLY_TOKENS),
            RowDrop.ANSWER_CUT_OFF,
            "limit of 100 tokens",
            id="cut off",
        ),
        pytest.param(
            Reply("", None, "content_filter", 9, 1), RowDrop.NO_ANSWER, "withheld", id="filtered"
        ),
        pytest.param(
            InputError("too long", reason="ContextWindowExceeded"),
            RowDrop.NO_ANSWER,
            "ContextWindowExceeded: too long",
            id="too long",
        ),
    ],
)
def test_what_cannot_be_answered_is_asked_once(
    tmp_path: Path, said: Reply | Exception, reason: RowDrop, words: str
) -> None:
    """A cut or refused reply comes again if asked again, so that is not done."""
    teacher = ScriptedTeacher(lambda text, _count: said if text == "+line 1" else GOOD)
    drafts = [make_draft(1), make_draft(2)]
    filled = fill(tmp_path, teacher, drafts)
    fill(tmp_path, teacher, drafts)

    assert filled[0].finding
    assert filled[0].finding.reason is reason
    assert words in filled[0].finding.detail
    assert filled[1].answer
    assert teacher.asked.total() == 2


def test_one_bad_request_stops_nothing(tmp_path: Path) -> None:
    """A stranger's diff may be what a vendor does not take."""
    bad = InputError("no such character", reason="BadRequest")
    teacher = ScriptedTeacher(lambda text, _count: bad if text == "+line 0" else GOOD)
    filled = fill(tmp_path, teacher, [make_draft(n) for n in range(4)])

    assert [draft.finding and draft.finding.reason for draft in filled] == [
        RowDrop.NO_ANSWER,
        None,
        None,
        None,
    ]


@pytest.mark.parametrize(
    "error",
    [
        pytest.param(InputError("bad setting", reason="BadRequest"), id="all bad"),
        pytest.param(InputError("no such key", reason="AuthenticationFailed"), id="key"),
        pytest.param(RetryableError("away", reason="ModelUnavailable"), id="away"),
    ],
)
def test_failure_names_the_field_and_keeps_what_is_there(
    tmp_path: Path, error: InputError | RetryableError
) -> None:
    """After a failure nothing new is asked, and all replies that came are kept."""
    teacher = ScriptedTeacher(lambda text, _count: GOOD if text < "+line 10" else error)
    drafts = [make_draft(n) for n in range(10, 500)]
    answered = [make_draft(n) for n in (0, 1)]

    with pytest.raises(type(error), match=r"^`spec\.dataset\.teacher`: ") as caught:
        fill(tmp_path, teacher, [*answered, *drafts])
    silent = ScriptedTeacher()
    fill(tmp_path, silent, answered)

    assert caught.value.reason == error.reason
    assert teacher.asked.total() < 80
    assert not silent.asked


def test_consumer_that_stops_loses_no_reply(tmp_path: Path) -> None:
    """Whoever leaves the stream waits for what is under way, which is paid for."""
    teacher = ScriptedTeacher()
    with opened(tmp_path, teacher) as model:
        stream: Iterator[Draft[int]] = fill_answers(model, (make_draft(n) for n in range(100)))
        next(stream)

    assert len(model.replies) == teacher.asked.total() > 0


def test_stream_is_read_only_as_far_as_needed(tmp_path: Path) -> None:
    """Memory holds a window of the drafts, not all of them."""
    taken = 0

    def drafts() -> Iterator[Draft[int]]:
        nonlocal taken
        for number in range(10_000):
            taken += 1
            yield make_draft(number)

    teacher = ScriptedTeacher()
    with opened(tmp_path, teacher, budgetUSD="1e6", concurrency=4) as model:
        stream = fill_answers(model, drafts())
        for _ in range(10):
            next(stream)
        ahead = taken

    assert ahead < 100
    assert teacher.most_in_flight == 4


def test_budget_is_never_exceeded_and_what_is_there_is_used(tmp_path: Path) -> None:
    """At a dollar a reply, ten dollars give ten answers; the others say why they have none."""
    teacher = ScriptedTeacher()
    with opened(tmp_path, teacher) as model:
        filled = list(fill_answers(model, [make_draft(n) for n in range(25)]))
        spent = model.budget.spent
    without = [draft.finding for draft in filled if draft.finding]

    assert (spent, teacher.asked.total(), len(without)) == (pytest.approx(10.0), 10, 15)
    assert set(without) == {Finding(RowDrop.NO_ANSWER, "`spec.dataset.teacher.budgetUSD` is spent")}
    assert {draft.answer for draft in filled if not draft.finding} == {GOOD.strip()}


def test_budget_waits_for_replies_that_are_shorter_than_feared(tmp_path: Path) -> None:
    """What a short reply leaves over pays for others, though all of it was set aside."""
    short = Reply(GOOD, None, "stop", 1, REPLY_TOKENS // 4)
    teacher = ScriptedTeacher(lambda _text, _count: short)
    filled = fill(tmp_path, teacher, [make_draft(n) for n in range(50)])

    # A quarter of a dollar each, as long as a whole one is left.
    assert sum(draft.answer is not None for draft in filled) == 37


def test_estimate_that_is_too_high_asks_nobody(tmp_path: Path) -> None:
    """The refusal says what it would cost, for what, and what to do."""
    teacher = ScriptedTeacher()
    with (
        opened(tmp_path, teacher) as model,
        pytest.raises(InputError, match=r"`spec\.dataset\.teacher\.budgetUSD` must be") as caught,
    ):
        check(model, [make_draft(n) for n in range(11)])

    assert "at least the estimate of 11.00, got 10.00: 11 questions" in str(caught.value)
    assert caught.value.reason == "OverBudget"
    assert not teacher.asked


def test_kept_replies_cost_nothing_and_tell_how_long_others_will_be(tmp_path: Path) -> None:
    """Twenty replies of 50 tokens say more of the next ones than `maxTokens` does."""
    half = Reply(GOOD, None, "stop", 1, REPLY_TOKENS // 2)
    drafts = [make_draft(n) for n in range(40)]
    fill(tmp_path, ScriptedTeacher(lambda _text, _count: half), drafts[:20], budgetUSD="99")
    with opened(tmp_path, ScriptedTeacher()) as model:
        check(model, drafts)
        with pytest.raises(InputError, match=r"estimate of 10\.50, got 10\.00: 21 questions"):
            check(model, [make_draft(40)])


def test_estimate_of_nothing_needs_no_price(tmp_path: Path) -> None:
    """Where all is known, nobody has to know what the model costs."""
    spec = {"prices": None, "model": "openai/scripted", "apiBase": None}
    with opened(tmp_path, ScriptedTeacher(), **spec) as model:
        check(model, [make_draft(1, answer="mine")])
        estimated = model.estimated

    assert estimated == Estimate()


@pytest.mark.parametrize(
    "reply",
    [
        pytest.param("code_suggestions: []", id="literal"),
        pytest.param("```yaml\ncode_suggestions: []\n```\n", id="fences"),
        pytest.param("Sure!\n```yaml\ncode_suggestions: []\n```\nDone.", id="talk"),
    ],
)
def test_answer_is_yaml_as_it_stands(reply: str) -> None:
    """Fences and talk are not learnt."""
    assert read_answer(make_draft(1), reply).strip() == "code_suggestions: []"


def test_broken_journal_names_the_line(tmp_path: Path) -> None:
    """A damaged line is the user's to delete; nothing is guessed."""
    fill(tmp_path, ScriptedTeacher(), [make_draft(1)])
    (shard,) = tmp_path.glob("replies/teacher/*/*.jsonl")
    shard.write_bytes(b'{"key": 1}\n' + shard.read_bytes())

    with pytest.raises(InputError, match=r"\.jsonl:1: broken reply .* delete this line"):
        fill(tmp_path, ScriptedTeacher(), [make_draft(1)])


def test_line_that_a_crash_cut_off_is_nothing(tmp_path: Path) -> None:
    """What was being written is asked for again, and the rest is still found."""
    drafts = [make_draft(n) for n in range(3)]
    fill(tmp_path, ScriptedTeacher(), drafts)
    (shard,) = tmp_path.glob("replies/teacher/*/*.jsonl")
    shard.write_bytes(shard.read_bytes()[:-20])
    teacher = ScriptedTeacher()
    filled = fill(tmp_path, teacher, drafts)

    assert all(draft.answer for draft in filled)
    assert teacher.asked.total() == 1


@pytest.mark.parametrize(
    ("amount", "text"),
    [(0.0, "0.00"), (0.00123, "0.00123"), (12.345, "12.35"), (1234.5, "1,234.50")],
)
def test_amounts_are_readable(amount: float, text: str) -> None:
    """Cents, thousands, and no small amount that looks like nothing."""
    assert format_usd(amount) == text


def test_estimate_within_the_budget_is_quiet() -> None:
    """Sums of many prices may be off by a hair."""
    Estimate(questions=3, reply_tokens=3, usd=0.1 + 0.2).check(0.3, "spec.dataset.teacher", "m")


def test_given_prices_are_for_a_million_tokens() -> None:
    """A run's own prices go before everything that is known."""
    prices = {"inputUSDPerMillion": "2.5", "outputUSDPerMillion": "10"}
    found = find_prices(make_spec(prices=prices), "spec.dataset.teacher")

    assert found.cost(1_000_000, 100_000) == pytest.approx(3.5)
    assert found.cost_of(Reply("", 99.0, "stop", 1_000_000, 100_000)) == pytest.approx(3.5)
