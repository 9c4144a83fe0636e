"""From completions to a leaderboard through LiteLLM, with the reference judge and over HTTP."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator, Mapping, Sequence
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, ClassVar

import pytest
from judge_store import make_judge_config, make_tasks, run, save_completions, save_data
from local_http import QuietHandler, serving
from make_imports import make_annotation, save_array
from make_pulls import ANSWERS
from make_tiny_run import run_tunebench

from tunebench_api.contract import (
    Report,
    ScoreConfig,
    StageResult,
    build_config_digest,
)
from tunebench_api.v1alpha1 import BenchmarkRunStatus, LeaderboardRow, Tool
from tunebench_jobs.judge.records import VerdictRow
from tunebench_jobs.records import Task, dump_jsonl, load_jsonl
from tunebench_jobs.score.command import main as score_command

pytestmark = [
    pytest.mark.jobs,
    # LiteLLM loads some vendors at the first call, and pydantic warns of how one was typed.
    pytest.mark.filterwarnings("ignore:Items? .* on TypedDict class:UserWarning"),
]

PROMPTS = Path(__file__).parents[2] / "prompts"
REFERENCE = {"name": "reference", "model": "tunebench/reference"}
KEY = "sk-very-secret"
MIDDLING = {
    "Describe": "type:\n- Other\ndescription: changes\ntitle: change\npr_files: []\n",
    "Review": "review:\n  possible_issues: none\n  security_concerns: none\n",
    "Improve": "code_suggestions:\n- relevant_file: a\n  suggestion_content: b\n"
    "  existing_code: c\n  improved_code: d\n  one_sentence_summary: e\n  label: f\n",
}
COMPARISONS = ("comparisons.parquet", "comparisons.csv")
VARIANTS = {"good": "FineTuned", "weak": "Untuned", "self": "Control"}


class FakeJudge(QuietHandler, BaseHTTPRequestHandler):
    """An OpenAI-compatible server that always prefers the completion shown first."""

    calls: ClassVar[list[str]] = []

    def do_POST(self) -> None:
        """Answer one chat, if the key is right."""
        body = self.read_json()
        self.calls.append(body["messages"][0]["content"])
        if self.headers["authorization"] != f"Bearer {KEY}":
            said = f"wrong key {self.headers['authorization']}"
            self.send_json({"error": {"message": said}}, 401)
            return
        text = "```yaml\nwhich_response_was_better: '1'\nwhy: it comes first\n```"
        choice = {"index": 0, "message": {"role": "assistant", "content": text}}
        good = {"id": "1", "object": "chat.completion", "created": 1, "model": "m"}
        self.send_json({**good, "choices": [{**choice, "finish_reason": "stop"}]})


@pytest.fixture
def judge_server() -> Iterator[dict[str, Any]]:
    """Start a server and return the judge that it is."""
    FakeJudge.calls.clear()
    with serving(FakeJudge) as address:
        yield {
            "name": "first",
            "model": "openai/first-2024-05-13",
            "apiBase": f"{address}/v1",
            "secretRef": {"name": "keys", "key": "TUNEBENCH_TEST_KEY"},
        }


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Write what earlier stages leave: tasks, the baseline's and the variants' completions."""
    tasks = make_tasks(6, references=ANSWERS)
    save_data(tmp_path / "data/one", tasks)
    (tmp_path / "data/one/manifest.json").write_text("{}")
    texts: dict[str, Mapping[str, str]] = {
        "good": ANSWERS,
        "self": MIDDLING,
        "weak": dict.fromkeys(Tool, "no: answer: at all"),
    }
    texts["baseline"] = MIDDLING
    for name, answers in texts.items():
        folder = tmp_path / "generate" / name
        save_completions(folder, tasks, lambda task, answers=answers: answers[task.tool])
    return tmp_path


def judge(
    store: Path,
    variant: str,
    *judges: dict[str, Any],
    output: str = "",
    judging: dict[str, Any] | None = None,
    spent: str | None = None,
) -> StageResult:
    """Judge one variant."""
    config = make_judge_config(f"generate/{variant}", judges, **(judging or {}))
    return run(store, config, output or f"judge/{variant}", spent_usd=spent)


def make_score_config(
    *variants: str, judges: Sequence[dict[str, Any]], **extra: Any
) -> ScoreConfig:
    """Return what scores variants."""
    return ScoreConfig.from_wire(
        {
            "run": "test",
            "data": "data/one",
            "baseline": "generate/baseline",
            "baselineSpec": {"name": "stored", "completions": {"uri": "/b.jsonl"}},
            "judges": judges,
            "judging": {},
            "statistics": {"resamples": 500},
            "seed": 1,
            "variants": [
                {
                    "name": name,
                    "model": name,
                    "kind": VARIANTS[name],
                    "completions": f"generate/{name}",
                    "judge": f"judge/{name}",
                    "untuned": "weak" if name == "good" else None,
                }
                for name in variants
            ],
            **extra,
        }
    )


