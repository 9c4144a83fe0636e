"""The command line: what programs read, and what people read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from make_run import make_body

from tunebench_api.errors import Problem, parse_problem
from tunebench_api.v1alpha1 import BenchmarkRunStatus, StageStatus
from tunebench_operator import cli
from tunebench_operator.printing import describe_gaps, print_results, say_failures, wants_json
from tunebench_operator.settings import load_settings

HALF_FAILED = BenchmarkRunStatus(
    stages=(
        StageStatus(
            name="train/a", state="Failed", reason="LossNotFinite", message="lower the rate"
        ),
        StageStatus(
            name="train/b", state="Failed", reason="StoreFull", message="free space", attempt=3
        ),
        StageStatus(name="judge/b", state="Skipped", reason="UpstreamFailed", message="train/b"),
    )
)

CLUSTER_PLACES = {
    "dataset": {"train": {"uri": "pvc://a/t.jsonl"}, "eval": {"uri": "pvc://a/e.jsonl"}},
    "baseline": {"name": "stored", "completions": {"uri": "pvc://a/b.jsonl"}},
}


def run_main(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """Run the command line in this process and return its exit code."""
    monkeypatch.setattr("sys.argv", ["tunebench", *arguments])
    with pytest.raises(SystemExit) as ending:
        cli.main()
    return int(ending.value.code or 0)


def write_run(folder: Path, **spec: object) -> str:
    """Write a run file, in which JSON is YAML too."""
    file = folder / "run.yaml"
    file.write_text(json.dumps(make_body(**spec)))
    return str(file)


def test_the_version_is_shown(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whoever reports a problem can say which version has it."""
    code = run_main(monkeypatch, "--version")

    assert code == 0
    assert capsys.readouterr().out.startswith("tunebench ")


@pytest.mark.parametrize("command", ["run", "validate", "plan", "results"])
def test_problems_are_one_json_document(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    command: str,
) -> None:
    """With -o json every problem comes with its field; people read the same beside it."""
    file = write_run(tmp_path, parallelism=0, retries="x")
    store = [] if command == "validate" else ["--store", str(tmp_path / "store")]
    code = run_main(monkeypatch, command, file, "-o", "json", *store)
    said = capsys.readouterr()
    problems = json.loads(said.out)["problems"]

    assert code == 2
    assert [problem["field"] for problem in problems] == ["spec.parallelism", "spec.retries"]
    assert all(problem["message"] in said.err for problem in problems)


def test_warnings_are_in_the_document_and_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A hub id without a commit is valid, and said to be loose."""
    for name in ("train", "eval", "baseline"):
        (tmp_path / f"{name}.jsonl").touch()
    sources = {
        "dataset": {"train": {"uri": "train.jsonl"}, "eval": {"uri": "eval.jsonl"}},
        "baseline": {"name": "stored", "completions": {"uri": "baseline.jsonl"}},
    }
    file = write_run(tmp_path, **sources)
    codes, fields = [], []
    for command in ("validate", "plan"):
        codes.append(run_main(monkeypatch, command, file, "-o", "json"))
        said = capsys.readouterr()
        fields += [each["field"] for each in json.loads(said.out)["warnings"]]
        fields += [said.err.split("`")[1]]

    assert codes == [0, 0]
    assert fields == ["spec.models[0].revision"] * 4


def test_plan_says_how_trainings_are_sized(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """For the pools of Helm values, in words and in the document, and with what cannot be had."""
    pool = {"name": "h100", "gpuResource": "nvidia.com/gpu", "gpusPerWorker": 1, "maxGpus": 4}
    memory = {"gpuMemory": "80Gi", "worker": {"cpu": "8", "memory": "64Gi"}}
    values = tmp_path / "values.yaml"
    values.write_text(json.dumps({"pools": [{**pool, **memory}]}))
    model = {"name": "one", "base": "acme/one-7b", "resources": {"pool": "h100", "gpus": "Auto"}}
    file = write_run(tmp_path, models=[model], **CLUSTER_PLACES)
    arguments = ("plan", file, "--values", str(values))
    codes = [run_main(monkeypatch, *arguments)]
    words = capsys.readouterr().out
    codes.append(run_main(monkeypatch, *arguments, "-o", "json"))
    document = json.loads(capsys.readouterr().out)
    model["resources"] = {"pool": "h100", "gpus": "8"}
    write_run(tmp_path, models=[model], **CLUSTER_PLACES)
    codes.append(run_main(monkeypatch, *arguments))

    assert codes == [0, 0, 2]
    assert "\none: 1 GPU of pool `h100`, no ZeRO, micro-batch " in words
    assert [each["model"] for each in document["sizing"]] == ["one"]
    assert document["sizing"][0]["sizing"] in words
    assert "must be at most 4 for one training on pool `h100`, got 8" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("pool", "said"),
    [
        ({"name": "h100"}, "`spec.models[0].resources.pool` must be one of h100, got h10"),
        ({"name": "h10", "gpuMemory": 80}, "`pools[0].gpuMemory` of `values.yaml` must be as"),
        ({"name": "h10", "gpuResource": "g", "gpuMemory": "80GB"}, "`gpuMemory` of pool `h10`"),
        (None, "`values.yaml` must exist; check the path"),
    ],
)
def test_plan_refuses_pools_that_are_not_there(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    pool: dict[str, object] | None,
    said: str,
) -> None:
    """Each mistake in Helm values, or in a run for them, is named with its place."""
    monkeypatch.chdir(tmp_path)
    if pool:
        Path("values.yaml").write_text(json.dumps({"pools": [pool]}))
    model = {"name": "one", "base": "acme/one-7b", "resources": {"pool": "h10", "gpus": "Auto"}}
    code = run_main(
        monkeypatch,
        "plan",
        write_run(tmp_path, models=[model], **CLUSTER_PLACES),
        "--values",
        "values.yaml",
    )

    assert code == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(("report", "absent", "-o", "json"), id="absent run"),
        pytest.param(("validate", "absent.yaml", "-ojson"), id="absent file"),
        pytest.param(("validate", "--output", "json"), id="absent argument"),
        pytest.param(("run", "x.yaml", "--fast", "-o", "json"), id="unknown option"),
        pytest.param(("dataset", "from-git", "x", "-o", "json"), id="absent option"),
        pytest.param(("rum", "x.yaml", "-o", "json"), id="unknown command"),
    ],
)
def test_a_wrong_command_line_is_a_json_document(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...]
) -> None:
    """Whatever is wrong, a program that asked for JSON gets it, and people get words."""
    code = run_main(monkeypatch, *arguments)
    said = capsys.readouterr()
    (problem,) = json.loads(said.out)["problems"]

    assert code == 2
    assert problem["message"]
    assert said.err


def test_a_store_that_is_a_file_is_for_the_user_to_mend(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Starting again would not help, so the code is 2, and the message names the path."""
    store = tmp_path / "store"
    store.touch()
    code = run_main(monkeypatch, "results", "x", "--store", str(store))

    assert code == 2
    assert str(store) in capsys.readouterr().err


