"""The dataset card beside the files of a dataset."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from make_dataset import make_dataset, make_finished_row
from make_pulls import make_row, save_rows
from PIL import Image

from tunebench_api.contract import DataConfig
from tunebench_jobs.data.build import Place, build_dataset
from tunebench_jobs.data.card import CARD_FILES, write_card
from tunebench_jobs.data.finish import Form
from tunebench_jobs.data.github import GitHubPlace
from tunebench_jobs.data.teacher.replies import Shelf
from tunebench_jobs.errors import InputError

pytestmark = pytest.mark.jobs

PROMPTS = Path(__file__).parents[2] / "prompts"


def load_card(folder: Path) -> str:
    """Return the text of a card."""
    return (folder / "README.md").read_text(encoding="utf-8")


def test_the_same_folder_gives_the_same_bytes(tmp_path: Path) -> None:
    """Wherever it lies and whenever the card is written, plot included."""
    first = make_dataset(tmp_path / "first")
    write_card(first)
    shutil.copytree(first, tmp_path / "second")
    before = [(first / name).read_bytes() for name in CARD_FILES]
    (tmp_path / "second/README.md").unlink()
    write_card(tmp_path / "second")

    assert [(tmp_path / "second" / name).read_bytes() for name in CARD_FILES] == before
    assert b"matplotlib" not in before[0].lower()


def test_a_card_counts_what_the_files_hold(tmp_path: Path) -> None:
    """Rows, repositories, licences, authors, lengths, the gate and the teacher are there."""
    train = [
        make_finished_row(1, license="MIT", language="Go"),
        make_finished_row(2, license=None, repository="acme/other", answers={"Describe": "xy"}),
    ]
    folder = make_dataset(tmp_path / "dataset", train)
    write_card(folder)
    text = load_card(folder)

    assert "| train | `train.parquet` | 2 | 2 | 2 | 1 | 1 | 2024-01-01 to 2024-01-02 |" in text
    assert "| *not known* | 1 | 0 |" in text
    assert "| Go | 1 | 0 |" in text
    assert "| acme/shop | 1 | 2 |" in text
    assert "| changed lines, train | 2 | 2 | 2 | 2 |" in text
    assert "| Describe | openai/gpt-4o-2024-11-20 | 2 | 2 |" in text
    assert "13 training pull requests were compared with 2" in text
    assert "Family of the model that wrote them: openai." in text
    assert "/data/ada" not in text


def test_a_card_shows_hostile_names_as_they_are(tmp_path: Path) -> None:
    """Its front matter is YAML and its tables are whole."""
    hostile = "a|b</td>](x)\n---\n# `x`"
    columns = {"repository": hostile, "license": hostile, "language": hostile}
    folder = make_dataset(tmp_path / "dataset", [make_finished_row(1, **columns)])
    write_card(folder)
    _, front, rest = load_card(folder).split("---\n", 2)

    assert yaml.safe_load(front)["license"] == ["mit", "other"]
    assert "\n---\n" not in rest
    assert "</td>" not in rest


@pytest.mark.parametrize("rows", [[], [make_finished_row(1, answers={}, merged_at=None)]])
def test_a_card_can_do_without_rows(tmp_path: Path, rows: list[dict[str, Any]]) -> None:
    """An empty split, or one without answers, has a card and a plot."""
    folder = make_dataset(tmp_path / "dataset", rows, rows)
    write_card(folder)

    assert f"| train | `train.parquet` | {len(rows)} |" in load_card(folder)


def test_the_plot_is_for_light_and_dark_pages(tmp_path: Path) -> None:
    """It has no background of its own."""
    folder = make_dataset(tmp_path / "dataset")
    write_card(folder)
    with Image.open(folder / "lengths.png") as image:
        assert image.mode == "RGBA"
        assert image.getchannel("A").tobytes()[0] == 0
        assert not image.info.get("Software")


@pytest.mark.parametrize(
    ("manifest", "said"),
    [
        pytest.param("{", "must be the manifest", id="broken"),
        pytest.param("[]", "must list the files", id="no object"),
        pytest.param('{"files": {"../x": "1"}}', "files of its own folder", id="elsewhere"),
    ],
)
def test_a_strange_manifest_is_named(tmp_path: Path, manifest: str, said: str) -> None:
    """The user must act."""
    folder = make_dataset(tmp_path / "dataset")
    (folder / "manifest.json").write_text(manifest)

    with pytest.raises(InputError, match=said):
        write_card(folder)


def test_the_output_of_a_run_has_no_card(tmp_path: Path) -> None:
    """Examples of a data stage are no pull requests, and the message says what to do."""
    folder = make_dataset(tmp_path / "dataset")
    shutil.copy(folder / "dropped.parquet", folder / "train.parquet")

    with pytest.raises(InputError, match="tunebench dataset build"):
        write_card(folder)


def test_building_a_dataset_writes_its_card(tmp_path: Path) -> None:
    """With the spec that makes it again."""
    path = save_rows(tmp_path / "prs.jsonl", [make_row(n) for n in range(1, 9)])
    held = {"holdout": "Newest", "perTool": 2}
    raw = {"dataset": {"train": {"uri": str(path)}, "eval": held}, "tools": ["Describe"]}
    config = DataConfig.from_wire({**raw, "prompts": {"builtin": "compact"}, "seed": 1})
    (tmp_path / "out").mkdir()
    shelf = Shelf(tmp_path / "replies")
    github = GitHubPlace(tmp_path / "github")
    sources = tmp_path / "sources"
    place = Place(tmp_path / "out", sources, PROMPTS, lambda _: None, shelf, github, cpus=1)
    built = build_dataset(config, place, Form.ROWS)
    spec = load_card(tmp_path / "out").split("```yaml\n")[1].split("```")[0]

    assert sorted(built.files) == sorted(path.name for path in (tmp_path / "out").iterdir())
    assert set(CARD_FILES) < set(built.files)
    assert yaml.safe_load(spec)["spec"]["dataset"]["eval"]["perTool"] == 2
    assert str(tmp_path) not in load_card(tmp_path / "out")
