"""What a status says beyond the planner's decisions: sums, and how large it may grow."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from make_run import make_run
from memory_cluster import START, MemoryCluster, make_cluster_run, stage_of

from tunebench_api.contract import Progress, ResultState, StageKind, StageResult
from tunebench_api.v1alpha1 import BenchmarkRun, BenchmarkRunStatus
from tunebench_operator.names import CONDITION_TYPES
from tunebench_operator.observed import Attempt, Observed
from tunebench_operator.plan import plan
from tunebench_operator.status_size import MAX_BYTES, count_bytes

TOOLS = ["Describe", "Review", "Improve"]


def make_score(models: int, message: str) -> StageResult:
    """Return the result of a score stage with a row for each variant of so many models."""
    interval = {"pct": "40.7", "lo": "36.8", "hi": "44.6"}
    row = {
        "tasks": 300,
        "kind": "FineTuned",
        "winRate": interval,
        "tieAdjusted": interval,
        "byTool": [{"name": tool, "winRate": interval} for tool in TOOLS],
        "schemaValidPct": "99.3",
        "delta": interval,
    }
    names = [f"{name}-{number}" for number in range(models) for name in ("model", "untuned")]
    judge = {"verdicts": 16_800, "orderConsistencyPct": "81.0", "firstSlotPct": "52.1"}
    return StageResult(
        state=ResultState.SUCCEEDED,
        reason="Succeeded",
        message=message,
        summary={
            "leaderboard": [{"name": name, **row} for name in [*names, "null control"]],
            "judges": [
                {"name": "one", "costUSD": "12.30", **judge},
                {"name": "two", "costUSD": "0.45", **judge},
                {"name": "unknown price", "costUSD": "", **judge},
                {"name": "reference", "llm": False, "costUSD": "0.00", **judge},
            ],
            "agreement": "81.2",
        },
    )


def finish(
    run: BenchmarkRun,
    message: str,
    score: StageResult | None = None,
    data: StageResult | None = None,
) -> BenchmarkRunStatus:
    """Return the status of a run of which all stages have ended with the same message."""
    attempts: dict[tuple[str, str], tuple[Attempt, ...]] = {}
    for _ in range(40):
        result = plan(run, Observed(attempts), now=START)
        if result.finished:
            return result.status
        for child in result.desired:
            ended = StageResult(state=ResultState.SUCCEEDED, reason="Succeeded", message=message)
            if child.kind is StageKind.SCORE:
                ended = score or make_score(len(run.spec.models), message)
            if child.kind is StageKind.DATA:
                ended = data or ended
            attempt = Attempt(1, Progress(message=message), ended)
            if child.kind is StageKind.SERVE:
                attempt = Attempt(1, Progress(endpoint="http://server"))
            attempts[child.key, child.digest] = (attempt,)
        for key, (attempt,) in attempts.items():
            if attempt.running and not any(child.key == key[0] for child in result.desired):
                attempts[key] = (
                    Attempt(1, result=StageResult(state=ResultState.SUCCEEDED, reason="Succeeded")),
                )
    raise AssertionError(result.status.conditions)


def make_models(count: int) -> list[dict[str, Any]]:
    """Return models of different bases, so that each has an un-tuned variant beside it."""
    return [{"name": f"model-{number}", "base": f"acme/base-{number}"} for number in range(count)]


def test_fourteen_models_in_three_tools_stay_small() -> None:
    """The benchmark of 14 models, done, with messages as the stages write them: under 64 KiB."""
    message = "1,234 steps over 25,000 examples (17 dropped), loss 1.93 to 0.71; 600 verdicts"
    status = finish(make_run(models=make_models(14), tools=TOOLS), message)

    assert len(status.leaderboard) == 29
    assert len(status.models) == 14
    assert count_bytes(status) < 64 << 10


def test_the_largest_run_with_the_longest_messages_fits() -> None:
    """64 models whose every message is too long: messages are cut, and no row is lost."""
    status = finish(make_run(models=make_models(64), tools=TOOLS, parallelism=64), "ä" * 5000)

    assert len(status.models) == 64
    assert len(status.leaderboard) == 129
    assert len(status.stages) > 64 * 5
    assert count_bytes(status) <= MAX_BYTES
    assert any(stage.message.endswith("…") for stage in status.stages)


def test_a_scoring_of_a_newer_version_is_shown() -> None:
    """What its rows say beyond what this status has is passed over, and the run ends."""
    score = make_score(1, "done")
    for rows in ("leaderboard", "judges"):
        score.summary[rows][0]["newField"] = 1
    status = finish(make_run(), "done", score)

    assert len(status.leaderboard) == 3
    assert len(status.judges) == 4


def test_judges_agreement_and_cost_are_summed_up() -> None:
    """`kubectl get -o wide` shows both; a judge of unknown price makes the sum a lower bound."""
    summary = finish(make_run(), "done").summary

    assert summary.agreement == "81.2"
    assert summary.cost_usd == "≥ 12.75"


def make_data(state: ResultState, reason: str, **summary: Any) -> StageResult:
    """Return the result of a data stage."""
    return StageResult(state=state, reason=reason, message="prs.jsonl:1", summary=summary)


CLEAN = {
    "checked": ["SameId", "WordRuns"],
    "removed": {"WordRuns": 2},
    "train": 9,
    "eval": 3,
    "of_a_newer_version": 1,
}


@pytest.mark.parametrize(
    ("data", "status", "reason", "words"),
    [
        pytest.param(
            make_data(ResultState.SUCCEEDED, "Succeeded", contamination=CLEAN),
            "False",
            "Checked",
            "9 training pull requests were compared with 3 of the evaluation by id and runs of 13 "
            "words; 2 were left out of training (WordRuns: 2)",
            id="checked",
        ),
        pytest.param(
            make_data(ResultState.FAILED, "Contaminated"),
            "True",
            "Contaminated",
            "prs.jsonl:1",
            id="contaminated",
        ),
        pytest.param(
            make_data(ResultState.FAILED, "BrokenRow"),
            "Unknown",
            "BrokenRow",
            "the data stage has not compared the two sets yet",
            id="failed before",
        ),
        pytest.param(
            make_data(ResultState.SUCCEEDED, "Succeeded"),
            "Unknown",
            "NotChecked",
            "the data was made by a version that did not say",
            id="data of an older version",
        ),
    ],
)
def test_users_see_whether_training_was_kept_apart(
    data: StageResult, status: str, reason: str, words: str
) -> None:
    """`kubectl describe` shows the condition with what was compared and what was left out."""
    conditions = finish(make_run(), "done", data=data).conditions
    (shown,) = (each for each in conditions if each.type == "Contaminated")

    assert (shown.status, shown.reason, shown.message) == (status, reason, words)


DOUBTS = {
    "reliable": False,
    "judges": ["one", "two"],
    "doubts": [
        {"reason": "PositionBias", "judge": "one", "message": "judge `one` takes the first"},
        {"reason": "JudgesDisagree", "message": "the judges agree too little", "ofANewer": 1},
    ],
}


@pytest.mark.parametrize(
    ("found", "status", "reason", "words"),
    [
        pytest.param(
            {"reliable": True, "judges": ["one", "two"]},
            "True",
            "NoDoubt",
            "nothing speaks against one, two",
            id="trusted",
        ),
        pytest.param(
            DOUBTS,
            "False",
            "PositionBias",
            "judge `one` takes the first; the judges agree too little",
            id="doubts",
        ),
        pytest.param(
            {"reliable": None, "judges": []},
            "Unknown",
            "NoVerdicts",
            "no judge has given a verdict",
            id="no verdicts",
        ),
        pytest.param(None, "Unknown", "NotChecked", "by a version without it", id="older"),
    ],
)
def test_users_see_whether_judges_can_be_trusted(
    found: dict[str, Any] | None, status: str, reason: str, words: str
) -> None:
    """`kubectl describe` shows the condition with what speaks against which judge."""
    score = make_score(1, "done")
    score.summary.update({"reliability": found, "alpha": "0.31", "replication": "Substitute"})
    shown = finish(make_run(), "done", score)
    (condition,) = (each for each in shown.conditions if each.type == "JudgesReliable")

    assert (condition.status, condition.reason) == (status, reason)
    assert words in condition.message
    assert (shown.summary.alpha, shown.summary.replication) == ("0.31", "Substitute")


def test_conditions_are_there_from_the_first_visit() -> None:
    """Each is Unknown before anything is known, and the names are those that are documented."""
    conditions = plan(make_run(), Observed({}), now=START).status.conditions

    assert {each.type for each in conditions} == set(CONDITION_TYPES)
    assert {each.status for each in conditions} == {"Unknown"}


@pytest.mark.parametrize(
    ("started", "finished", "hours"),
    [
        pytest.param("2026-01-01T01:00:00Z", "2026-01-01T03:00:00Z", 8, id="from-its-start"),
        pytest.param("", "2026-01-01T03:00:00Z", 12, id="crashed"),
        pytest.param("2025-12-01T00:00:00Z", "2025-12-02T00:00:00Z", 0, id="reused"),
    ],
)
def test_gpu_hours_count_what_was_held(started: str, finished: str, hours: float) -> None:
    """Four GPUs for the time of an attempt; a result that was there before the run costs none."""
    result = StageResult(
        state=ResultState.FAILED, reason="Made", started_at=started, finished_at=finished
    )

    assert Attempt(1, result=result, gpus=4, created_at=START).gpu_hours == hours
    assert Attempt(1, gpus=4, created_at=START).gpu_hours == 0


def test_gpu_hours_of_a_run_are_those_of_its_pools() -> None:
    """Training and serving count with the pool's GPUs; a run on CPUs has none."""
    shown = []
    for pool in ("default", "h100"):
        models = [{"name": "one", "base": "acme/one", "resources": {"pool": pool}}]
        cluster = MemoryCluster(make_cluster_run(models=models))
        for _ in range(20):
            cluster.step()
            for work in cluster.list_work():
                cluster.succeed(work)
                if stage_of(work) is StageKind.TRAIN:
                    cluster.now += timedelta(hours=2)
        assert cluster.run.status
        shown.append(cluster.run.status.summary.gpu_hours)

    assert shown[0] == ""
    assert float(shown[1]) > 0
