"""From verdicts to a leaderboard that hides nothing."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from make_scores import (
    CLEAN,
    FUNNEL,
    LLM,
    OTHER,
    REFERENCE,
    Rule,
    always,
    by_place,
    make_tasks,
    make_variant,
    score,
)

from tunebench_api.contamination import Contamination
from tunebench_api.contract import FailedModel, VariantKind
from tunebench_api.v1alpha1 import (
    Control,
    JudgeStatus,
    LeaderboardRow,
    Tool,
)
from tunebench_jobs.errors import InputError
from tunebench_jobs.judge.comparisons import Order
from tunebench_jobs.judge.verdicts import Winner
from tunebench_jobs.records import Completion, Task
from tunebench_jobs.score.build import build_summary
from tunebench_jobs.score.markdown import render_markdown
from tunebench_jobs.score.outcomes import JudgedVariant
from tunebench_jobs.score.results import Results, VariantResult

GOLDEN = Path(__file__).parents[1] / "golden" / "leaderboard.md"


def only(results: Results) -> VariantResult:
    """Return the one variant."""
    (row,) = results.variants
    return row


def test_ties_are_no_wins() -> None:
    """A tie counts nothing in the headline and half in the adjusted rate."""
    tasks = make_tasks(8)
    row = only(score(tasks, [LLM], make_variant("m", tasks, [LLM], always(Winner.TIE))))

    assert row.win_rate is not None
    assert row.tie_adjusted is not None
    assert (row.win_rate.pct, row.tie_adjusted.pct) == (0, 50)


def test_each_pair_of_orders_is_one_outcome() -> None:
    """A judge that follows the place gives half a win, whatever it likes."""
    tasks = make_tasks(9, [Tool.DESCRIBE])
    results = score(tasks, [LLM], make_variant("m", tasks, [LLM], by_place))
    row = only(results)

    assert row.win_rate is not None
    assert row.win_rate.pct == pytest.approx((3 * 100 + 6 * 50) / 9, abs=1e-3)
    assert results.judges[0].order_consistency_pct == pytest.approx(100 / 3, abs=1e-3)
    assert results.judges[0].first_slot_pct == pytest.approx(100 * (3 + 12) / 18, abs=1e-3)


def test_missing_verdicts_are_counted_and_bounded() -> None:
    """A task without both orders leaves the rate; the bounds say what it could have been."""
    tasks = make_tasks(10, [Tool.DESCRIBE])

    def rule(number: int, _task: Task, _judge: str, order: Order) -> Winner | None:
        if number == 0 and order is Order.BASELINE_FIRST:
            return None
        return Winner.MODEL if number < 5 else Winner.BASELINE

    results = score(tasks, [LLM], make_variant("m", tasks, [LLM], rule))
    row = only(results)

    assert row.win_rate is not None
    assert row.win_rate.pct == pytest.approx(100 * 4 / 9, abs=1e-3)
    assert (row.tasks, row.judged, row.missing) == (10, 9, 1)
    assert (row.bounds.lo, row.bounds.hi) == (45, 50)
    assert results.judges[0].missing == {"Unreadable": 1}
    assert [warned.reason for warned in results.warnings] == ["MissingVerdicts"]


def test_all_verdicts_missing_is_no_zero() -> None:
    """Without any verdict there is no rate, and the row is still there."""
    tasks = make_tasks(8)
    results = score(tasks, [LLM], make_variant("m", tasks, [LLM], always(None)))
    row = only(results)

    assert row.win_rate is row.tie_adjusted is None
    assert (row.bounds.lo, row.bounds.hi) == (0, 100)
    assert "| n/a | m | n/a | n/a | n/a | n/a | 24 | 48 |" in render_markdown(results)
    assert build_summary(results)["best"] == ""


@pytest.mark.parametrize(
    "text", [pytest.param("", id="empty"), pytest.param("I refuse: no: no", id="invalid")]
)
def test_what_cannot_be_read_is_lost(text: str) -> None:
    """An unreadable completion is lost whatever the judge says; its word stands beside."""
    tasks = make_tasks(8, [Tool.IMPROVE])
    broken = {
        task.id: Completion(task=task.id, completion=text, finish_reason="length")
        for task in tasks[:4]
    }
    variant = make_variant("m", tasks, [LLM], always(Winner.MODEL), completions=broken)
    row = only(score(tasks, [LLM], variant))

    assert row.win_rate is not None
    assert row.as_judged is not None
    assert (row.win_rate.pct, row.as_judged.pct) == (50, 100)
    assert (row.validity.invalid_pct, row.validity.cut_off_pct) == (50, 50)
    assert row.by_tool[0].validity == row.validity


def test_a_row_that_is_absent_is_an_error() -> None:
    """Verdicts may be missing, their rows may not."""
    tasks = make_tasks(2)
    variant = make_variant("m", tasks, [LLM], always(Winner.TIE))
    torn = JudgedVariant(variant.spec, variant.completions, variant.verdicts[1:])

    with pytest.raises(InputError, match=r"variant `m` must have a verdict row for acme/x#0"):
        score(tasks, [LLM], torn)


def test_the_gain_is_paired_with_the_untuned_variant() -> None:
    """The change is a difference over the same tasks, with an interval of its own."""
    tasks = make_tasks(12)
    before = make_variant(
        "m-untuned",
        tasks,
        [LLM],
        lambda number, *_: Winner.MODEL if number % 4 == 0 else Winner.BASELINE,
        kind=VariantKind.UNTUNED,
    )
    after = make_variant(
        "m",
        tasks,
        [LLM],
        lambda number, *_: Winner.BASELINE if number % 4 == 1 else Winner.MODEL,
        untuned="m-untuned",
    )
    first, second = score(tasks, [LLM], before, after).variants

    assert (first.name, second.delta) == ("m", None)
    assert first.delta is not None
    assert first.delta.pct == pytest.approx(50)
    assert first.delta.lo is not None
    assert 0 < first.delta.lo < 50


def test_the_panel_is_the_mean_of_its_judges() -> None:
    """Two judges count alike, and one that has no verdict on a task leaves it to the other."""
    tasks = make_tasks(8, [Tool.REVIEW])

    def rule(number: int, _task: Task, judge: str, _order: Order) -> Winner | None:
        if judge == "llm":
            return Winner.MODEL
        return None if number < 4 else Winner.BASELINE

    row = only(score(tasks, [LLM, OTHER], make_variant("m", tasks, [LLM, OTHER], rule)))

    assert row.win_rate is not None
    assert row.win_rate.pct == pytest.approx(75)
    assert [each.win_rate and each.win_rate.pct for each in row.by_judge] == [100, 0]


def test_the_reference_judge_stands_beside_llms() -> None:
    """It makes the headline only where it is alone, and is always called what it is."""
    tasks = make_tasks(8)

    def rule(_number: int, _task: Task, judge: str, _order: Order) -> Winner:
        return Winner.MODEL if judge == "llm" else Winner.BASELINE

    both = score(tasks, [LLM, REFERENCE], make_variant("m", tasks, [LLM, REFERENCE], rule))
    alone = score(tasks, [REFERENCE], make_variant("m", tasks, [REFERENCE], rule))
    row, lone = only(both), only(alone)

    assert row.win_rate is not None
    assert lone.win_rate is not None
    assert (row.win_rate.pct, lone.win_rate.pct) == (100, 0)
    for results in (both, alone):
        text = render_markdown(results)
        assert text.count("reference judge, not an LLM") >= 2
        assert [judge["llm"] for judge in results.to_wire()["judges"]][-1] is False
    assert "**The judge is a reference judge, not an LLM**" in render_markdown(alone)


def test_one_pull_request_has_no_interval() -> None:
    """Three tasks of one pull request are no basis for an interval."""
    tasks = make_tasks(1)
    results = score(tasks, [LLM], make_variant("m", tasks, [LLM], always(Winner.MODEL)))

    assert "| m | n/a | 100.0 (no interval) |" in render_markdown(results)
    assert build_summary(results)["winRate"] == "100.0 (no interval)"
    assert any("One pull request" in note for note in results.notes)


def test_kin_and_failing_controls_are_flagged() -> None:
    """A reader is warned of judges that may favour their own, or that prefer nonsense."""
    tasks = make_tasks(8)
    null = make_variant("null-control", tasks, [LLM], by_place, control=Control.NULL)
    own = make_variant("self-control", tasks, [LLM], always(Winner.MODEL), control=Control.SELF)
    judge = LLM.model_copy(update={"family": "OpenAI"})
    results = score(tasks, [judge], null, own, teacher_family="openai")

    assert [warned.reason for warned in results.warnings] == [
        "PreferenceLeakage",
        "SelfPreference",
        "SelfControlUneven",
        "NullControlWins",
    ]


def test_a_constant_answer_may_beat_an_unreadable_baseline() -> None:
    """Where the baseline cannot be read, a control that wins says nothing against the judge."""
    tasks = make_tasks(8)
    null = make_variant("null-control", tasks, [LLM], by_place, control=Control.NULL)
    results = score(tasks, [LLM], null, unreadable_baseline=True)

    assert results.warnings == ()
    assert results.baseline.validity.invalid_pct == 100


@pytest.mark.parametrize("text", ["no: no: no", ""])
def test_the_self_control_is_even_though_the_baseline_cannot_be_read(text: str) -> None:
    """A broken answer stands on both sides there, so only the judge can make it uneven."""
    tasks = make_tasks(8)
    broken = {
        task.id: Completion(task=task.id, completion=text, finish_reason="stored")
        for task in tasks[:9]
    }
    own = make_variant(
        "self-control", tasks, [LLM], always(Winner.TIE), completions=broken, control=Control.SELF
    )
    unasked = [
        row.model_copy(update={"key": None, "winner": Winner.BASELINE})
        if row.task in broken and not text
        else row
        for row in own.verdicts
    ]
    results = score(tasks, [LLM], replace(own, verdicts=unasked))
    rate = only(results).tie_adjusted

    assert rate is not None
    assert rate.pct == 50
    assert results.warnings == ()


def test_an_interval_is_shown_by_its_ends() -> None:
    """Intervals are seldom symmetric, so both ends stand there, in narrow columns too."""
    tasks = make_tasks(8)
    rule: Rule = lambda number, *_: Winner.MODEL if number < 2 else Winner.BASELINE  # noqa: E731 - as short as it can be
    results = score(tasks, [LLM], make_variant("m", tasks, [LLM], rule))
    rate = only(results).win_rate
    assert rate is not None
    assert rate.lo is not None
    assert rate.hi is not None

    assert rate.hi - rate.pct != pytest.approx(rate.pct - rate.lo)
    assert f"| {rate.pct:.1f} ({rate.lo:.1f} to {rate.hi:.1f}) |" in render_markdown(results)
    assert build_summary(results)["winRate"] == f"{rate.pct:.1f} ({rate.lo:.1f}-{rate.hi:.1f})"
    assert "±" not in render_markdown(results)


def test_what_the_data_stage_warned_of_is_in_the_report() -> None:
    """Fewer tasks than asked for are no secret of a log file."""
    tasks = make_tasks(2)
    variant = make_variant("m", tasks, [LLM], always(Winner.TIE))
    results = score(tasks, [LLM], variant, shortfalls=["`perTool` asks for 100, got 2"])

    assert results.warnings[0].reason == "FewerPullRequests"
    assert "- `perTool` asks for 100, got 2" in render_markdown(results)


@pytest.mark.parametrize(
    ("contamination", "words"),
    [
        pytest.param(CLEAN, "25,000 training pull requests were compared with 24", id="checked"),
        pytest.param(None, "Nothing says whether training was kept apart", id="unknown"),
    ],
)
def test_the_report_says_how_training_was_kept_apart(
    contamination: Contamination | None, words: str
) -> None:
    """A reader learns what was compared, and that nothing is known of older data."""
    tasks = make_tasks(2)
    variant = make_variant("m", tasks, [LLM], always(Winner.TIE))
    results = score(tasks, [LLM], variant, contamination=contamination)

    assert words in render_markdown(results)


def test_controls_never_win_the_table() -> None:
    """Controls stand last, and are not the best."""
    tasks = make_tasks(8)
    null = make_variant("null", tasks, [LLM], always(Winner.MODEL), control=Control.NULL)
    model = make_variant("m", tasks, [LLM], always(Winner.BASELINE))
    results = score(tasks, [LLM], null, model)

    assert [row.name for row in results.variants] == ["m", "null"]
    assert build_summary(results)["best"] == "m"


def test_the_order_of_the_input_does_not_matter() -> None:
    """Tasks and variants may come in any order."""
    tasks = make_tasks(8)
    rule: Rule = lambda _n, task, *_: (  # noqa: E731 - as short as it can be
        Winner.MODEL if sum(map(ord, task.id)) % 3 else Winner.TIE
    )
    shuffled = [tasks[place] for place in np.random.default_rng(1).permutation(len(tasks))]
    left, right = (
        score(rows, [LLM], *(make_variant(name, rows, [LLM], rule) for name in names))
        for rows, names in ((tasks, "ab"), (shuffled, "ba"))
    )

    assert left.variants == right.variants


def test_the_status_gets_typed_rows() -> None:
    """The summary holds what the API's types read, and nothing else."""
    tasks = make_tasks(8)
    results = score(tasks, [LLM], make_variant("m", tasks, [LLM], by_place))
    summary = build_summary(results)
    rows, judges = summary["leaderboard"], summary["judges"]
    assert isinstance(rows, list)
    assert isinstance(judges, list)
    row, judge = LeaderboardRow.from_wire(rows[0]), JudgeStatus.from_wire(judges[0])

    assert (row.win_rate.pct, row.missing, row.schema_valid_pct) == ("66.7", 0, "100.0")
    assert [tool.name for tool in row.by_tool] == ["Describe", "Review", "Improve"]
    assert (judge.verdicts, judge.cost_usd, judge.llm) == (48, "0.48", True)


