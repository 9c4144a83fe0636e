"""Judges that cannot be trusted are found from end to end: asked over HTTP, scored, shown."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from judge_store import make_judge_config, make_tasks, run, save_completions, save_data
from make_pulls import ANSWERS
from scripted_judge import serving_judge

from tunebench_api.contract import (
    AnyStageConfig,
    ControlConfig,
    ScoreConfig,
    StageResult,
)
from tunebench_api.reliability import Reliability
from tunebench_jobs.records import Task

pytestmark = [
    pytest.mark.jobs,
    # LiteLLM loads some vendors at the first call, and pydantic warns of how one was typed.
    pytest.mark.filterwarnings("ignore:Items? .* on TypedDict class:UserWarning"),
]

PROMPTS = Path(__file__).parents[2] / "prompts"
KEY = "sk-scripted"
PULLS = 14
PARTS = ("Answer 1", "End of answer 1", "Answer 2", "End of answer 2")


def say_first(_question: str, _text: str) -> str:
    """Prefer what comes first."""
    return "which_response_was_better: 1\n"


def say_longer(_question: str, text: str) -> str:
    """Prefer the longer answer, and see no difference between equal ones."""
    places = [text.index(f"***** {part} *****") for part in PARTS]
    lead = (places[1] - places[0]) - (places[3] - places[2])
    return f"which_response_was_better: {0 if abs(lead) < 60 else 1 if lead > 0 else 2}\n"


def say_half(_question: str, text: str) -> str:
    """Answer in prose on every other pull request."""
    odd = any(f"diff {number}\n" in text for number in range(1, PULLS, 2))
    return "I cannot say." if odd else "which_response_was_better: 0\n"


def say_even(_question: str, _text: str) -> str:
    """See no difference anywhere."""
    return "which_response_was_better: 0\n"


SCRIPTS = {"first": say_first, "longer": say_longer, "half": say_half, "even": say_even}


@pytest.fixture
def judges() -> Iterator[dict[str, dict[str, Any]]]:
    """Serve every judge, and return how each is written in a run."""
    with pytest.MonkeyPatch.context() as environment, ExitStack() as stack:
        environment.setenv("TUNEBENCH_TEST_KEY", KEY)
        yield {
            name: {
                "name": name,
                "model": f"openai/{name}-2024-05-13",
                "apiBase": stack.enter_context(serving_judge("127.0.0.1", KEY, 0.0, script))[0],
                "secretRef": {"name": "keys", "key": "TUNEBENCH_TEST_KEY"},
            }
            for name, script in SCRIPTS.items()
        }


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Write tasks and completions; the model's answers are long in every other pull request."""
    tasks = make_tasks(PULLS)
    save_data(tmp_path / "data/one", tasks)
    for name in ("model", "baseline"):
        folder = tmp_path / "generate" / name
        save_completions(folder, tasks, lambda task, name=name: build_answer(task, name))
    return tmp_path


def build_answer(task: Task, name: str) -> str:
    """Return an answer; of model and baseline, one says more."""
    number = int(task.pr.split("#")[1])
    wordy = (number % 2 == 0) == (name == "model")
    more = " and it is counted" * 12 if wordy else ""
    plain = {"Describe": "Counts stock.", "Review": "possible_issues: No", "Improve": "Name it."}
    answer = ANSWERS[task.tool]
    return answer.replace(plain[task.tool], plain[task.tool] + more, 1)


def succeed(store: Path, config: AnyStageConfig, output: str) -> StageResult:
    """Run a stage that must succeed."""
    result = run(store, config, output)
    assert result.state == "Succeeded", result.message
    return result


def judge_and_score(store: Path, *judges: dict[str, Any]) -> tuple[Reliability, str]:
    """Judge the model and the padded control, and return what the score stage found and printed."""
    control = {"data": "data/one", "baseline": "generate/baseline", "control": "Padded"}
    succeed(store, ControlConfig.from_wire(control), "control/padded")
    completions = {"model": "generate/model", "padded": "control/padded"}
    judging = {"retries": 0}
    for name, folder in completions.items():
        succeed(store, make_judge_config(folder, judges, **judging), f"judge/{name}")
    scored = {
        "run": "test",
        "data": "data/one",
        "baseline": "generate/baseline",
        "baselineSpec": {"name": "stored", "completions": {"uri": "/b.jsonl"}},
        "judges": judges,
        "judging": judging,
        "statistics": {"resamples": 1000},
        "seed": 1,
        "variants": [
            {"name": "model", "model": "model", "kind": "FineTuned",
             "completions": completions["model"], "judge": "judge/model"},
            {"name": "padded control", "model": "padded control", "kind": "Control",
             "completions": completions["padded"], "judge": "judge/padded"},
        ],
    }  # fmt: skip
    result = succeed(store, ScoreConfig.from_wire(scored), "score/one")
    text = (store / "score/one/leaderboard.md").read_text()
    return Reliability.model_validate(result.summary["reliability"]), text


def test_bad_judges_are_found(store: Path, judges: dict[str, dict[str, Any]]) -> None:
    """Each of three bad judges is found by what it does wrong, and its numbers are marked."""
    found, text = judge_and_score(store, *judges.values())
    doubts = {(doubt.judge, str(doubt.reason)) for doubt in found.doubts}

    assert found.reliable is False
    assert {
        ("first", "PositionBias"),
        ("longer", "PrefersLength"),
        ("longer", "PaddedControlWins"),
        ("half", "VerdictsMissing"),
    } <= doubts
    assert "even" not in {judge for judge, _ in doubts}
    assert all(f"| {name} (**do not trust**) |" in text for name in ("first", "longer", "half"))
    assert "| padded control | must not win: 50 or less, tie-adjusted |" in text


def test_a_judge_that_minds_nothing_is_found_innocent(
    store: Path, judges: dict[str, dict[str, Any]]
) -> None:
    """A judge that calls all a tie shows no leaning."""
    found, text = judge_and_score(store, judges["even"])

    assert found.reliable
    assert "do not trust" not in text.casefold()
