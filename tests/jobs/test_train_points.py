"""Resume points: written beside the training, complete or not used."""

from __future__ import annotations

import itertools
import logging
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tunebench_jobs.checkpoints import CheckpointFile
from tunebench_jobs.errors import InputError, RetryableError
from tunebench_jobs.train.layout import Position
from tunebench_jobs.train.place import Place
from tunebench_jobs.train.points import Found, ResumePoints, name_note, name_shard
from tunebench_jobs.train.shards import (
    PARTS,
    Piece,
    Shard,
    Span,
    list_spans,
    open_state,
    save_shard,
)
from tunebench_jobs.train.shelves import FolderShelf

pytestmark = pytest.mark.jobs

NUMBERS = 12
WHOLE = {"layer": Span(0, NUMBERS)}
DEADLINE_SECONDS = 60


@dataclass(frozen=True)
class OneOfSeveral(Place):
    """A worker of a group whose others say what it says."""

    def gather(self, value: Any) -> list[Any]:
        """Return a name that all of the group know, or what this worker said."""
        return ["group" if isinstance(value, str) else value] * self.workers


def make_place(rank: int = 0, workers: int = 1) -> Place:
    """Return a worker's place."""
    return OneOfSeveral(rank, workers, torch.device("cpu"))


def make_shard(start: int = 0, length: int = NUMBERS, scale: float = 1.0) -> Shard:
    """Return a shard that holds a span of a parameter whose numbers are all different."""
    numbers = torch.arange(float(NUMBERS))[start : start + length] * scale
    parts = {part: numbers + 100 * number for number, part in enumerate(PARTS)}
    return {"layer": Piece(Span(start, length), **parts)}


def write(folder: Path, step: int, identity: str = "same", **shard: Any) -> None:
    """Write a whole point of a single worker."""
    points = ResumePoints(FolderShelf(folder), identity, Place(0, 1, torch.device("cpu")))
    points.save(lambda: make_shard(**shard), Position(step=step), shards=1)
    with points.writing(lambda _: None):
        pass


def find(folder: Path, identity: str = "same") -> Found | None:
    """Return what a single worker goes on from."""
    return ResumePoints(FolderShelf(folder), identity, make_place()).find(WHOLE)


def list_points(folder: Path) -> list[int]:
    """Return the steps of the points that are there."""
    return sorted(int(path.name.split("-")[1]) for path in folder.iterdir())


@settings(max_examples=30, deadline=None)
@given(
    cuts=st.lists(st.integers(1, NUMBERS - 1), unique=True, max_size=4),
    wanted=st.tuples(st.integers(0, NUMBERS), st.integers(0, NUMBERS)),
)
def test_any_span_is_read_from_any_shards(
    tmp_path_factory: pytest.TempPathFactory, cuts: list[int], wanted: tuple[int, int]
) -> None:
    """However the state was spread, whoever reads gets the numbers that were written."""
    folder = tmp_path_factory.mktemp("shards")
    edges = [0, *sorted(cuts), NUMBERS]
    shards = []
    for begin, end in itertools.pairwise(edges):
        path = folder / f"{begin}.safetensors"
        shard = make_shard(begin, end - begin)
        save_shard(shard, path)
        shards.append((path, list_spans(shard)))
    start, end = sorted(wanted)
    with open_state(shards) as state:
        piece = state.read("layer", Span(start, end - start))
    expected = make_shard(start, end - start)["layer"]

    assert all(torch.equal(getattr(piece, part), getattr(expected, part)) for part in PARTS)


def test_numbers_that_nobody_has_are_missed(tmp_path: Path) -> None:
    """Half a state is no state."""
    save_shard(make_shard(0, 5), tmp_path / "half")

    with (
        open_state([(tmp_path / "half", {"layer": Span(0, 5)})]) as state,
        pytest.raises(InputError, match="12 numbers of `layer`, got 5"),
    ):
        state.read("layer", Span(0, NUMBERS))


def test_the_newest_points_are_kept(tmp_path: Path) -> None:
    """Two stay, for the case that one is damaged, and those of other trainings go."""
    write(tmp_path, 90, "other")
    for step in (1, 2, 3, 4):
        write(tmp_path, step)
    found = find(tmp_path)

    assert list_points(tmp_path) == [3, 4]
    assert found is not None
    assert found.position.step == 4
    assert find(tmp_path, "other") is None


@pytest.mark.parametrize("fault", ["damaged", "shortened", "without its shard", "without its note"])
def test_a_point_that_is_not_whole_is_passed_over(tmp_path: Path, fault: str) -> None:
    """The one before is taken."""
    write(tmp_path, 1)
    write(tmp_path, 2)
    (newest,) = tmp_path.glob("step-00000002-*")
    shard = newest / name_shard(0)
    content = shard.read_bytes()
    match fault:
        case "damaged":
            shard.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        case "shortened":
            shard.write_bytes(content[:-1])
        case "without its shard":
            shard.unlink()
        case _:
            (newest / name_note(0)).unlink()
    found = find(tmp_path)

    assert found is not None
    assert found.position.step == 1


