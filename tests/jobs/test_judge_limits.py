"""The judge stage against a server with limits and faults loses nothing and buys nothing twice."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from judged_pairs import Outcome, build_stage, load_stage_outcome, make_pairs, save_stage_inputs
from limited_judge import Conditions
from limited_server import LimitedServer, serving_limited

from tunebench_api.v1alpha1 import JudgeSpec
from tunebench_jobs.stage import run_stage

pytestmark = pytest.mark.jobs

JUDGES = 2
PAIRS = make_pairs(2, 30)
VERDICTS = JUDGES * 2 * len(PAIRS)


@pytest.fixture(scope="module")
def server() -> Iterator[LimitedServer]:
    """Start a server for all tests."""
    with serving_limited() as started:
        yield started


def judge(store: Path, base: str, requests_per_minute: int | None) -> Outcome:
    """Let two judges at one address judge all pairs."""
    save_stage_inputs(store, PAIRS)
    judges = [
        JudgeSpec(
            name=f"judge-{number}",
            model=f"openai/judge-{number}",
            api_base=base,
            requests_per_minute=requests_per_minute,
            concurrency=32,
        )
        for number in range(JUDGES)
    ]
    assert run_stage(build_stage(store, judges)) == 0
    return load_stage_outcome(store, PAIRS, JUDGES)


@pytest.mark.parametrize(
    "told",
    [pytest.param(1800, id="limit known"), pytest.param(None, id="limit unknown")],
)
def test_faults_and_limits_lose_and_double_nothing(
    server: LimitedServer, tmp_path: Path, told: int | None
) -> None:
    """Behind 429, 5xx and garbage, each question gets the one verdict that its answers imply."""
    rules = Conditions(
        requests_per_minute=1800,
        burst=20,
        fastest=0.02,
        usual=0.05,
        slowest=0.2,
        busy=0.02,
        broken=0.04,
        garbage=0.04,
    )
    outcome = judge(tmp_path, server.open(tmp_path.name, rules), told)
    counted = server.count(tmp_path.name)

    assert outcome == Outcome(right=VERDICTS, wrong=0, absent=0)
    assert (counted.questions, counted.answered) == (VERDICTS, VERDICTS)
    assert (counted.lost, counted.doubled, counted.aborted) == (0, 0, 0)
    assert min(counted.refused, counted.broken, counted.garbage) > 0
