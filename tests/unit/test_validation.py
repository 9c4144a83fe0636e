"""What is wrong with a run is said in the words of its author."""

from __future__ import annotations

import copy
import datetime as dt
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from tunebench_api.errors import InvalidRunError
from tunebench_api.unsupported import Backend
from tunebench_api.v1alpha1 import BenchmarkRun, TrainSource, TuningMethod
from tunebench_api.validation import parse_run

REPOSITORY = Path(__file__).parents[2]

RUN: dict[str, Any] = {
    "apiVersion": "tunebench.dev/v1alpha1",
    "kind": "BenchmarkRun",
    "metadata": {"name": "demo"},
    "spec": {
        "dataset": {"train": {"uri": "train.jsonl"}, "eval": {"uri": "eval.jsonl"}},
        "baseline": {"name": "middling", "completions": {"uri": "baseline.jsonl"}},
        "models": [{"name": "small", "base": "./model", "tuning": {"lora": {}}}],
        "judges": [{"name": "reference", "model": "tunebench/reference"}],
    },
}

ABSENT = object()

FILES = "file:// or s3:// or sample://"
DATA = "file:// or hf:// or https:// or s3:// or sample://"


def make_run(path: str, value: object) -> dict[str, Any]:
    """Return a valid run with one value set, or removed."""
    run = copy.deepcopy(RUN)
    *parents, last = [int(key) if key.isdigit() else key for key in path.split(".")]
    target: Any = run
    for key in parents:
        target = target.setdefault(key, {}) if isinstance(target, dict) else target[key]
    if value is ABSENT:
        del target[last]
    else:
        target[last] = value
    return run


def find_problems(raw: object, backend: Backend = Backend.LOCAL) -> list[str]:
    """Return the problems of a run as a user sees them."""
    with pytest.raises(InvalidRunError) as caught:
        parse_run(raw, backend)
    return [str(problem) for problem in caught.value.problems]