def score(store: Path, *judges: dict[str, Any]) -> StageResult:
    """Score all variants."""
    return run(store, make_score_config(*VARIANTS, judges=judges), "score/one")


def test_the_reference_judge_ranks_a_whole_run(store: Path) -> None:
    """Through LiteLLM, prompt, parser and ledger, the good answers win and controls behave."""
    for variant in VARIANTS:
        result = judge(store, variant, REFERENCE)
        assert result.state == "Succeeded", result.message
        assert result.summary["judges"][0]["missing"] == {}
    result = score(store, REFERENCE)
    rows = {row["name"]: LeaderboardRow.from_wire(row) for row in result.summary["leaderboard"]}
    text = (store / "score/one/leaderboard.md").read_text()
    results = json.loads((store / "score/one/results.json").read_text())

    assert {name: row.win_rate.pct for name, row in rows.items()} == {
        "good": "100.0",
        "weak": "0.0",
        "self": "0.0",
    }
    assert rows["self"].tie_adjusted.pct == "50.0"
    assert rows["good"].delta is not None
    assert rows["weak"].schema_valid_pct == "0.0"
    assert result.summary["best"] == "good"
    assert "reference judge, not an LLM" in text
    page = (store / "score/one/report.html").read_text()
    assert "reference judge, not an LLM" in page
    assert page.count('class="block"') == 3
    assert {"data/one/eval.jsonl", "judge/good/verdicts.jsonl"} < set(results["inputs"])
    assert results["prompts"]["name"] == "compact"
    assert results["warnings"] == []


