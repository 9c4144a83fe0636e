"""The training set, as token ids."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from tunebench_api.v1alpha1 import Overflow
from tunebench_jobs.canaries import choose_canaries
from tunebench_jobs.chat import ANSWER_END, IGNORED_LABEL, Example, build_example, find_end_token
from tunebench_jobs.errors import InputError
from tunebench_jobs.records import TrainExample, describe_validation_error

logger = logging.getLogger(__name__)

TRAIN_FILE = "train.parquet"
# Of the end of an answer: more than its closing fence can take.
_TAIL_TOKENS = 8


@dataclass(frozen=True)
class TrainSet:
    """Examples that fit, and how many did not."""

    examples: tuple[Example, ...]
    dropped: int
    # Which examples are watched, with their texts; none: a training without canaries.
    canaries: Mapping[int, TrainExample] = field(default_factory=dict)

    @property
    def lengths(self) -> list[int]:
        """Tokens of each example."""
        return [len(example.input_ids) for example in self.examples]

    @property
    def digest(self) -> str:
        """Name of the content, to know a resume point of the same data by."""
        digest = hashlib.sha256()
        for example in self.examples:
            digest.update(repr((example.input_ids, example.answer_tokens)).encode())
        return digest.hexdigest()[:16]


def load_train_examples(path: Path) -> list[TrainExample]:
    """Read the data stage's training examples.

    Raises:
        InputError: The file is absent, empty or broken; names file and row.
    """
    import pyarrow.parquet as pq  # noqa: PLC0415 - takes a while to import
    from pyarrow import ArrowInvalid  # noqa: PLC0415 - likewise

    try:
        rows = pq.read_table(path).to_pylist()
    except FileNotFoundError as error:
        msg = f"training set `{path}` must exist; run the data stage first"
        raise InputError(msg, reason="FileNotFound") from error
    except ArrowInvalid as error:
        msg = f"training set `{path}` must be a Parquet file: {error}"
        raise InputError(msg, reason="BrokenRow") from error
    if not rows:
        msg = f"training set `{path}` must have examples, got none; add answers to the dataset"
        raise InputError(msg, reason="NoTrainExamples")
    return [_parse_row(row, path, number) for number, row in enumerate(rows, 1)]


def build_train_set(
    examples: Sequence[TrainExample], tokenizer: Any, *, max_length: int, overflow: Overflow
) -> TrainSet:
    """Turn examples into tokens; too long ones are dropped whole or refused, never cut.

    Raises:
        InputError: An example is too long under `Fail` or not whole, or none is left.
    """
    kept: list[Example] = []
    places: list[int] = []
    shortest = 0
    end = find_end_token(tokenizer)
    for place, row in enumerate(examples):
        example = build_example(tokenizer, system=row.system, user=row.user, answer=row.answer)
        length = len(example.input_ids)
        if length <= max_length:
            check_whole(example, row, tokenizer, end=end)
            kept.append(example)
            places.append(place)
            continue
        shortest = min(shortest or length, length)
        if overflow is Overflow.FAIL:
            msg = (
                f"example `{row.pr}` for {row.tool} must have at most {max_length} tokens "
                f"(`maxLength`), got {length}; raise `maxLength`, shorten the prompts or set "
                "`overflow: Drop`"
            )
            raise InputError(msg, reason="ExampleTooLong")
        logger.info("dropping example %s for %s: %d tokens", row.pr, row.tool, length)
    if not kept:
        msg = (
            f"at least one example must have at most {max_length} tokens (`maxLength`), got "
            f"{len(examples)} longer ones, the shortest with {shortest}; raise `maxLength`"
        )
        raise InputError(msg, reason="NoTrainExamples")
    chosen = choose_canaries([len(example.input_ids) for example in kept])
    return TrainSet(
        tuple(kept),
        len(examples) - len(kept),
        {index: examples[places[index]] for index in chosen},
    )


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