def test_valid_run_is_typed() -> None:
    """A valid run comes back with the defaults filled in."""
    run = parse_run(RUN)

    assert run.spec.models[0].tuning.method is TuningMethod.LORA
    assert run.spec.dataset.eval.per_tool == 100
    assert parse_run(run.to_wire()) == run


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        pytest.param(
            "spec.models.0.tuning.epoch",
            3,
            "`spec.models[0].tuning.epoch` is not a known field; did you mean `epochs`?",
            id="typo",
        ),
        pytest.param(
            "spec.models.0.tuning.max_length",
            512,
            "`spec.models[0].tuning.max_length` is not a known field; did you mean `maxLength`?",
            id="snake case",
        ),
        pytest.param(
            "spec.models.0.epochs",
            3,
            "`spec.models[0].epochs` is not a known field; did you mean `tuning.epochs`?",
            id="field of a nested mapping",
        ),
        pytest.param(
            "spec.dataset.train.zebra",
            None,
            "`spec.dataset.train.zebra` is not a known field; known here: `uri`, `git`, `gitHub`, "
            "`huggingFace`, `limit`",
            id="nothing near, and null",
        ),
        pytest.param(
            "spec.models.0.tuning.epochs",
            "three",
            '`spec.models[0].tuning.epochs` must be a whole number, got "three", '
            "which is a string; write a whole number without quotes",
            id="string for a number",
        ),
        pytest.param(
            "spec.models.0.tuning.epochs",
            1.5,
            "`spec.models[0].tuning.epochs` must be a whole number, got 1.5",
            id="fraction for a number",
        ),
        pytest.param(
            "spec.models.0.tuning.epochs",
            True,
            "`spec.models[0].tuning.epochs` must be a whole number, got true",
            id="boolean for a number",
        ),
        pytest.param(
            "spec.suspend",
            "yes",
            '`spec.suspend` must be true or false, got "yes", which is a string; '
            "write true or false without quotes",
            id="string for a boolean",
        ),
        pytest.param(
            "spec.models.0.revision",
            7,
            "`spec.models[0].revision` must be a string, got 7; put it in quotes",
            id="number for a string",
        ),
        pytest.param(
            "spec.models.0.tuning.learningRate",
            0.1,
            "`spec.models[0].tuning.learningRate` must be a decimal number above 0 in quotes, "
            'such as "0.1" or "2e-4", got 0.1',
            id="number for a decimal",
        ),
        pytest.param(
            "spec.models.0.tuning.learningRate",
            "0.0e-4",
            "`spec.models[0].tuning.learningRate` must be a decimal number above 0 in quotes, "
            'such as "0.1" or "2e-4", got "0.0e-4"',
            id="nothing to learn with",
        ),
        pytest.param(
            "spec.models.0.sizeBillions",
            "1e999",
            "`spec.models[0].sizeBillions` must be a decimal number above 0 in quotes, "
            'such as "0.1" or "2e-4", got "1e999"',
            id="infinite size",
        ),
        pytest.param(
            "spec.models.0.tuning.weightDecay",
            "1e999",
            "`spec.models[0].tuning.weightDecay` must be a decimal number in quotes, "
            'such as "0.1" or "2e-4", got "1e999"',
            id="infinite decimal",
        ),
        pytest.param(
            "spec.models.0.tuning.lora.dropout",
            "1.0",
            "`spec.models[0].tuning.lora.dropout` must be a decimal number below 1 in quotes, "
            'such as "0.05", got "1.0"',
            id="share of one",
        ),
        pytest.param(
            "spec.models.0.name",
            "My Model",
            "`spec.models[0].name` must be lower-case letters, digits, `-` and `.`, "
            'with a letter or digit at both ends, got "My Model"',
            id="pattern",
        ),
        pytest.param(
            "spec.judges.0.apiBase",
            "localhost:8000",
            "`spec.judges[0].apiBase` must be an address that begins with http:// or https://, "
            'got "localhost:8000"',
            id="address",
        ),
        pytest.param(
            "spec.models.0.tuning.method",
            "lora",
            "`spec.models[0].tuning.method` must be one of `LoRA`, `QLoRA`, `Full`, "
            'got "lora"; did you mean `LoRA`?',
            id="choice in another case",
        ),
        pytest.param(
            "spec.judging.controls",
            [None],
            "`spec.judging.controls[0]` must be one of `NullModel`, `Self`, `Padded`, got null",
            id="null in a list",
        ),
        pytest.param(
            "spec.tools",
            [],
            "`spec.tools` must have 1 or more entries, got 0",
            id="empty list",
        ),
        pytest.param(
            "spec.judges",
            [{"name": f"judge-{number}", "model": "m"} for number in range(17)],
            "`spec.judges` must have at most 16 entries, got 17",
            id="long list",
        ),
        pytest.param(
            "spec.tools", "Describe", '`spec.tools` must be a list, got "Describe"', id="no list"
        ),
        pytest.param(
            "spec.dataset", [], "`spec.dataset` must be a mapping, got a list", id="no mapping"
        ),
        pytest.param(
            "spec.parallelism", 0, "`spec.parallelism` must be at least 1, got 0", id="low"
        ),
        pytest.param("spec.retries", 99, "`spec.retries` must be at most 20, got 99", id="high"),
        pytest.param(
            "spec.models.0.base",
            "",
            '`spec.models[0].base` must have 1 or more characters, got ""',
            id="empty string",
        ),
        pytest.param(
            "spec.baseline.name",
            "n" * 300,
            "`spec.baseline.name` must have at most 256 characters, got 300",
            id="long string",
        ),
        pytest.param(
            "spec.models.0.base", ABSENT, "`spec.models[0].base` must be given", id="missing"
        ),
        pytest.param("spec.models.0.base", None, "`spec.models[0].base` must be given", id="null"),
        pytest.param("metadata.name", ABSENT, "`metadata.name` must be given", id="no name"),
        pytest.param(
            "spec.tools",
            ["Describe", "Review", "Describe"],
            '`spec.tools[2]` must be unique, got "Describe" again (first at index 0)',
            id="tool twice",
        ),
        pytest.param(
            "spec.models",
            [{"name": "a", "base": "x"}, {"name": "b", "base": "x"}, {"name": "a", "base": "y"}],
            '`spec.models[2].name` must be unique, got "a" again (first at index 0)',
            id="two models of one name",
        ),
        pytest.param(
            "spec.prompts",
            {"builtin": "default", "variables": [{"name": "v", "value": "1"}] * 2},
            '`spec.prompts.variables[1].name` must be unique, got "v" again (first at index 0)',
            id="variable twice",
        ),
        pytest.param(
            "spec.dataset.train.git",
            {"repository": "."},
            "`spec.dataset.train` must set exactly one of `uri`, `git`, `gitHub` and "
            "`huggingFace`, got `uri` and `git`",
            id="two sources",
        ),
        pytest.param(
            "spec.baseline.apiBase",
            "http://127.0.0.1:8000/v1",
            "`spec.baseline` must set `apiBase` only together with `model`, which is not set",
            id="field-without-its-other",
        ),
        pytest.param(
            "spec.dataset.eval.uri",
            ABSENT,
            "`spec.dataset.eval` must set exactly one of `uri`, `git`, `gitHub`, `huggingFace` and "
            "`holdout`, got none of them",
            id="no source",
        ),
        pytest.param(
            "apiVersion",
            "tunebench.dev/v1",
            '`apiVersion` must be `tunebench.dev/v1alpha1`, got "tunebench.dev/v1"',
            id="other version",
        ),
        pytest.param("kind", ABSENT, "`kind` must be given: `BenchmarkRun`", id="no kind"),
    ],
)
def test_problem(path: str, value: object, expected: str) -> None:
    """One wrong value is one problem, which names the field, the fault and the remedy."""
    assert find_problems(make_run(path, value)) == [expected]


