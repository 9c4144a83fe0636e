"""What would fail late is found first."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from make_shapes import LLAMA_3_8B, make_shape

from tunebench_api.contract import PreflightConfig, Runtime
from tunebench_api.errors import parse_problem
from tunebench_jobs.context import StageContext
from tunebench_jobs.errors import InputError, RetryableError
from tunebench_jobs.preflight import (
    check_bases,
    check_keys,
    check_prompts,
    check_servers,
    excuse_absent,
    leave_out,
    list_asked,
    raise_together,
    run_preflight,
)
from tunebench_jobs.prompt_source import load_configured_prompts, parse_variables
from tunebench_jobs.prompts_check import main as check_main

PROMPTS = Path(__file__).parents[2] / "prompts"
REFERENCE = {"name": "reference", "model": "tunebench/reference"}
STORED = {"name": "stored", "completions": {"uri": "baseline.jsonl"}}


def make_config(**changes: Any) -> PreflightConfig:
    """Return a config that needs no key."""
    raw = {
        "bases": [],
        "judges": [REFERENCE],
        "baseline": STORED,
        "prompts": {"builtin": "compact"},
        "tools": ["Describe", "Review", "Improve"],
    }
    return PreflightConfig.from_wire({**raw, **changes})


def make_context(tmp_path: Path) -> StageContext:
    """Return a context whose builtin prompts are the repository's."""
    report = str(tmp_path / "report.json")
    runtime = Runtime(store=str(tmp_path), output="out", report=report, prompts_dir=str(PROMPTS))
    return StageContext(runtime)


def test_reference_judge_and_stored_baseline_need_no_key() -> None:
    """The quickstart asks nobody."""
    check_keys(make_config(), {})

    assert list_asked(make_config()) == []


@pytest.mark.parametrize("value", [None, "", "  "])
def test_key_that_is_not_set_is_named(value: str | None) -> None:
    """The error names the judge, the field and the environment variable."""
    judge = {"name": "gpt", "model": "openai/gpt-4o", "secretRef": {"name": "s", "key": "GPT_KEY"}}
    environment = {} if value is None else {"GPT_KEY": value}

    with pytest.raises(InputError) as caught:
        check_keys(make_config(judges=[REFERENCE, judge]), environment)
    assert "`spec.judges[gpt].secretRef`" in str(caught.value)
    assert "`GPT_KEY`" in str(caught.value)
    assert caught.value.reason == "MissingCredential"


def test_key_of_the_baseline_is_checked() -> None:
    """A baseline that is asked needs its key too."""
    secret = {"name": "s", "key": "BIG_KEY"}
    config = make_config(baseline={"name": "big", "model": "openai/big", "secretRef": secret})

    with pytest.raises(InputError, match=r"`spec\.baseline\.secretRef`.*`BIG_KEY`"):
        check_keys(config, {})


def make_maker(field: str = "spec.dataset.teacher", **llm: Any) -> dict[str, Any]:
    """Return a model that makes training data, at a price."""
    prices = {"inputUSDPerMillion": "1", "outputUSDPerMillion": "1"}
    return {"field": field, "llm": {"model": "a/b", "budgetUSD": "1", "prices": prices, **llm}}


def test_keys_of_teachers_and_sources_are_checked() -> None:
    """Each is named by its place in the run."""
    secret = {"name": "s", "key": "ABSENT_KEY"}
    config = make_config(
        makers=[make_maker(secretRef=secret)],
        secrets=[{"field": "spec.dataset.train.gitHub", "secretRef": secret}],
    )

    with pytest.raises(InputError) as caught:
        check_keys(config, {})
    assert [parse_problem(line).field for line in str(caught.value).splitlines()] == [
        "spec.dataset.teacher.secretRef",
        "spec.dataset.train.gitHub.secretRef",
    ]
    check_keys(config, {"s.ABSENT_KEY": "key of the Secret"})


def test_quality_judge_needs_its_prompt(tmp_path: Path) -> None:
    """A prompt set of one's own may lack it, which matters only where it is used."""
    folder = tmp_path / "mine"
    shutil.copytree(PROMPTS / "compact", folder)
    (folder / "quality.toml").unlink()
    context = make_context(tmp_path)
    check_prompts(make_config(prompts={"uri": str(folder)}), context)

    with pytest.raises(InputError, match=r"`\[pr_quality_prompt\]`.*cleaning\.quality"):
        check_prompts(make_config(prompts={"uri": str(folder)}, scores=True), context)
    check_prompts(make_config(scores=True), context)