def test_a_judge_over_http_is_asked_once(
    store: Path, judge_server: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both orders are asked, nothing is paid for twice, and the key is nowhere in the store."""
    monkeypatch.setenv("TUNEBENCH_TEST_KEY", KEY)
    first = judge(store, "good", judge_server)
    calls = len(FakeJudge.calls)
    again = judge(store, "good", judge_server, output="judge/again")
    rows = list(load_jsonl(store / "judge/again/verdicts.jsonl", VerdictRow))

    assert (calls, len(FakeJudge.calls)) == (36, 36)
    assert [result.summary["judges"][0]["asked"] for result in (first, again)] == [36, 0]
    assert again.summary["judges"][0]["orderConsistencyPct"] == "0.0"
    assert [row.winner for row in rows] == ["Model", "Baseline"] * 18
    assert all("Task:" in call and "diff " in call for call in FakeJudge.calls)
    written = b"".join(path.read_bytes() for path in store.rglob("*") if path.is_file())
    assert KEY.encode() not in written


def test_a_budget_ends_the_buying_and_not_the_run(
    store: Path, judge_server: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Earlier variants count, the report says what is missing, and more money buys the rest."""
    monkeypatch.setenv("TUNEBENCH_TEST_KEY", KEY)
    # A dollar for a reply of 100 tokens at most; the judge says some 20.
    priced = {
        **judge_server,
        "maxTokens": 100,
        "prices": {"inputUSDPerMillion": "0", "outputUSDPerMillion": "10000"},
    }
    short = judge(store, "good", priced, judging={"budgetUSD": "5"}, spent="1.5")
    report = Report.model_validate_json((store / "judge-good.json").read_bytes())
    bought = len(FakeJudge.calls)
    more = judge(store, "good", priced, judging={"budgetUSD": "50"}, output="judge/more")
    nothing = judge(store, "weak", priced, judging={"budgetUSD": "5"}, spent="5")
    spent = float(report.progress.cost_usd or 0)

    assert short.state == "Succeeded"
    assert 2.5 < spent <= 3.5
    assert 0 < bought < 36
    assert short.summary["unasked"] == {"BudgetSpent": 36 - bought}
    assert "`spec.judging.budgetUSD` (5) is spent; raise it and start again" in short.message
    assert short.summary["judges"][0]["missing"] == {"BudgetSpent": 36 - bought}
    assert report.progress.judges[0].completion_tokens > 0
    assert more.summary["unasked"] == {}
    assert (more.summary["judges"][0]["asked"], len(FakeJudge.calls)) == (36 - bought, 36)
    assert nothing.summary["unasked"] == {"BudgetSpent": 36}


def test_a_wrong_key_is_named_and_not_shown(
    store: Path, judge_server: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The stage fails for good, and says which Secret to mend."""
    monkeypatch.setenv("TUNEBENCH_TEST_KEY", "sk-wrong-key")
    result = judge(store, "good", judge_server)

    assert (result.state, result.reason) == ("Failed", "AuthenticationFailed")
    assert not result.retryable
    assert "`spec.judges[first].secretRef` (key `TUNEBENCH_TEST_KEY` of `keys`)" in result.message
    assert "sk-wrong-key" not in result.message


def test_a_missing_reference_is_named(store: Path) -> None:
    """The reference judge says which row lacks the answer that it needs."""
    path = store / "data/one/eval.jsonl"
    tasks = list(load_jsonl(path, Task))
    tasks[4] = tasks[4].model_copy(update={"reference": None})
    path.write_text(dump_jsonl(tasks))
    result = judge(store, "good", REFERENCE)

    assert result.reason == "MissingReference"
    assert "`acme/x#1:Review`" in result.message


def test_scoring_again_gives_the_same_bytes(
    store: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """From rows or from replies, every file is the same; another verdict is told of."""
    for variant in VARIANTS:
        judge(store, variant, REFERENCE)
    score(store, REFERENCE)
    command = ["--store", str(store), "--results", "score/one", "-o", "json"]
    names = ["results.json", "leaderboard.md", "report.html", "config.json", *COMPARISONS]
    stored = {name: (store / "score/one" / name).read_bytes() for name in names}
    for number, extra in enumerate(([], ["--from-ledgers"])):
        out = store / f"again{number}"
        assert score_command([*command, "--out", str(out), *extra]) == 0
        assert {name: (out / name).read_bytes() for name in names} == stored
        assert capsys.readouterr().out.encode() == stored["results.json"]
    assert not [record for record in caplog.records if record.levelname == "WARNING"]

    row = next(load_jsonl(store / "judge/good/verdicts.jsonl", VerdictRow))
    lost = {"key": row.key, "reply": "?", "missing": "Unreadable", "replies": 3}
    for shard in store.glob("verdicts/*/*.jsonl"):
        entries = map(json.loads, shard.read_text().splitlines())
        kept = [lost if entry["key"] == row.key else entry for entry in entries]
        shard.write_text("".join(f"{json.dumps(entry)}\n" for entry in kept))
    assert score_command(command) == 0
    assert capsys.readouterr().out.encode() == stored["results.json"]
    assert "1 are not" in caplog.text
    assert score_command([*command, "--from-ledgers"]) == 0
    assert "it differs in" in caplog.text
    assert json.loads(capsys.readouterr().out)["judges"][0]["missing"] == {"Unreadable": 1}


def test_a_tracking_server_that_is_away_fails_no_run(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The results are there and have their digest; the message says what was not logged."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    judge(store, "good", REFERENCE)
    with socket.create_server(("127.0.0.1", 0)) as closed:
        address = f"http://127.0.0.1:{closed.getsockname()[1]}"
    plain = make_score_config("good", judges=[REFERENCE])
    tracked = make_score_config("good", judges=[REFERENCE], tracking={"mlflow": {"uri": address}})
    result = run(store, tracked, "score/one")

    assert build_config_digest(plain) == build_config_digest(tracked)
    assert result.state == "Succeeded"
    assert f"1 variants scored; warning: not logged to MLflow at {address}" in result.message
    assert result.summary["tracking"]["mlflow"]["warning"]
    assert (store / "score/one/results.json").is_file()


def test_the_commands_score_runs_and_sets(store: Path) -> None:
    """A run by its name, a set by its own, and neither beside the other."""
    judge(store, "good", REFERENCE)
    run(store, make_score_config("good", judges=[REFERENCE]), "score/one")
    place = ["--store", str(store), "-o", "json"]
    status = BenchmarkRunStatus(results="score/one").model_dump_json(by_alias=True)
    (store / "runs/ours").mkdir(parents=True)
    (store / "runs/ours/status.json").write_text(status)
    file = save_array(store / "annotations.json", [make_annotation(n, 1.7) for n in range(9)])
    imported = run_tunebench(
        *("verdicts", "import", "--format", "alpaca-eval", str(file), "--name", "theirs", *place)
    )
    of_run, of_set, of_both, of_none = (
        run_tunebench("score", *names, *place)
        for names in (["ours"], ["theirs"], ["ours", "theirs"], ["nobody"])
    )

    assert (imported.returncode, json.loads(imported.stdout)["added"]) == (0, 9)
    assert of_run.stdout == (store / "score/one/results.json").read_text()
    (board,) = json.loads(of_set.stdout)["boards"]
    assert board["variants"][0]["preference"]["pct"] == 70
    assert (of_both.returncode, of_none.returncode) == (2, 2)
    assert "a run must be scored alone" in json.loads(of_both.stdout)["problems"][0]["message"]
    assert "it has runs ours and imported sets theirs" in of_none.stdout
