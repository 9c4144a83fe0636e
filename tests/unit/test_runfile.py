"""Run files: paths, digests, and mistakes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from make_run import make_body, make_run

from tunebench_api.errors import InvalidRunError
from tunebench_operator.errors import UserError
from tunebench_operator.graph import build_graph
from tunebench_operator.local.runfile import (
    MAX_RUN_BYTES,
    load_run,
    load_source_digests,
    resolve_paths,
)


def write_run(folder: Path, **spec: object) -> Path:
    """Write a run whose files are relative to `folder`."""
    sources = {
        "dataset": {"train": {"uri": "train.jsonl"}, "eval": {"uri": "./eval.jsonl"}},
        "baseline": {"name": "stored", "completions": {"uri": "baseline.jsonl"}},
    }
    file = folder / "run.yaml"
    file.write_text(json.dumps(make_body(**(sources | spec))))
    for name in ("train", "eval", "baseline"):
        (folder / f"{name}.jsonl").write_text(name)
    (folder / "prompts" / "default").mkdir(parents=True)
    return file


def test_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    """Wherever the command is started, the run finds its files; hub ids stay as they are."""
    run = load_run(write_run(tmp_path))

    assert run.spec.dataset.train.uri == str(tmp_path / "train.jsonl")
    assert run.spec.dataset.eval.uri == str(tmp_path / "eval.jsonl")
    assert run.spec.models[0].base == "acme/one"


def test_a_local_base_and_a_repository_are_made_absolute(tmp_path: Path) -> None:
    """`./` and `../` mean the file's folder for models and repositories too."""
    run = make_run(
        models=[{"name": "a", "base": "./weights"}, {"name": "b", "base": "package://carrier"}],
        dataset={"train": {"git": {"repository": "../code"}}, "eval": {"holdout": "Newest"}},
    )

    resolved = resolve_paths(run, tmp_path / "runs")

    assert [model.base for model in resolved.spec.models] == [
        str(tmp_path / "runs" / "weights"), "package://carrier"
    ]  # fmt: skip
    assert resolved.spec.dataset.train.git is not None
    assert resolved.spec.dataset.train.git.repository == str(tmp_path / "code")


def test_a_changed_file_has_another_digest(tmp_path: Path) -> None:
    """What is computed from a file is not reused when the file has changed."""
    run = load_run(write_run(tmp_path))
    before = load_source_digests(run, tmp_path / "prompts")
    (tmp_path / "train.jsonl").write_text("more")

    after = load_source_digests(run, tmp_path / "prompts")

    changed = {place for place in before if before[place] != after[place]}
    assert changed == {str(tmp_path / "train.jsonl")}


def test_a_dataset_needs_no_baseline_yet(tmp_path: Path) -> None:
    """While a dataset is built, nobody has answered its questions."""
    run = load_run(write_run(tmp_path))
    (tmp_path / "baseline.jsonl").unlink()
    digests = load_source_digests(run, tmp_path / "prompts", ("spec.dataset.", "spec.prompts."))

    assert str(tmp_path / "train.jsonl") in digests
    with pytest.raises(InvalidRunError, match="baseline"):
        load_source_digests(run, tmp_path / "prompts")


def test_other_decisions_are_another_set(tmp_path: Path) -> None:
    """A person who decides anew gets a data stage of another name."""
    dataset = {"train": {"uri": "train.jsonl"}, "eval": {"uri": "eval.jsonl", "decisions": "d"}}
    run = load_run(write_run(tmp_path, dataset=dataset))
    outputs = []
    for text in ("one", "two"):
        (tmp_path / "d").write_text(text)
        sources = load_source_digests(run, tmp_path / "prompts")
        outputs.append(build_graph(run, sources).data.output)

    assert run.spec.dataset.eval.decisions == str(tmp_path / "d")
    assert outputs[0] != outputs[1]


@pytest.mark.parametrize(
    ("uri", "changes"),
    [
        pytest.param("prs", True, id="folder"),
        pytest.param("prs/2024-*.jsonl", True, id="pattern"),
        pytest.param("prs/2023-*.jsonl", False, id="another pattern"),
    ],
)
def test_a_folder_and_a_pattern_have_digests(tmp_path: Path, uri: str, *, changes: bool) -> None:
    """They are those of the files that they stand for."""
    (tmp_path / "prs").mkdir()
    for name in ("2023-1.jsonl", "2024-1.jsonl"):
        (tmp_path / "prs" / name).write_text(name)
    dataset = {"train": {"uri": uri}, "eval": {"uri": "eval.jsonl"}}
    run = load_run(write_run(tmp_path, dataset=dataset))
    before = load_source_digests(run, tmp_path / "prompts")
    (tmp_path / "prs" / "2024-1.jsonl").write_text("more")

    after = load_source_digests(run, tmp_path / "prompts")

    assert (before != after) == changes