def test_everything_that_is_wrong_is_said_at_once(tmp_path: Path) -> None:
    """One start names prompts and every base model, each by its field."""
    bases = [
        {"base": {"base": f"/absent/{name}"}, "models": [name, f"{name}-wide"]} for name in "ab"
    ]
    config = make_config(prompts={"builtin": "huge"}, bases=bases)

    with pytest.raises(InputError) as caught:
        run_preflight(config, make_context(tmp_path))
    assert caught.value.reason == "SeveralProblems"
    assert [parse_problem(line).field for line in str(caught.value).splitlines()] == [
        "spec.prompts.builtin",
        "spec.models[a, a-wide]",
        "spec.models[b, b-wide]",
    ]


def test_every_missing_key_is_named() -> None:
    """Two judges without a key are two lines."""
    judges = [
        {"name": name, "model": "openai/x", "secretRef": {"name": "s", "key": f"KEY_OF_{name}"}}
        for name in "ab"
    ]

    with pytest.raises(InputError) as caught:
        check_keys(make_config(judges=judges), {})
    assert str(caught.value).count("\n") == 1
    assert "KEY_OF_a" in str(caught.value)
    assert "KEY_OF_b" in str(caught.value)


def test_each_silent_server_is_named_and_asked_once() -> None:
    """Judge and baseline may share a server; a vendor's is left in peace."""
    asked = []

    def find_silence(address: str) -> str | None:
        asked.append(address)
        return "connection refused" if "dead" in address else None

    config = make_config(
        judges=[
            {"name": "a", "model": "openai/a", "apiBase": "http://dead/v1"},
            {"name": "b", "model": "openai/b", "apiBase": "http://alive/v1"},
            {"name": "c", "model": "openai/c"},
            REFERENCE,
        ],
        baseline={"name": "big", "model": "openai/big", "apiBase": "http://dead/v1"},
    )

    with pytest.raises(RetryableError) as caught:
        check_servers(config, find_silence)
    assert [parse_problem(line).field for line in str(caught.value).splitlines()] == [
        "spec.judges[a].apiBase",
        "spec.baseline.apiBase",
    ]
    assert sorted(asked) == ["http://alive/v1", "http://dead/v1"]


@pytest.mark.parametrize(
    ("dead", "excused"),
    [
        pytest.param({"http://a/v1"}, ["spec.judges[a]"], id="one judge"),
        pytest.param({"http://a/v1", "http://b/v1"}, None, id="every judge"),
        pytest.param({"http://a/v1", "http://big/v1"}, None, id="the baseline, too"),
        pytest.param(set(), [], id="nobody"),
    ],
)
def test_a_judge_that_is_away_may_be_where_it_would_be_skipped(
    dead: set[str], excused: list[str] | None
) -> None:
    """With `onUnavailable: Skip` a run starts as long as one judge is there."""
    config = make_config(
        judges=[
            {"name": name, "model": f"openai/{name}", "apiBase": f"http://{name}/v1"}
            for name in "ab"
        ],
        baseline={"name": "big", "model": "openai/big", "apiBase": "http://big/v1"},
        judging={"onUnavailable": "Skip"},
    )

    def find_silence(address: str) -> str | None:
        return "connection refused" if address in dead else None

    if excused is None:
        with pytest.raises(RetryableError, match="apiBase"):
            check_servers(config, find_silence)
        return
    absent = check_servers(config, find_silence)

    assert list(absent) == excused
    assert [judge.name for judge in leave_out(config, absent).judges] == (
        ["b"] if excused else ["a", "b"]
    )


def test_a_judge_that_refuses_is_not_away() -> None:
    """What the user must mend is no absence."""
    config = make_config(
        judges=[REFERENCE, {"name": "a", "model": "openai/a"}], judging={"onUnavailable": "Skip"}
    )
    place = "spec.judges[a]"
    away, refused = RetryableError("away", reason="Away"), InputError("no key", reason="Key")

    assert excuse_absent(config, {place: away}) == {place: away}
    with pytest.raises(InputError, match="no key"):
        excuse_absent(config, {place: refused})


def test_what_the_user_must_mend_decides() -> None:
    """A server that may come back does not hide that a key is missing."""
    away, absent = RetryableError("a", reason="Away"), InputError("b", reason="Absent")

    with pytest.raises(InputError, match=r"a\nb"):
        raise_together([away, absent])
    with pytest.raises(RetryableError):
        raise_together([away])
    raise_together([])


def test_a_base_that_no_commit_pins_is_said(tmp_path: Path) -> None:
    """Whoever reads the stage's message knows that the hub may change the weights."""
    (tmp_path / "config.json").write_text(json.dumps(LLAMA_3_8B))
    (tmp_path / "model.safetensors").write_text("")
    (tmp_path / "tokenizer.json").write_text("{}")
    base = {"base": {"base": str(tmp_path)}, "models": ["a"]}
    check_bases(make_config(bases=[base]))
    outcome = run_preflight(make_config(bases=[base]), make_context(tmp_path))

    assert outcome.summary["unpinned"] == []
    # What the planner sizes trainings by.
    assert outcome.summary["shapes"] == {str(tmp_path): make_shape(LLAMA_3_8B).to_wire()}
    assert outcome.message == "1 base models, 1 judges"