@pytest.mark.parametrize(
    ("path", "value"),
    [
        pytest.param("spec.queue", {"name": "team-a"}, id="queue"),
        pytest.param("spec.cleanup", "Delete", id="cleanup"),
        pytest.param("spec.serving.keep", "Winner", id="keep"),
        pytest.param("spec.models.0.resources.pool", "h100", id="pool"),
    ],
)
def test_fields_of_a_cluster_are_refused_on_a_laptop(path: str, value: object) -> None:
    """What means something in a cluster only is not ignored elsewhere."""
    field = path.replace(".0.", "[0].")

    assert find_problems(make_run(path, value)) == [
        f"`{field}` means something in a cluster only; remove it"
    ]


def test_pods_cannot_read_a_laptops_paths() -> None:
    """In a cluster, data lies in a claim or ships with tunebench, and no path is taken for one."""
    with pytest.raises(InvalidRunError) as caught:
        parse_run(RUN, Backend.KUBERNETES)

    wish = "must begin with pvc:// or s3:// or sample:// in a cluster, got"
    data = f"must begin with hf:// or https:// or {wish.removeprefix('must begin with ')}"
    assert [str(problem) for problem in caught.value.problems] == [
        f"`spec.dataset.train.uri` {data} train.jsonl",
        f"`spec.dataset.eval.uri` {data} eval.jsonl",
        f"`spec.baseline.completions.uri` {wish} baseline.jsonl",
    ]


def test_prompts_of_a_cluster_are_refused_on_a_laptop() -> None:
    """Prompts from a ConfigMap are for a cluster, where they are accepted."""
    run = make_run("spec.prompts", {"configMapRef": {"name": "prompts"}})

    (problem,) = find_problems(run)

    assert problem == (
        "`spec.prompts.configMapRef` means something in a cluster only; "
        "name a folder in `spec.prompts.uri` instead"
    )
    assert not [each for each in find_problems(run, Backend.KUBERNETES) if "prompts" in each]


@pytest.mark.parametrize(
    ("path", "value", "allowed"),
    [
        pytest.param("spec.dataset.eval.decisions", "hf://x/y", FILES, id="decisions"),
        pytest.param("spec.dataset.train.uri", "gopher://b/x.jsonl", DATA, id="dataset"),
        pytest.param("spec.dataset.eval.uri", "memory://x/y", DATA, id="evaluation"),
        pytest.param("spec.dataset.train", {"git": {"list": "ipfs://x"}}, DATA, id="list"),
        pytest.param("spec.baseline.completions.uri", "gs://b/x", FILES, id="baseline"),
        pytest.param("spec.storage", {"uri": "gs://b"}, "file:// or s3://", id="storage"),
        pytest.param("spec.prompts", {"uri": "gs://b"}, FILES, id="prompts"),
        pytest.param("spec.models.0.base", "s3://b/m", "package://", id="base model"),
    ],
)
def test_unsupported_scheme(path: str, value: object, allowed: str) -> None:
    """An address that nothing reads yet is refused with those that work."""
    (problem,) = find_problems(make_run(path, value))

    assert f"must be a path or begin with {allowed}, got " in problem
    assert problem.endswith("://, not supported yet")


@pytest.mark.parametrize("uri", ["https://x/y.jsonl", "hf://datasets/a/b", "gs://b/x/*.parquet"])
def test_data_may_lie_wherever_fsspec_reads(uri: str) -> None:
    """A URL is a source on a laptop and in a cluster."""
    run = make_run("spec.dataset.train.uri", uri)

    assert parse_run(run).spec.dataset.train.uri == uri
    assert not [p for p in find_problems(run, Backend.KUBERNETES) if "train" in p]


