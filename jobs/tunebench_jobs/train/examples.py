"""The training set, as token ids."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError

from tunebench_api.v1alpha1 import Overflow
from tunebench_jobs.chat import (
    ANSWER_END,
    IGNORED_LABEL,
    Example,
    build_example_texts,
    build_examples,
    find_end_token,
)
from tunebench_jobs.errors import InputError
from tunebench_jobs.records import TrainExample, describe_validation_error
from tunebench_jobs.train.token_table import TokenTable, build_table

logger = logging.getLogger(__name__)

TRAIN_FILE = "train.parquet"
# Of the end of an answer: more than its closing fence can take.
_TAIL_TOKENS = 8
# Given to the tokenizer at once, which spreads them over the cores.
_AT_ONCE = 64


@dataclass(frozen=True)
class TrainSet:
    """Examples that fit, and how many did not."""

    examples: Sequence[Example]
    dropped: int
    # Which examples are watched, with their texts; none: a training without canaries.
    canaries: Mapping[int, TrainExample] = field(default_factory=dict)

    @cached_property
    def table(self) -> TokenTable:
        """The examples as columns."""
        examples = self.examples
        return examples if isinstance(examples, TokenTable) else build_table(examples)

    @property
    def lengths(self) -> list[int]:
        """Tokens of each example."""
        return self.table.lengths

    @property
    def digest(self) -> str:
        """Name of the content, to know a resume point of the same data by."""
        return self.table.digest


class Fitting(NamedTuple):
    """An example that fits, and the place of its row."""

    place: int
    example: Example


def read_train_examples(path: Path) -> Iterator[TrainExample]:
    """Yield the data stage's training examples; not all of them are in memory at once.

    Raises:
        InputError: The file is absent, empty or broken; names file and row.
    """
    import pyarrow.parquet as pq  # noqa: PLC0415 - takes a while to import
    from pyarrow import ArrowInvalid  # noqa: PLC0415 - likewise

    number = 0
    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=_AT_ONCE):
                for row in batch.to_pylist():
                    number += 1
                    yield _parse_row(row, path, number)
    except FileNotFoundError as error:
        msg = f"training set `{path}` must exist; run the data stage first"
        raise InputError(msg, reason="FileNotFound") from error
    except ArrowInvalid as error:
        msg = f"training set `{path}` must be a Parquet file: {error}"
        raise InputError(msg, reason="BrokenRow") from error
    if not number:
        msg = f"training set `{path}` must have examples, got none; add answers to the dataset"
        raise InputError(msg, reason="NoTrainExamples")


def find_window(model: Any) -> int | None:
    """Return how many tokens a model takes at once; a config may say nothing, or nonsense."""
    window = getattr(model.config, "max_position_embeddings", None)
    return window if type(window) is int and window > 0 else None


def fit_examples(
    rows: Iterable[TrainExample], tokenizer: Any, *, max_length: int, overflow: Overflow
) -> Iterator[Fitting]:
    """Yield the examples that fit, as tokens and in their order.

    Raises:
        InputError: An example is too long under `Fail` or not whole, or none fits.
    """
    longer, fitting, shortest = 0, 0, 0
    end = find_end_token(tokenizer)
    for place, (row, example) in enumerate(_tokenize(rows, tokenizer, end=end)):
        length = len(example.input_ids)
        if length <= max_length:
            check_whole(example, row, tokenizer, end=end)
            fitting += 1
            yield Fitting(place, example)
            continue
        longer, shortest = longer + 1, min(shortest or length, length)
        if overflow is Overflow.FAIL:
            msg = (
                f"example `{row.pr}` for {row.tool} must have at most {max_length} tokens "
                f"(`maxLength`, or the model's own limit), got {length}; raise `maxLength`, "
                "shorten the prompts or set `overflow: Drop`"
            )
            raise InputError(msg, reason="ExampleTooLong")
        logger.info("dropping example %s for %s: %d tokens", row.pr, row.tool, length)
    if not fitting:
        msg = (
            f"at least one example must have at most {max_length} tokens (`maxLength`, or the "
            f"model's own limit), got {longer} longer ones, the shortest with {shortest}; raise "
            "`maxLength`, or choose a model that takes more"
        )
        raise InputError(msg, reason="NoTrainExamples")


def _tokenize(
    rows: Iterable[TrainExample], tokenizer: Any, *, end: int
) -> Iterator[tuple[TrainExample, Example]]:
    left = iter(rows)
    while some := list(islice(left, _AT_ONCE)):
        texts = [
            build_example_texts(tokenizer, system=row.system, user=row.user, answer=row.answer)
            for row in some
        ]
        yield from zip(some, build_examples(tokenizer, texts, end=end), strict=True)


def check_whole(example: Example, row: TrainExample, tokenizer: Any, *, end: int) -> None:
    """Check that an example teaches its answer up to the end, and leaves the prompt alone.

    Raises:
        InputError: It does not.
    """
    name = f"example `{row.pr}` for {row.tool}"
    if not 0 < example.answer_tokens < len(example.input_ids):
        msg = (
            f"{name} must have tokens to learn behind its prompt, got {example.answer_tokens} of "
            f"{len(example.input_ids)}; leave the row out, or check the model's tokenizer"
        )
        raise InputError(msg, reason="NoTrainableToken")
    last = [label for label in example.labels[-_TAIL_TOKENS - 1 : -1] if label != IGNORED_LABEL]
    tail: str = tokenizer.decode(last)
    if example.labels[-1] != end or not tail.rstrip().endswith(ANSWER_END.strip()):
        msg = (
            f"{name} must end with its answer's closing fence and the end of the turn, got "
            f"{tail[-20:]!r}: the tokenizer has cut the answer; check `truncation` in its "
            "`tokenizer.json`"
        )
        raise InputError(msg, reason="AnswerTruncated")


def _parse_row(row: dict[str, Any], path: Path, number: int) -> TrainExample:
    try:
        return TrainExample.model_validate(row)
    except ValidationError as error:
        msg = f"{path}: row {number}: broken row: {describe_validation_error(error)}"
        raise InputError(msg, reason="BrokenRow") from error
