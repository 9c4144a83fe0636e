"""Ranks say no more than the data, and missing verdicts forbid them."""

from __future__ import annotations

from random import Random

import pytest
from make_scores import LLM, OTHER, Rule, always, make_tasks, make_variant, score

from tunebench_api.contract import VariantKind
from tunebench_api.v1alpha1 import JudgeSpec
from tunebench_jobs.judge.comparisons import Order
from tunebench_jobs.judge.verdicts import Winner
from tunebench_jobs.records import Task
from tunebench_jobs.score.build import build_summary
from tunebench_jobs.score.markdown import render_markdown
from tunebench_jobs.score.results import Results

TASKS = make_tasks(30)


def wins(count: int) -> Rule:
    """Return a rule that gives the model about so many of ten tasks, each variant others."""
    return lambda number, *_: (
        Winner.MODEL if Random(f"{number} {count}").random() < count / 10 else Winner.BASELINE  # noqa: S311 - no secret
    )


def run(*counts: int, **spec: object) -> Results:
    """Score variants that win so many of every ten tasks."""
    return score(
        TASKS, [LLM], *(make_variant(f"m{c}", TASKS, [LLM], wins(c), **spec) for c in counts)
    )


def list_ranks(results: Results) -> dict[str, tuple[int, int, int]]:
    """Return each variant's rank and its range."""
    return {
        row.name: (row.rank.point, row.rank.low, row.rank.high)
        for row in results.variants
        if row.rank
    }


def test_ranks_overlap_unless_the_difference_is_sure() -> None:
    """Two close models share ranks; the one far behind stands last for sure."""
    results = run(8, 7, 1)

    assert list_ranks(results) == {"m8": (1, 1, 2), "m7": (2, 1, 2), "m1": (3, 3, 3)}
    assert results.ranking is not None
    assert results.ranking.separable_pct == pytest.approx(200 / 3, abs=1e-3)
    assert [pair.significant for pair in results.ranking.pairs] == [False, True, True]
    assert "2 of 3 pairs differ (66.7%)" in render_markdown(results)
    rows = build_summary(results)["leaderboard"]
    assert isinstance(rows, list)
    assert [row["rank"] for row in rows] == ["1-2", "1-2", "3"]


def test_untuned_variants_and_controls_are_not_ranked() -> None:
    """The leaderboard ranks fine-tuned models; without any, the others."""
    tuned = make_variant("tuned", TASKS, [LLM], wins(8))
    untuned = make_variant("raw", TASKS, [LLM], wins(1), kind=VariantKind.UNTUNED)

    assert list_ranks(score(TASKS, [LLM], tuned, untuned)) == {"tuned": (1, 1, 1)}
    assert list_ranks(score(TASKS, [LLM], untuned)) == {"raw": (1, 1, 1)}


@pytest.mark.parametrize(
    ("gaps", "words"),
    [
        pytest.param(10, "more than 5%", id="many"),
        pytest.param(3, "more than 2 points apart", id="uneven"),
    ],
)
def test_missing_verdicts_forbid_a_ranking(gaps: int, words: str) -> None:
    """They may be missing for a reason, so no rank is given, and the report says why."""

    def rule(number: int, task: Task, judge: str, order: Order) -> Winner | None:
        return None if number < gaps else wins(8)(number, task, judge, order)

    results = score(
        TASKS,
        [LLM],
        make_variant("gaps", TASKS, [LLM], rule),
        make_variant("whole", TASKS, [LLM], wins(2)),
    )
    assert results.ranking is not None

    assert words in (results.ranking.blocked or "")
    assert list_ranks(results) == {}
    assert "RankingBlocked" in [warned.reason for warned in results.warnings]


def test_models_stand_in_the_table_of_their_size() -> None:
    """As the benchmark has it, large and small ones are ranked apart too."""
    sized = [
        make_variant(name, TASKS, [LLM], wins(count), size_billions=size)
        for name, count, size in (("big", 9, "34"), ("mid", 5, "22"), ("tiny", 1, "7"))
    ]
    results = score(TASKS, [LLM], *sized)
    rows = {row.name: row for row in results.variants}
    text = render_markdown(results)

    assert [rows[name].group for name in ("big", "mid", "tiny")] == ["Large", "Large", "Small"]
    assert rows["tiny"].rank is not None
    assert rows["tiny"].group_rank is not None
    assert (rows["tiny"].rank.low, rows["tiny"].group_rank.low) == (3, 1)
    assert text.index("### Large models, from 15 billion") < text.index("### Small models")


def test_a_task_is_strictly_won_in_both_orders() -> None:
    """What one order gives is half a win in the headline and none here."""

    def rule(number: int, _task: Task, _judge: str, order: Order) -> Winner:
        if number % 2:
            return Winner.MODEL
        return Winner.MODEL if order is Order.MODEL_FIRST else Winner.BASELINE

    (row,) = score(TASKS, [LLM], make_variant("m", TASKS, [LLM], rule)).variants
    assert row.win_rate is not None
    assert row.strict is not None

    assert (row.win_rate.pct, row.strict.pct) == (75, 50)


def test_repeats_count_as_one() -> None:
    """A question that is asked three times weighs as much as the others, and flips are counted."""
    once = make_variant("m", TASKS, [LLM], always(Winner.BASELINE))
    again = [
        row.model_copy(update={"repeat": repeat, "winner": Winner.MODEL})
        for row in once.verdicts
        if row.task == TASKS[0].id
        for repeat in (1, 2)
    ]
    many = type(once)(once.spec, once.completions, [*once.verdicts, *again])
    results = score(TASKS, [LLM], many)
    (row,) = results.variants
    assert row.micro_win_rate_pct is not None

    assert row.micro_win_rate_pct == pytest.approx(100 * (2 / 3) / 90, abs=1e-3)
    assert row.missing == 0
    assert results.judges[0].repeat_flips_pct == 100
    assert results.judges[0].order_consistency_pct == 100


def test_kin_are_compared_with_judges_of_other_families() -> None:
    """A judge of the baseline's family that holds models down is told by how much."""
    own = JudgeSpec(name="own", model="openai/gpt-4o-2024-05-13", family="OpenAI")

    def rule(number: int, task: Task, judge: str, order: Order) -> Winner:
        return wins(2 if judge == "own" else 6)(number, task, judge, order) or Winner.TIE

    results = score(
        TASKS,
        [own, OTHER],
        make_variant("m", TASKS, [own, OTHER], rule, family="openai"),
        make_variant("n", TASKS, [own, OTHER], rule),
    )
    baseline, model = results.kinship
    assert baseline.favour is not None
    assert model.favour is not None

    assert (baseline.relation, baseline.others) == ("Baseline", ("other",))
    assert baseline.favour.pct == pytest.approx(40, abs=15)
    assert (model.relation, model.favour.pct) == ("Model", 0)


def test_the_run_says_what_it_could_have_found() -> None:
    """The difference that it would miss in one case of five grows with the comparisons."""
    power = run(8, 7, 1).power
    assert power is not None

    assert power.comparisons == 3
    assert power.points == pytest.approx(2.8016 * power.standard_error, rel=1e-3)
    assert power.points_holm > power.points