@pytest.mark.parametrize("command", ["report", "score", "results"])
def test_what_no_run_is_found_by_is_said(
    command: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Absent files, files that are no run and broken statuses have words of their own."""
    store = tmp_path / "store"
    damaged = store / "runs/ours/status.json"
    damaged.parent.mkdir(parents=True)
    damaged.write_text('{"ofTomorrow": 1}')
    wrong = tmp_path / "wrong.json"
    wrong.write_text("[]")
    for name, words in (
        ("absent.yaml", "file `absent.yaml` must exist"),
        (str(wrong), f"`{wrong}` must be"),
        ("ours", f"`{damaged}` must be the status of a run of this version"),
    ):
        assert run_main(monkeypatch, command, name, "--store", str(store)) == 2
        assert words in capsys.readouterr().err.replace("\n", "")


def test_an_empty_variable_is_none() -> None:
    """`TUNEBENCH_STORE=` does not mean the working directory."""
    assert load_settings({"TUNEBENCH_STORE": "", "TUNEBENCH_PROMPTS_DIR": ""}) == load_settings({})


def test_json_is_asked_for_by_its_option_alone() -> None:
    """A file called json is not a wish."""
    assert wants_json(["run", "x", "-o", "json"])
    assert not wants_json(["run", "json", "-o", "text"])


def test_every_failed_stage_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    """Two that failed are two lines with reason, remedy and log; what was skipped has none."""
    say_failures(HALF_FAILED, Path("children"))
    said = capsys.readouterr().err

    assert "train/a failed: LossNotFinite: lower the rate" in said
    assert "train/b failed: StoreFull: free space" in said
    assert said.count("log.txt") == 2
    assert "judge/b" not in said


def test_a_run_that_lacks_verdicts_alone_says_so() -> None:
    """Where every variant has its row, what is missing is named by the condition."""
    whole = BenchmarkRunStatus(stages=(StageStatus(name="judge/a", state="Succeeded"),))
    message = "40 verdicts are missing; judge `gone` is away"

    assert describe_gaps(whole, message) == message
    assert describe_gaps(HALF_FAILED, message) == "no result for b"


def test_a_run_that_failed_lists_its_problems(capsys: pytest.CaptureFixture[str]) -> None:
    """The status as JSON says which stages failed, line by line, with the fields they name."""
    stage = StageStatus(
        name="preflight",
        state="Failed",
        reason="SeveralProblems",
        message="`spec.judges[a].secretRef` must be set\nthe moon must be full",
    )
    print_results(BenchmarkRunStatus(stages=(stage,)), Path(), as_json=True)
    problems = json.loads(capsys.readouterr().out)["problems"]

    assert [problem["field"] for problem in problems] == ["spec.judges[a].secretRef", ""]
    assert {problem["stage"] for problem in problems} == {"preflight"}


@pytest.mark.parametrize(
    ("text", "field"),
    [
        pytest.param("`spec.seed` must be 1", "spec.seed", id="field"),
        pytest.param("`--out` must end in .jsonl", "--out", id="option"),
        pytest.param("`run.yaml` must be a file", "", id="file"),
        pytest.param("all is lost", "", id="none"),
    ],
)
def test_a_message_names_its_field(text: str, field: str) -> None:
    """What was built from a field and a message comes apart again."""
    problem = parse_problem(text)

    assert (problem.field, str(problem)) == (field, text)
    assert parse_problem(str(Problem("spec.x", "is gone"))) == Problem("spec.x", "is gone")
