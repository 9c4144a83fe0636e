"""The training set in a file: made once, the same as in memory, and never another one's."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from make_train_set import make_train_set
from tiny_models import build_tiny_tokenizer

from tunebench_api.v1alpha1 import Overflow, Tool
from tunebench_jobs.chat import IGNORED_LABEL, Example, build_example
from tunebench_jobs.errors import InputError
from tunebench_jobs.records import TrainExample
from tunebench_jobs.train.ahead import read_ahead
from tunebench_jobs.train.examples import TrainSet
from tunebench_jobs.train.prepared import Source, open_train_set
from tunebench_jobs.train.token_table import build_table, map_table, write_table

TOKENS, MANIFEST = "tokens.arrow", "prepared.json"


@pytest.fixture(name="tokenizer", scope="module")
def fixture_tokenizer() -> Any:
    """Return a tiny tokenizer."""
    return build_tiny_tokenizer()


def make_rows(count: int = 12) -> list[TrainExample]:
    """Return rows of different lengths; every fifth is very long."""
    return [
        TrainExample(
            pr=f"acme/shop#{number}",
            repository="acme/shop",
            tool=Tool.DESCRIBE,
            system="Describe.",
            user="diff\n" * (400 if number % 5 == 4 else 3 + number) + "```yaml",
            answer="title: fix\n" * (1 + number % 3),
        )
        for number in range(count)
    ]


def make_source(folder: Path, tokenizer: Any, rows: list[TrainExample], **other: Any) -> Source:
    """Write rows, and say what is to be made of them."""
    path = folder / "train.parquet"
    pq.write_table(pa.Table.from_pylist([row.model_dump(mode="json") for row in rows]), path)
    return Source(
        **{"max_length": 200, "overflow": Overflow.DROP} | other, data=path, tokenizer=tokenizer
    )


def build_in_memory(rows: list[TrainExample], tokenizer: Any) -> TrainSet:
    """Return the same training set without a file."""
    return make_train_set(rows, tokenizer, max_length=200)


def find_stamp(folder: Path) -> tuple[int, int]:
    """Return by what a file is known to be the same file."""
    stat = (folder / TOKENS).stat()
    return stat.st_ino, stat.st_mtime_ns


def test_the_file_holds_what_memory_would(tmp_path: Path, tokenizer: Any) -> None:
    """Examples, canaries, counts and digest are the same, token by token."""
    rows = make_rows()
    source = make_source(tmp_path, tokenizer, rows)
    mapped = open_train_set(source, tmp_path / "work")
    known = build_in_memory(rows, tokenizer)

    assert list(mapped.examples) == list(known.examples)
    assert mapped.dropped == known.dropped == 2
    assert list(mapped.canaries.items()) == list(known.canaries.items())
    assert (mapped.digest, mapped.lengths) == (known.digest, known.lengths)
    assert mapped.table.answer_lengths == [each.answer_tokens for each in known.examples]
    first = build_example(
        tokenizer, system=rows[0].system, user=rows[0].user, answer=rows[0].answer
    )
    assert mapped.examples[0] == first


def test_a_second_start_finds_it(tmp_path: Path, tokenizer: Any) -> None:
    """The file is not written again."""
    source = make_source(tmp_path, tokenizer, make_rows())
    first = open_train_set(source, tmp_path / "work")
    stamp = find_stamp(tmp_path / "work")
    second = open_train_set(source, tmp_path / "work")

    assert find_stamp(tmp_path / "work") == stamp
    assert second.digest == first.digest


@pytest.mark.parametrize("change", ["rows", "template", "length"])
def test_another_source_is_prepared_anew(tmp_path: Path, tokenizer: Any, change: str) -> None:
    """Data, template and length each decide the tokens."""
    rows = make_rows()
    old = open_train_set(make_source(tmp_path, tokenizer, rows), tmp_path / "work")
    if change == "template":
        tokenizer = build_tiny_tokenizer()
        tokenizer.chat_template = tokenizer.chat_template.replace("user", "User") + " "
    if change == "rows":
        rows = rows[1:]
    limit = max(old.lengths) - 1 if change == "length" else 200
    source = make_source(tmp_path, tokenizer, rows, max_length=limit)
    new = open_train_set(source, tmp_path / "work")

    assert new.digest != old.digest or new.dropped != old.dropped


@pytest.mark.parametrize("fault", ["flipped", "cut", "no tokens", "no manifest", "half a manifest"])
def test_a_damaged_file_is_made_anew(tmp_path: Path, tokenizer: Any, fault: str) -> None:
    """Whatever a killed process or a disk has left, the examples are right."""
    source = make_source(tmp_path, tokenizer, make_rows())
    known = list(open_train_set(source, tmp_path / "work").examples)
    path, manifest = tmp_path / "work" / TOKENS, tmp_path / "work" / MANIFEST
    content = bytearray(path.read_bytes())
    path.unlink()
    if fault == "flipped":
        content[len(content) // 2] ^= 1
    if fault != "no tokens":
        path.write_bytes(content[:100] if fault == "cut" else content)
    if fault == "no manifest":
        manifest.unlink()
    if fault == "half a manifest":
        manifest.write_bytes(manifest.read_bytes()[:40])

    assert list(open_train_set(source, tmp_path / "work").examples) == known


def test_refused_data_leaves_no_file(tmp_path: Path, tokenizer: Any) -> None:
    """The error is that of training, and nothing looks prepared."""
    source = make_source(tmp_path, tokenizer, make_rows(), overflow=Overflow.FAIL)

    with pytest.raises(InputError, match="acme/shop#4"):
        open_train_set(source, tmp_path / "work")

    assert not [path for path in (tmp_path / "work").iterdir() if path.name != ".lock"]


def test_many_examples_keep_their_places(tmp_path: Path) -> None:
    """Rows of several batches of the file are found by number, from both ends."""
    examples = [
        Example((*range(number % 7), 5, 6), (*([IGNORED_LABEL] * (number % 7)), 5, 6))
        for number in range(1200)
    ]
    path = tmp_path / TOKENS
    with path.open("wb") as file:
        write_table(file, examples)
    table = map_table(path)

    assert len(table) == 1200
    assert [table[0], table[511], table[512], table[1199], table[-1]] == [
        examples[index] for index in (0, 511, 512, 1199, 1199)
    ]
    assert table[510:514] == examples[510:514]
    assert [each.labels.tolist() for each in table.pick([600, 3])] == [
        list(examples[index].labels) for index in (600, 3)
    ]
    assert table.digest == build_table(examples).digest
    with pytest.raises(IndexError):
        table[1200]


def test_reading_ahead_changes_nothing_but_the_time() -> None:
    """The items are the same, in order, and some are ready before they are asked for."""
    made: list[int] = []
    ready = threading.Event()

    def make() -> Iterator[int]:
        for number in range(1, 6):
            made.append(number)
            if number == 2:
                ready.set()
            yield number

    with read_ahead(make()) as coming:
        first = next(coming)
        assert ready.wait(10)
        others = list(coming)

    assert [first, *others] == [1, 2, 3, 4, 5]


def test_a_fault_comes_where_its_item_would() -> None:
    """What was made before it is not lost."""

    def make() -> Iterator[int]:
        yield 1
        msg = "broken"
        raise ValueError(msg)

    got = []
    with pytest.raises(ValueError, match="broken"), read_ahead(make()) as coming:
        got.extend(coming)

    assert got == [1]
