"""Every reply that was paid for, so that none is paid twice.

One folder holds one model with its settings: `replies/<kind>/<digest>/`. A reply is named by the
SHA-256 of what the model was sent, whoever asked and for whatever run. Only the names stay in
memory: a hundred thousand replies would fill it.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from tunebench_api.v1alpha1 import LlmSpec
from tunebench_jobs.context import StageContext
from tunebench_jobs.errors import InputError
from tunebench_jobs.files import save_text
from tunebench_jobs.folder_lock import OnWait, hold_folder
from tunebench_jobs.journal import Journal, Journaled
from tunebench_jobs.records import Record, describe_validation_error

REPLIES_FOLDER = "replies"
MODEL_FILE = "model.json"
# Replies between two calls of fsync; a killed process loses none, a power cut at most these.
BATCH = 32
# A mean of fewer replies says little.
_ENOUGH = 20
_DIGEST_LENGTH = 16

Message = Mapping[str, str]


class StoredReply(Record):
    """What a model said to one conversation, or in `refusal` why it said nothing."""

    key: str
    # What was asked for, such as Describe: replies of a kind are alike in length.
    purpose: str
    text: str = ""
    finish_reason: str = "stop"
    refusal: str | None = None
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost_usd: float = 0.0


class Replies(Journaled):
    """The replies of one model: names in memory, texts on disk."""

    def __init__(self, journal: Journal) -> None:
        """Read every shard once."""
        super().__init__(journal)
        self._places: dict[bytes, tuple[Path, int]] = {}
        self._count: Counter[str] = Counter()
        self._tokens: Counter[str] = Counter()
        start, last = 0, None
        for path, number, line in journal.load():
            start = start if path == last else 0
            last = path
            self._note(_parse(path, number, line), (path, start))
            start += len(line) + 1

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, key: str) -> bool:
        return bytes.fromhex(key) in self._places

    def find(self, key: str) -> StoredReply | None:
        """Return the reply to a conversation that was sent before."""
        place = self._places.get(bytes.fromhex(key))
        if place is None:
            return None
        path, start = place
        with path.open("rb") as lines:
            lines.seek(start)
            return StoredReply.model_validate_json(lines.readline())

    def append(self, reply: StoredReply) -> None:
        """Keep a reply: when this returns, it survives the end of this process."""
        self._note(reply, self._journal.append(reply.model_dump_json().encode()))

    def mean_tokens(self, purpose: str) -> float | None:
        """Return the mean length of replies of a kind, where there are enough of them."""
        count = self._count[purpose]
        return self._tokens[purpose] / count if count >= _ENOUGH else None

    def _note(self, reply: StoredReply, place: tuple[Path, int]) -> None:
        self._places[bytes.fromhex(reply.key)] = place
        if reply.completion_tokens:
            self._count[reply.purpose] += 1
            self._tokens[reply.purpose] += reply.completion_tokens


def build_key(messages: Sequence[Message]) -> str:
    """Name a conversation by its content."""
    return _hash([dict(message) for message in messages])


def build_model_digest(spec: LlmSpec) -> str:
    """Name a model by all that decides its replies besides the messages.

    The prompt set is not part of it: what it renders is in the messages.
    """
    return _hash(_describe(spec))[:_DIGEST_LENGTH]


def open_local_journal(folder: Path) -> Journal:
    """Open the shards of a model's replies on this machine."""
    return Journal(folder, batch=BATCH)


@dataclass(frozen=True)
class Shelf:
    """Where replies are kept: a folder, and what opens the journals below it."""

    root: Path
    open_journal: Callable[[Path], Journal] = open_local_journal


def build_shelf(context: StageContext) -> Shelf:
    """Keep replies in the store, for all runs that share it."""

    def open_journal(folder: Path) -> Journal:
        if context.mirror is not None:
            context.mirror.keep(folder / MODEL_FILE)
        return context.open_journal(folder, batch=BATCH)

    return Shelf(context.store / REPLIES_FOLDER, open_journal)


@contextmanager
def open_replies(shelf: Shelf, kind: str, spec: LlmSpec, on_wait: OnWait) -> Iterator[Replies]:
    """Open a model's replies once no other stage of this machine adds to them.

    So its limits hold across processes, and none pays for what another is paying already.
    """
    folder = shelf.root / kind / build_model_digest(spec)
    with hold_folder(folder, on_wait):
        if not (folder / MODEL_FILE).is_file():
            text = json.dumps(_describe(spec), indent=1, sort_keys=True)
            save_text(folder / MODEL_FILE, f"{text}\n")
        with Replies(shelf.open_journal(folder)) as replies:
            yield replies


def _parse(path: Path, number: int, line: bytes) -> StoredReply:
    try:
        return StoredReply.model_validate_json(line)
    except ValidationError as error:
        msg = (
            f"{path}:{number}: broken reply ({describe_validation_error(error)}); delete this "
            "line, and it is asked for again"
        )
        raise InputError(msg, reason="BrokenJournal") from error


def _describe(spec: LlmSpec) -> dict[str, Any]:
    return spec.model_dump(mode="json", include={"model", "api_base", "temperature", "max_tokens"})


def _hash(content: Any) -> str:
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()