def test_names_cannot_break_the_tables() -> None:
    """What users and errors say stays inside its cell."""
    tasks = make_tasks(2)
    failed = FailedModel(name="x", reason="Broke", message="a | b\n## c <img>\x1b " + "z" * 999)
    text = render_markdown(
        score(tasks, [LLM], make_variant("m", tasks, [LLM], by_place), failed=(failed,))
    )
    (line,) = [line for line in text.splitlines() if "Broke" in line]

    assert line.startswith(r"| x | Broke | a \| b \#\# c &lt;img&gt;\\u001b zzz")
    assert len(line) < 400


def make_golden_results() -> Results:
    """Return a run in which everything occurs."""
    tasks = make_tasks(24)
    judges = [LLM, OTHER, REFERENCE]
    broken = {
        task.id: Completion(task=task.id, completion="type: [", finish_reason="length")
        for task in tasks[:9]
    }

    def rule_of(skill: int) -> Rule:
        def rule(number: int, task: Task, judge: str, order: Order) -> Winner | None:
            dice = (number * 37 + len(judge) * 11 + len(task.tool) * 5 + len(order)) % 100
            if dice == 99:
                return None
            if dice < skill:
                return Winner.MODEL
            return Winner.TIE if dice < skill + 10 else Winner.BASELINE

        return rule

    variants = (
        make_variant("small", tasks, judges, rule_of(40), untuned="small-untuned",
                     size_billions="0.13"),
        make_variant("small-untuned", tasks, judges, rule_of(4), completions=broken,
                     kind=VariantKind.UNTUNED, size_billions="0.13"),
        make_variant("large", tasks, judges, rule_of(55), untuned="gone", size_billions="34"),
        make_variant("null-control", tasks, judges, always(Winner.BASELINE), control=Control.NULL),
        make_variant("self-control", tasks, judges, always(Winner.TIE), control=Control.SELF),
    )  # fmt: skip
    failed = FailedModel(name="odd", reason="OutOfMemory", message="no GPU is large enough")
    return score(
        tasks,
        judges,
        *variants,
        teacher_family="acme",
        failed=(failed,),
        contamination=CLEAN,
        funnel=FUNNEL,
    )


def test_golden_leaderboard() -> None:
    """The printed leaderboard is the stored one; `UPDATE_GOLDEN=1` stores it anew."""
    text = render_markdown(make_golden_results())
    if os.environ.get("UPDATE_GOLDEN"):
        GOLDEN.write_text(text, encoding="utf-8")

    assert text == GOLDEN.read_text(encoding="utf-8")


def test_results_can_be_read_back() -> None:
    """`results.json` holds all that the leaderboard shows."""
    results = make_golden_results()
    again = Results.model_validate_json(results.model_dump_json(by_alias=True))

    assert render_markdown(again) == render_markdown(results)
