"""Whole files out of a repository, by one `git cat-file` that answers as long as it is asked."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import IO

from tunebench_jobs.data.git_repository import GitRepository
from tunebench_jobs.errors import InputError

# A longer file gives no context that a prompt could hold.
MAX_TEXT_BYTES = 256 * 1024
# Of all files of one pull request, before and after the change.
MAX_TEXTS_BYTES = 4 << 20

# So many names fit into a pipe, so that neither side waits for the other.
_ASKED_AT_ONCE = 256
_CHUNK_BYTES = 1 << 20


class BlobReader:
    """Answers what files hold, by the names of their blobs."""

    def __init__(self, questions: IO[bytes], answers: IO[bytes]) -> None:
        """Keep the ends of the process's pipes."""
        self._questions = questions
        self._answers = answers

    def read(
        self, names: Sequence[str], *, most: int = MAX_TEXT_BYTES, in_all: int = MAX_TEXTS_BYTES
    ) -> dict[str, str]:
        """Return the texts by name; one that is absent or too long is left out.

        Raises:
            InputError: Git ended.
        """
        wanted = list(dict.fromkeys(name for name in names if name.strip("0")))
        texts: dict[str, str] = {}
        left = in_all
        for start in range(0, len(wanted), _ASKED_AT_ONCE):
            asked = wanted[start : start + _ASKED_AT_ONCE]
            self._questions.write("".join(f"{name}\n" for name in asked).encode())
            self._questions.flush()
            for name in asked:
                text = self._read_answer(min(most, left))
                if text is not None:
                    texts[name] = text.decode("utf-8", errors="replace")
                    left -= len(text)
        return texts

    def _read_answer(self, most: int) -> bytes | None:
        """Read `NAME blob SIZE`, the content and a line feed, or `NAME missing`."""
        header = self._answers.readline()
        if not header.endswith(b"\n"):
            msg = "git ended before it had answered; see `git fsck` in the repository"
            raise InputError(msg, reason="BrokenRepository")
        _, kind, *size = header.split()
        if not size or not size[0].isdigit():
            return None
        length = int(size[0])
        text = b"".join(self._read_parts(length + 1, keep=length <= most))
        return text[:-1] if text and kind == b"blob" else None

    def _read_parts(self, length: int, *, keep: bool) -> Iterator[bytes]:
        while length:
            part = self._answers.read(min(length, _CHUNK_BYTES))
            if not part:
                msg = "git ended in the middle of a file; see `git fsck` in the repository"
                raise InputError(msg, reason="BrokenRepository")
            length -= len(part)
            if keep:
                yield part


@contextmanager
def open_blobs(repository: GitRepository) -> Iterator[BlobReader]:
    """Yield what answers for the files of a repository.

    Raises:
        InputError: Git cannot read them.
    """
    with repository.converse("cat-file", "--batch") as (questions, answers):
        yield BlobReader(questions, answers)
