"""The training set: nothing is cut, and what does not fit is counted or refused."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from make_train_set import make_train_set
from tiny_models import build_tiny_tokenizer

from tunebench_api.v1alpha1 import Overflow, Tool
from tunebench_jobs.errors import InputError
from tunebench_jobs.records import TrainExample
from tunebench_jobs.train.examples import find_window, read_train_examples

ROW = TrainExample(
    pr="acme/shop#1",
    repository="acme/shop",
    tool=Tool.DESCRIBE,
    system="Describe.",
    user="diff\n```yaml",
    answer="title: fix\n",
)
LONG = ROW.model_copy(update={"pr": "acme/shop#2", "user": "diff\n" * 500})


@pytest.fixture(name="tokenizer", scope="module")
def fixture_tokenizer() -> Any:
    """Return a tiny tokenizer."""
    return build_tiny_tokenizer()


def _save(path: Path, rows: list[dict[str, Any]]) -> Path:
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path


def test_long_examples_are_dropped_whole_and_counted(tokenizer: Any) -> None:
    """The others stay as they are."""
    train_set = make_train_set([ROW, LONG, ROW], tokenizer, max_length=200)
    alone = make_train_set([ROW], tokenizer, max_length=200)

    assert (len(train_set.examples), train_set.dropped) == (2, 1)
    assert train_set.examples[0] == alone.examples[0]
    assert max(train_set.lengths) <= 200


def test_long_example_is_named_under_fail(tokenizer: Any) -> None:
    """The error says which example, how long it is and what to do."""
    with pytest.raises(InputError, match=r"`acme/shop#2` for Describe .* got \d{3,}") as caught:
        make_train_set([ROW, LONG], tokenizer, max_length=200, overflow=Overflow.FAIL)

    assert caught.value.reason == "ExampleTooLong"


def test_no_example_left_is_an_error(tokenizer: Any) -> None:
    """Training on nothing would look like success."""
    with pytest.raises(InputError, match="the shortest with") as caught:
        make_train_set([LONG], tokenizer, max_length=200)

    assert caught.value.reason == "NoTrainExamples"


@pytest.mark.parametrize("said", [-1, 0, None, "x", True])
def test_nonsense_about_the_window_bounds_nothing(said: object) -> None:
    """Some configs say -1 where the model has no limit, and then every example was too long."""
    assert (
        find_window(SimpleNamespace(config=SimpleNamespace(max_position_embeddings=said))) is None
    )
    assert find_window(SimpleNamespace(config=SimpleNamespace())) is None


def test_digest_tells_training_sets_apart(tokenizer: Any) -> None:
    """A resume point of other data is not gone on from."""

    def build_digest(*rows: TrainExample) -> str:
        return make_train_set(rows, tokenizer, max_length=4096).digest

    assert build_digest(ROW, LONG) == build_digest(ROW, LONG)
    assert build_digest(ROW, LONG) != build_digest(LONG, ROW)
    assert build_digest(ROW) != build_digest(ROW.model_copy(update={"answer": "title: other"}))


def test_rows_come_back_as_they_were_written(tmp_path: Path) -> None:
    """What the data stage wrote is read."""
    path = _save(tmp_path / "train.parquet", [ROW.model_dump(mode="json")])

    assert list(read_train_examples(path)) == [ROW]


def test_broken_row_is_named_by_file_and_row(tmp_path: Path) -> None:
    """The second row lacks an answer."""
    good = ROW.model_dump(mode="json")
    path = _save(tmp_path / "train.parquet", [good, good | {"answer": None}])

    with pytest.raises(InputError, match=r"train\.parquet: row 2: broken row: `answer`"):
        list(read_train_examples(path))


def test_files_that_are_no_training_set_are_refused(tmp_path: Path) -> None:
    """Absent, not Parquet, and empty are three different errors."""
    text = tmp_path / "text.parquet"
    text.write_text("no parquet at all")
    empty = tmp_path / "empty.parquet"
    pq.write_table(pa.table({"pr": pa.array([], pa.string())}), empty)

    with pytest.raises(InputError, match="must exist"):
        list(read_train_examples(tmp_path / "absent.parquet"))
    with pytest.raises(InputError, match="must be a Parquet file"):
        list(read_train_examples(text))
    with pytest.raises(InputError, match="must have examples, got none"):
        list(read_train_examples(empty))
