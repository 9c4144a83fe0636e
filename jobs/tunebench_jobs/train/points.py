"""Resume points: what a killed training goes on from, complete or not used.

Workers need not wait for each other to write one. A point is complete once every worker's note is
there, and whoever looks for one sees that. So the training thread only copies the state to host
memory; the files, their digests and the notes are written beside it, one point at a time.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pydantic import Field, ValidationError

from tunebench_jobs.checkpoints import CheckpointFile
from tunebench_jobs.records import Record
from tunebench_jobs.train.background import Background
from tunebench_jobs.train.layout import Position
from tunebench_jobs.train.place import Place
from tunebench_jobs.train.shards import Shard, Span, Spans, State, list_spans, open_state
from tunebench_jobs.train.shelves import Shelf

KEPT = 2


class Note(Record):
    """What a worker's shard is, and whose."""

    # What was trained on which data; another training starts from nothing.
    identity: str
    position: Position
    # How many workers hold the state between them: a complete point has as many notes.
    shards: int = Field(ge=1)
    spans: Mapping[str, Span]
    facts: CheckpointFile


@dataclass(frozen=True)
class Found:
    """A complete resume point, with those of its shards that this worker needs."""

    position: Position
    shards: tuple[tuple[Path, Spans], ...]

    @contextmanager
    def open(self) -> Iterator[State]:
        """Open the shards for reading."""
        with open_state(self.shards) as state:
            yield state


def name_note(rank: int) -> str:
    """Return the name of a worker's note."""
    return f"worker-{rank:05d}.json"


def name_shard(rank: int) -> str:
    """Return the name of a worker's shard."""
    return f"worker-{rank:05d}.safetensors"


class ResumePoints:
    """The resume points of one training, as one of its workers sees them."""

    def __init__(self, shelf: Shelf, identity: str, place: Place) -> None:
        """Agree with the other workers on a name for this group of them.

        Points of a group that was killed are never completed by another one's shards.
        """
        self._shelf = shelf
        self._identity = identity
        self._place = place
        self._group = place.gather(secrets.token_hex(4))[0]
        self._background = Background()
        # Newer than what training goes on from, but damaged or of another training.
        self._passed_over: set[str] = set()

    def find(self, wanted: Spans) -> Found | None:
        """Return the newest point that is complete and intact, with the shards for some spans.

        All workers take part, and all get the same one. Each checks what it needs, and its share
        of the rest.
        """
        # What they see may differ, so that only the first one looks.
        first = self._place.rank == 0
        seen = _list_newest_first(self._shelf.list_files()) if first else []
        names = self._place.gather(seen)[0]
        for point in names:
            found = self._fetch(point, wanted)
            if all(self._place.gather(found is not None)):
                return found
            self._passed_over.add(point)
        return None

    def release(self) -> None:
        """Forget what `find` brought here."""
        self._shelf.release()

    def clear(self) -> None:
        """Remove what a killed group has half written: it may have filled the disk.

        Called before this group's first step, so that no other worker has written anything yet.
        """
        if self._place.rank > 0:
            return
        files = self._shelf.list_files()
        for point, names in files.items():
            note = self._load_note(point, 0)
            if note is None or not _is_complete(note, names):
                self._shelf.remove(point)

    def save(self, copy: Callable[[], Shard], position: Position, *, shards: int) -> str | None:
        """Copy this worker's part of the state, and begin to write it.

        Args:
            copy: Copies to host memory; an empty shard: others hold all of it.
            position: Where the training is.
            shards: How many workers hold the state between them.

        Returns:
            The point before, if it was still being written and now is not.
        """
        before = self._background.wait()
        shard = copy()
        if shard:
            self._background.start(lambda: self._write(shard, position, shards))
        return before

    def poll(self) -> str | None:
        """Return the name of a point that has been written since the last call; raise why not."""
        return self._background.poll()

    @contextmanager
    def writing(self, told: Callable[[str], None]) -> Iterator[None]:
        """Have what is still being written at the end of the block written when it is left."""
        try:
            yield
        except BaseException:
            # What went wrong there is the news.
            self._background.abandon()
            raise
        if point := self._background.wait():
            told(point)

    def _write(self, shard: Shard, position: Position, shards: int) -> str:
        point = f"step-{position.step:08d}-{self._group}"
        rank = self._place.rank
        facts = self._shelf.put_shard(point, name_shard(rank), shard)
        note = Note(
            identity=self._identity,
            position=position,
            shards=shards,
            spans=list_spans(shard),
            facts=facts,
        )
        self._shelf.put_note(point, name_note(rank), note.model_dump_json().encode())
        if rank == 0:
            self._tidy()
        return point

    def _tidy(self) -> None:
        """Remove what is older than the newest complete points, and what is of no use here."""
        files = self._shelf.list_files()
        notes = {point: self._load_note(point, 0) for point in _list_newest_first(files)}
        mine = {
            point: note
            for point, note in notes.items()
            if note is not None
            and note.identity == self._identity
            and point not in self._passed_over
        }
        complete = [point for point, note in mine.items() if _is_complete(note, files[point])]
        oldest = complete[:KEPT][-1] if len(complete) >= KEPT else ""
        for point in files:
            foreign = point in notes and point not in mine
            if foreign or point < oldest:
                self._shelf.remove(point)

    def _fetch(self, point: str, wanted: Spans) -> Found | None:
        notes = self._load_notes(point)
        if notes is None:
            return None
        shards = []
        for number, note in enumerate(notes):
            needed = _holds_any(note.spans, wanted)
            if not needed and number % self._place.workers != self._place.rank:
                continue
            path = self._shelf.fetch(point, name_shard(number), note.facts)
            if path is None:
                return None
            if needed:
                shards.append((path, note.spans))
        return Found(notes[0].position, tuple(shards))

    def _load_notes(self, point: str) -> list[Note] | None:
        """Return the notes of a point of this training, if all are there."""
        first = self._load_note(point, 0)
        if first is None or first.identity != self._identity:
            return None
        notes = [first]
        for rank in range(1, first.shards):
            note = self._load_note(point, rank)
            if note is None or note.identity != first.identity or note.shards != first.shards:
                return None
            notes.append(note)
        return notes

    def _load_note(self, point: str, rank: int) -> Note | None:
        content = self._shelf.read_note(point, name_note(rank))
        try:
            return Note.model_validate_json(content) if content else None
        except ValidationError:
            return None


def _is_complete(note: Note, files: AbstractSet[str]) -> bool:
    """Whether the notes of all workers are there, by the first one's."""
    return all(name_note(rank) in files for rank in range(note.shards))


def _holds_any(held: Spans, wanted: Spans) -> bool:
    return any(span.overlap(wanted[name]).length for name, span in held.items() if name in wanted)


def _list_newest_first(files: Mapping[str, AbstractSet[str]]) -> list[str]:
    """Return the points that at least the first worker has written."""
    return sorted((point for point in files if name_note(0) in files[point]), reverse=True)
