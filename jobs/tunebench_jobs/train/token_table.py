"""Training examples as token ids in flat columns, in memory or mapped from an Arrow file.

An example is its tokens and how many of them, at the end, are its answer. A mapped file is shared
by all workers of a machine, and takes no memory of theirs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import IO, Any, overload

import numpy as np
import numpy.typing as npt

from tunebench_jobs.chat import IGNORED_LABEL, Example

Ids = npt.NDArray[np.int32]

_BATCH_ROWS = 512
_TOKENS, _ANSWERS = "input_ids", "answer_tokens"


@dataclass(frozen=True)
class TokenRow:
    """One example, without a copy of its tokens."""

    input_ids: Ids
    answer_tokens: int

    @property
    def labels(self) -> Ids:
        """The answer's tokens in their places, and nothing to learn before them."""
        labels = np.full_like(self.input_ids, IGNORED_LABEL)
        start = len(labels) - self.answer_tokens
        labels[start:] = self.input_ids[start:]
        return labels


class TokenTable(Sequence[Example]):
    """Examples by number; `pick` is the fast way to many of them."""

    def __init__(self, parts: Sequence[tuple[Ids, npt.NDArray[np.int64], Ids]]) -> None:
        """Take parts of equally many rows, the last one excepted: tokens, bounds, answers."""
        self._parts = parts
        self._rows = len(parts[0][2]) if parts else 0

    @cached_property
    def lengths(self) -> list[int]:
        """Tokens of each example."""
        return [int(each) for _, bounds, _ in self._parts for each in np.diff(bounds)]

    @cached_property
    def answer_lengths(self) -> list[int]:
        """Tokens of each answer, its end included."""
        return [int(each) for _, _, answers in self._parts for each in answers]

    @cached_property
    def highest(self) -> int:
        """The highest token id."""
        return max((int(tokens.max(initial=0)) for tokens, _, _ in self._parts), default=0)

    @cached_property
    def digest(self) -> str:
        """Name of the content, to know a resume point of the same data by."""
        digest = hashlib.sha256()
        for tokens, bounds, _ in self._parts:
            digest.update(tokens[bounds[0] : bounds[-1]].data)
        for column in (self.lengths, self.answer_lengths):
            digest.update(np.array(column, dtype=np.int64).data)
        return digest.hexdigest()[:16]

    def pick(self, indices: Iterable[int]) -> list[TokenRow]:
        """Return some examples, in this order."""
        return [self._find(index) for index in indices]

    def __len__(self) -> int:
        return sum(len(answers) for _, _, answers in self._parts)

    @overload
    def __getitem__(self, index: int) -> Example: ...

    @overload
    def __getitem__(self, index: slice) -> list[Example]: ...

    def __getitem__(self, index: int | slice) -> Example | list[Example]:
        if isinstance(index, slice):
            return [self[each] for each in range(*index.indices(len(self)))]
        row = self._find(index)
        return Example(tuple(row.input_ids.tolist()), tuple(row.labels.tolist()))

    def _find(self, index: int) -> TokenRow:
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        part, row = divmod(index % len(self), self._rows)
        tokens, bounds, answers = self._parts[part]
        return TokenRow(tokens[bounds[row] : bounds[row + 1]], int(answers[row]))


def build_table(examples: Iterable[Example]) -> TokenTable:
    """Build a table in memory."""
    examples = list(examples)
    bounds = np.cumsum([0, *(len(each.input_ids) for each in examples)], dtype=np.int64)
    tokens = np.fromiter((token for each in examples for token in each.input_ids), dtype=np.int32)
    answers = np.array([each.answer_tokens for each in examples], dtype=np.int32)
    return TokenTable([(tokens, bounds, answers)] if examples else [])


def write_table(file: IO[bytes], examples: Iterable[Example]) -> None:
    """Write examples as they come, as an Arrow file; not all of them are in memory at once."""
    import pyarrow as pa  # noqa: PLC0415 - takes a while to import

    schema = pa.schema([(_TOKENS, pa.list_(pa.int32())), (_ANSWERS, pa.int32())])
    with pa.ipc.new_file(file, schema) as writer:
        for batch in _cut(examples):
            columns = {
                _TOKENS: [each.input_ids for each in batch],
                _ANSWERS: [each.answer_tokens for each in batch],
            }
            writer.write_batch(pa.RecordBatch.from_pydict(columns, schema))


def map_table(path: Path) -> TokenTable:
    """Map what `write_table` wrote into memory."""
    import pyarrow as pa  # noqa: PLC0415 - takes a while to import

    with pa.memory_map(str(path)) as file:
        reader = pa.ipc.open_file(file)
        return TokenTable([_view(reader.get_batch(at)) for at in range(reader.num_record_batches)])


def _view(batch: Any) -> tuple[Ids, npt.NDArray[np.int64], Ids]:
    """Return the columns of a batch as arrays, which keep the mapping alive."""
    tokens = batch.column(_TOKENS)
    return (
        tokens.values.to_numpy(zero_copy_only=True),
        tokens.offsets.to_numpy(zero_copy_only=True).astype(np.int64),
        batch.column(_ANSWERS).to_numpy(zero_copy_only=True),
    )


def _cut(examples: Iterable[Example]) -> Iterator[list[Example]]:
    left = iter(examples)
    while batch := list(islice(left, _BATCH_ROWS)):
        yield batch