def test_builtin_prompts_render_for_all_tools(tmp_path: Path) -> None:
    """Both sets that ship with tunebench pass."""
    for name in ("default", "compact"):
        check_prompts(make_config(prompts={"builtin": name}), make_context(tmp_path))


@pytest.mark.parametrize(
    ("prompts", "words"),
    [
        pytest.param({"builtin": "huge"}, "one of compact, default, got `huge`", id="name"),
        pytest.param({"uri": "gs://bucket/prompts"}, "not supported yet", id="scheme"),
        pytest.param({"configMapRef": {"name": "x"}}, "must be a folder of", id="config map"),
        pytest.param(
            {"builtin": "compact", "variables": [{"name": "nonsense", "value": "1"}]},
            r"`spec\.prompts\.variables\[nonsense\]`",
            id="variable that no template reads",
        ),
        pytest.param(
            {"builtin": "compact", "variables": [{"name": "num_code_suggestions", "value": "x"}]},
            "must be a whole number",
            id="variable of another type",
        ),
    ],
)
def test_unusable_prompts_are_named(tmp_path: Path, prompts: dict[str, Any], words: str) -> None:
    """The error names the field of the run."""
    with pytest.raises(InputError, match=words):
        check_prompts(make_config(prompts=prompts), make_context(tmp_path))


def test_prompts_without_a_tool_of_the_run_are_refused(tmp_path: Path) -> None:
    """A set for one tool does not start a run of three."""
    folder = tmp_path / "mine"
    folder.mkdir()
    for name in ("describe", "evaluate"):
        text = (PROMPTS / "compact" / f"{name}.toml").read_text()
        (folder / f"{name}.toml").write_text(text)

    with pytest.raises(InputError, match="got none for Review, Improve"):
        check_prompts(make_config(prompts={"uri": str(folder)}), make_context(tmp_path))


def test_prompts_without_a_judge_prompt_are_refused(tmp_path: Path) -> None:
    """Judges are asked with the set's own prompt, so it must have one."""
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "x.toml").write_text((PROMPTS / "compact" / "describe.toml").read_text())
    config = make_config(prompts={"uri": str(folder)}, tools=["Describe"])

    with pytest.raises(InputError, match="pr_evaluate_prompt"):
        check_prompts(config, make_context(tmp_path))


def test_variables_get_their_type() -> None:
    """Only what is plainly a number or a truth value changes its type."""
    texts = {"a": "true", "b": "-7", "c": "007", "d": "True", "e": "1.5", "f": "9" * 40}
    raw = [{"name": name, "value": value} for name, value in texts.items()]
    spec = make_config(prompts={"builtin": "compact", "variables": raw}).prompts

    assert parse_variables(spec.variables) == {**texts, "a": True, "b": -7}


def test_prompts_of_a_folder_are_loaded() -> None:
    """A folder that the run names is read like a builtin set."""
    spec = make_config(prompts={"uri": f"file://{PROMPTS / 'default'}"}).prompts

    assert load_configured_prompts(spec, None).prompt_set.name == "default"


def test_prompts_check_prints_lengths(capsys: pytest.CaptureFixture[str]) -> None:
    """The command shows each tool, its length and its variables."""
    code = check_main([str(PROMPTS / "compact")])
    said = capsys.readouterr().out

    assert code == 0
    assert "prompt set compact: renders" in said
    assert all(name in said for name in ("Describe", "Review", "Improve", "evaluate", "diff"))


def test_prompts_check_prints_json(capsys: pytest.CaptureFixture[str]) -> None:
    """With -o json there is one document."""
    code = check_main([str(PROMPTS / "default"), "-o", "json"])

    assert code == 0
    assert '"name": "default"' in capsys.readouterr().out


def test_prompts_check_of_a_broken_set_ends_with_code_2(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """An undefined variable is named with its template."""
    table = '[pr_review_prompt]\nsystem = "{{ headline }}"\nuser = "{{ diff }}"\n'
    (tmp_path / "x.toml").write_text(table)

    assert check_main([str(tmp_path)]) == 2
    assert "`headline`" in caplog.text


def test_prompts_check_prints_a_mistake_as_json(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With -o json a program learns what must change."""
    code = check_main([str(tmp_path / "absent"), "-o", "json"])
    (problem,) = json.loads(capsys.readouterr().out)["problems"]

    assert code == 2
    assert "must be a folder" in problem["message"]