def test_pods_see_no_folder_of_a_laptop_as_a_dataset() -> None:
    """A dataset in a cluster is one of the hub, or lies in a claim."""
    for path, refused in (("./prs", True), ("acme/prs", False), ("pvc://data/prs", False)):
        run = make_run("spec.dataset.train", {"huggingFace": {"path": path}})
        problems = [p for p in find_problems(run, Backend.KUBERNETES) if "huggingFace" in p]

        assert bool(problems) == refused


@pytest.mark.parametrize(
    "repository",
    ["../project", "file:///srv/p.git", "https://example.com/p.git", "git@example.com:o/p.git"],
)
def test_git_addresses(repository: str) -> None:
    """A repository is a path or anything that git clones."""
    run = make_run("spec.dataset.train", {"git": {"repository": repository}})

    git = parse_run(run).spec.dataset.train.git

    assert git is not None
    assert git.repository == repository


def test_every_problem_is_told() -> None:
    """Problems of every sort come together, so that one edit can mend them all."""
    run = make_run("spec.models.0.tuning.epoch", 3)
    run["spec"]["parallelism"] = 0
    run["spec"]["judges"] *= 2
    del run["spec"]["dataset"]["eval"]["uri"]

    fields = [problem.split("`")[1] for problem in find_problems(run)]

    assert set(fields) == {
        "spec.models[0].tuning.epoch",
        "spec.parallelism",
        "spec.judges[1].name",
        "spec.dataset.eval",
    }


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        pytest.param(None, "with `apiVersion`, `kind` and `spec`, got null", id="empty file"),
        pytest.param([RUN], "with `apiVersion`, `kind` and `spec`, got a list", id="list"),
        pytest.param({**RUN, "spec": {"x": {1, 2}}}, "must hold only mappings", id="set"),
        pytest.param({**RUN, "spec": {"x": float("nan")}}, "must hold only mappings", id="NaN"),
    ],
)
def test_not_a_run(raw: object, expected: str) -> None:
    """What is no object at all is said of the document."""
    (problem,) = find_problems(raw)

    assert problem.startswith("`document` ")
    assert expected in problem


def test_another_kind_is_one_problem() -> None:
    """The fields of another kind are not reported."""
    problems = find_problems({"apiVersion": "v1", "kind": "ConfigMap", "data": {}})

    assert problems == [
        '`apiVersion` must be `tunebench.dev/v1alpha1`, got "v1"',
        '`kind` must be `BenchmarkRun`, got "ConfigMap"',
    ]


def test_date_is_text() -> None:
    """YAML reads an unquoted date as a date; it is the text that was written, as for kubectl."""
    run = parse_run(make_run("spec.baseline.name", dt.date(2024, 4, 9)))

    assert run.spec.baseline.name == "2024-04-09"


def test_null_is_absent() -> None:
    """A known field without a value takes its default, as in the API server."""
    run = parse_run(make_run("spec.models.0.tuning", None))

    assert run == parse_run(RUN)


def test_status_is_not_judged() -> None:
    """A status of an older operator does not stop a run."""
    run = parse_run({**RUN, "status": {"phase": "Running"}})

    assert run == parse_run(RUN)


def test_metadata_of_the_server_is_ignored() -> None:
    """Only a few fields of metadata matter; the API server adds many."""
    run = make_run("metadata.managedFields", [{"manager": "kubectl"}])

    assert parse_run(run) == parse_run(RUN)


def test_messages_have_no_jargon() -> None:
    """Nothing of the library that checks the schema is seen."""
    run = make_run("spec.models.0.tuning", {"epochs": [], "method": {}, "lora": 3})
    run["spec"]["models"].append("small")

    problems = find_problems(run)

    assert len(problems) == 4
    assert not [one for one in problems if "Input should" in one or "valid" in one]


def test_types_hold_the_rules_too() -> None:
    """A type cannot be built against its rules, even without `parse_run`."""
    with pytest.raises(ValidationError, match="must set exactly one of `uri`, `git`, `gitHub` and"):
        TrainSource()
    with pytest.raises(ValidationError, match=r"`models\[1\].name` must be unique"):
        BenchmarkRun.from_wire(make_run("spec.models", RUN["spec"]["models"] * 2))