def test_what_is_read_over_the_network_has_no_digest(tmp_path: Path) -> None:
    """Nothing is fetched to plan a run."""
    dataset = {
        "train": {"uri": "https://127.0.0.1:1/prs.jsonl"},
        "eval": {"git": {"list": "https://127.0.0.1:1/list.txt"}},
    }
    digests = load_source_digests(
        load_run(write_run(tmp_path, dataset=dataset)), tmp_path / "prompts"
    )

    assert not [place for place in digests if "127.0.0.1" in place]


def test_a_list_of_repositories_has_a_digest(tmp_path: Path) -> None:
    """It changes with what is listed, and relative paths are relative to the list."""
    dataset = {"train": {"git": {"list": "list.txt"}}, "eval": {"holdout": "Newest"}}
    (tmp_path / "list.txt").write_text("https://example.org/a/b  # first\n./absent main\n")
    run = load_run(write_run(tmp_path, dataset=dataset))
    key = f"{tmp_path / 'list.txt'}@HEAD"
    before = load_source_digests(run, tmp_path / "prompts")[key]
    (tmp_path / "list.txt").write_text("https://example.org/a/c\n")

    assert load_source_digests(run, tmp_path / "prompts")[key] != before
    (tmp_path / "list.txt").write_text("a b c\n")
    with pytest.raises(InvalidRunError, match=r"spec\.dataset\.train\.git\.list.* line 1 must"):
        load_source_digests(run, tmp_path / "prompts")


def test_every_missing_place_is_named_at_once(tmp_path: Path) -> None:
    """All absent files, and an unknown prompt set, come in one error, each with its field."""
    dataset = {
        "train": {"git": {"repository": "./no-repository"}},
        "eval": {"uri": "no-file.jsonl"},
    }
    file = write_run(tmp_path, dataset=dataset, prompts={"builtin": "verbose"})

    with pytest.raises(InvalidRunError) as caught:
        load_source_digests(load_run(file), tmp_path / "prompts")

    assert [problem.field for problem in caught.value.problems] == [
        "spec.dataset.train.git.repository", "spec.dataset.eval.uri", "spec.prompts.builtin",
    ]  # fmt: skip
    assert "default" in str(caught.value)


def test_a_place_that_is_no_path_is_named_by_its_field(tmp_path: Path) -> None:
    """Links in a circle and bytes that no path has are mistakes of a field."""
    (tmp_path / "circle").symlink_to("circle")
    dataset = {"train": {"uri": "circle"}, "eval": {"uri": "a\0b"}}
    models = [{"name": "m", "base": "./circle"}]

    with pytest.raises(InvalidRunError) as caught:
        load_run(write_run(tmp_path, dataset=dataset, models=models))
    assert [problem.field for problem in caught.value.problems] == [
        "spec.dataset.train.uri", "spec.dataset.eval.uri", "spec.models[0].base",
    ]  # fmt: skip


def test_a_hub_id_is_no_folder_of_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What happens to lie beside the user says nothing about a model on the hub."""
    (tmp_path / "acme" / "one").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)

    assert "acme/one" not in load_source_digests(
        load_run(write_run(tmp_path)), tmp_path / "prompts"
    )


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("a: [", id="not YAML"),
        pytest.param("a: 1\na: 2", id="a key twice"),
        pytest.param("#" * (MAX_RUN_BYTES + 1), id="endless"),
    ],
)
def test_a_file_that_is_no_yaml_is_named(tmp_path: Path, text: str) -> None:
    """The error names the file, not a line of ours."""
    file = tmp_path / "run.yaml"
    file.write_text(text)

    with pytest.raises(UserError, match=r"run\.yaml"):
        load_run(file)


def test_an_absent_file_is_named(tmp_path: Path) -> None:
    """A typing mistake in the file's name is no traceback."""
    with pytest.raises(UserError, match=r"absent\.yaml"):
        load_run(tmp_path / "absent.yaml")