def test_points_that_were_passed_over_push_out_no_others(tmp_path: Path) -> None:
    """Damaged points are newer than what is written after them, and must not count as newest."""
    for step in (8, 9):
        write(tmp_path, step)
    for shard in tmp_path.glob("*/*.safetensors"):
        shard.write_bytes(b"")
    points = ResumePoints(FolderShelf(tmp_path), "same", make_place())
    nothing = points.find(WHOLE)
    points.save(make_shard, Position(step=1), shards=1)
    with points.writing(lambda _: None):
        pass
    found = find(tmp_path)

    assert nothing is None
    assert found is not None
    assert found.position.step == 1
    assert list_points(tmp_path) == [1]


def test_what_a_killed_group_has_half_written_goes(tmp_path: Path) -> None:
    """It would fill the disk, one attempt after the other."""
    write(tmp_path, 1)
    for group in ("first", "second"):
        folder = tmp_path / f"step-00000002-{group}"
        folder.mkdir()
        (folder / name_shard(0)).write_bytes(b"half")
    ResumePoints(FolderShelf(tmp_path), "same", make_place()).clear()

    assert list_points(tmp_path) == [1]


def test_a_point_needs_the_notes_of_all_workers(tmp_path: Path) -> None:
    """Until the second worker has written its half, the point is none, and the older ones stay."""
    write(tmp_path, 1)
    halves = [make_shard(0, 6), make_shard(6, 6)]
    groups = [ResumePoints(FolderShelf(tmp_path), "same", make_place(rank, 2)) for rank in (0, 1)]
    steps = []
    for points, half in zip(groups, halves, strict=True):
        points.save(lambda half=half: half, Position(step=2), shards=2)
        with points.writing(lambda _: None):
            pass
        found = find(tmp_path)
        assert found is not None
        steps.append(found.position.step)
        last = found

    assert steps == [1, 2]
    with last.open() as state:
        assert torch.equal(state.read("layer", Span(0, NUMBERS)).value, torch.arange(12.0))


class SlowShelf(FolderShelf):
    """A folder that takes nothing until it is allowed to, and may be full."""

    def __init__(self, folder: Path, *, full: bool = False) -> None:
        """Hold everything up."""
        super().__init__(folder)
        self.allowed = threading.Event()
        self.full = full

    def put_shard(self, point: str, name: str, shard: Shard) -> CheckpointFile:
        """Wait, then write or fail."""
        assert self.allowed.wait(DEADLINE_SECONDS)
        if self.full:
            msg = "the store is full"
            raise RetryableError(msg, reason="StoreFull")
        return super().put_shard(point, name, shard)


def test_training_goes_on_while_a_point_is_written(tmp_path: Path) -> None:
    """The state is that of its step, whatever later ones do; a second point waits for the first."""
    shelf = SlowShelf(tmp_path)
    points = ResumePoints(shelf, "same", make_place())
    weights = torch.zeros(NUMBERS)
    written: list[str] = []
    seen: list[list[int]] = []

    def copy() -> Mapping[str, Piece]:
        seen.append(list_points(tmp_path))
        return {"layer": Piece(WHOLE["layer"], *(weights.clone() for _ in PARTS))}

    with points.writing(written.append):
        points.save(copy, Position(step=1), shards=1)
        weights += 1
        assert points.poll() is None
        assert find(tmp_path) is None
        threading.Timer(0.2, shelf.allowed.set).start()
        written.append(str(points.save(copy, Position(step=2), shards=1)))
    found = find(tmp_path)

    assert seen == [[], [1]]
    assert written == ["step-00000001-group", "step-00000002-group"]
    assert found is not None
    with found.open() as state:
        assert torch.equal(state.read("layer", WHOLE["layer"]).value, torch.ones(NUMBERS))


def test_an_error_surfaces_at_the_next_step_and_at_the_end(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It is not lost, and does not hide what went wrong before."""
    shelf = SlowShelf(tmp_path, full=True)
    shelf.allowed.set()
    points = ResumePoints(shelf, "same", make_place())

    def save() -> None:
        points.save(make_shard, Position(step=1), shards=1)

    save()
    with pytest.raises(RetryableError, match="full"):
        save()
    save()
    with pytest.raises(RetryableError, match="full"), points.writing(lambda _: None):
        pass
    save()
    with (
        caplog.at_level(logging.WARNING),
        pytest.raises(ZeroDivisionError),
        points.writing(lambda _: None),
    ):
        raise ZeroDivisionError

    assert "the store is full" in caplog.text
