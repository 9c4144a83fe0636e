"""The data stage with a teacher and a judge of quality, over real HTTP."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from data_stage import run_stage
from make_drafts import GOOD
from make_pulls import ANSWERS, make_row, save_rows
from pyarrow import parquet
from scripted_judge import ScriptedJudge, serving_judge

from tunebench_api.contract import DataConfig
from tunebench_jobs.errors import InputError

pytestmark = [
    pytest.mark.jobs,
    # LiteLLM silences this warning of its own in the test that imports it, and in no later one.
    pytest.mark.filterwarnings("ignore:.*ReadOnly. qualifier:UserWarning"),
]

KEY = "sk-of-the-teacher"
# A cent for each reply of the server.
PRICES = {"inputUSDPerMillion": "0", "outputUSDPerMillion": "1000"}
ROWS = 6


def say(_question: str, text: str) -> str:
    """Answer Improve, and think little of what rows carry."""
    if "Is the answer good enough" not in text:
        return GOOD
    return f"score_response: {9 if GOOD.strip() in text else 2}\nwhy: of its kind\n"


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, ScriptedJudge]]:
    """Serve a teacher that is a judge of quality too."""
    monkeypatch.setenv("TEACHER_KEY", KEY)
    with serving_judge("127.0.0.1", KEY, 0.0, say) as server:
        yield server


def make_llm(url: str, **changes: Any) -> dict[str, Any]:
    """Return a model at the server."""
    return {
        "model": "openai/scripted",
        "family": "acme",
        "apiBase": url,
        "secretRef": {"name": "keys", "key": "TEACHER_KEY"},
        "maxTokens": 10,
        "prices": PRICES,
        "budgetUSD": "1",
        **changes,
    }


def make_config(
    tmp_path: Path, llm: dict[str, Any], quality: dict[str, Any] | None = None
) -> DataConfig:
    """Return a config whose first training row alone carries an answer."""
    rows = [make_row(n, answers=ANSWERS if n == 1 else {}) for n in range(1, ROWS + 1)]
    dataset = {
        "train": {"uri": str(save_rows(tmp_path / "train.jsonl", rows))},
        "eval": {"uri": str(save_rows(tmp_path / "eval.jsonl", [make_row(20, answers={})]))},
        "answers": "Teacher",
        "teacher": llm,
    }
    if quality:
        dataset["cleaning"] = {"quality": quality}
    raw = {"dataset": dataset, "tools": ["Improve"], "prompts": {"builtin": "compact"}, "seed": 1}
    return DataConfig.from_wire(raw)


def load_answers(tmp_path: Path, output: str = "data/one") -> dict[str, str]:
    """Return the answers that are learnt, by pull request."""
    rows = parquet.read_table(tmp_path / output / "train.parquet").to_pylist()
    return {row["pr"]: row["answer"] for row in rows}


def test_rows_get_the_answers_that_they_lack(
    tmp_path: Path, served: tuple[str, ScriptedJudge]
) -> None:
    """The row that has an answer keeps it; evaluation rows are not asked about."""
    url, server = served
    outcome = run_stage(tmp_path, make_config(tmp_path, make_llm(url)))
    answers = load_answers(tmp_path)
    manifest = json.loads((tmp_path / "data/one/manifest.json").read_text())
    made = manifest["makers"]["teacher"]

    assert answers.pop("acme/shop#1") == ANSWERS["Improve"]
    assert set(answers.values()) == {GOOD.strip()}
    assert len(answers) == server.sold.total() == ROWS - 1
    assert (made["model"], made["family"], made["endings"]) == (
        "openai/scripted",
        "acme",
        {"usable": ROWS - 1},
    )
    assert made["cost_usd"] == pytest.approx(0.05)
    assert outcome.summary["makers"]["teacher"]["paid_replies"] == ROWS - 1


def test_second_time_gives_the_same_bytes_for_nothing(
    tmp_path: Path, served: tuple[str, ScriptedJudge]
) -> None:
    """What was bought is used again, and the manifest does not tell the difference."""
    url, server = served
    config = make_config(tmp_path, make_llm(url))
    outcome = run_stage(tmp_path, config)
    sold = server.sold.total()
    again = run_stage(tmp_path, config, "data/two")

    assert server.sold.total() == sold
    assert again.summary["makers"]["teacher"]["paid_usd"] == 0
    for name in outcome.artefacts:
        one, two = (tmp_path / "data" / part / name for part in ("one", "two"))
        assert one.read_bytes() == two.read_bytes()


def test_poor_answers_are_left_out_with_the_judge_s_words(
    tmp_path: Path, served: tuple[str, ScriptedJudge]
) -> None:
    """The judge reads all answers, the rows' own too."""
    url, server = served
    quality = make_llm(url, minimum=6)
    run_stage(tmp_path, make_config(tmp_path, make_llm(url), quality))
    dropped = parquet.read_table(tmp_path / "data/one/dropped.parquet").to_pylist()
    (drop,) = (each for each in dropped if each["set"] == "train")

    assert "acme/shop#1" not in load_answers(tmp_path)
    assert (drop["pr"], drop["tool"], drop["reason"], drop["detail"]) == (
        "acme/shop#1",
        "Improve",
        "LowQuality",
        "2 of 10: of its kind",
    )
    assert server.sold.total() == ROWS - 1 + ROWS


def test_budget_that_is_spent_is_a_warning(
    tmp_path: Path, served: tuple[str, ScriptedJudge]
) -> None:
    """What could be paid for is learnt; the rest says why not, and a higher budget gets it."""
    url, server = served
    # Replies are twice as long as allowed, so that the estimate is too low.
    outcome = run_stage(
        tmp_path,
        make_config(tmp_path, make_llm(url, maxTokens=5, budgetUSD="0.03", concurrency=1)),
    )
    (warning,) = (each for each in outcome.summary["warnings"] if "budgetUSD" in each)
    run_stage(tmp_path, make_config(tmp_path, make_llm(url, maxTokens=5)), "data/two")

    # Not the reference that the evaluation row lacks: it is asked all the same.
    assert outcome.summary["dropped"] == {"NoAnswer": 2}
    assert "budgetUSD` of 0.03 is spent: 2 answers of 5 are left out" in warning
    assert len(load_answers(tmp_path)) == 4
    assert len(load_answers(tmp_path, "data/two")) == ROWS
    assert set(server.sold.values()) == {1}


def test_estimates_of_both_come_before_any_question(
    tmp_path: Path, served: tuple[str, ScriptedJudge]
) -> None:
    """The teacher is not paid when the judge will cost too much."""
    url, server = served
    config = make_config(tmp_path, make_llm(url), make_llm(url, budgetUSD="0.05"))

    with pytest.raises(InputError, match=r"`spec\.dataset\.cleaning\.quality\.budgetUSD`.* 0\.06"):
        run_stage(tmp_path, config)
    assert not server.sold
