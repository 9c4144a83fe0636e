"""Canaries: a few training examples by which a trained model is known again.

The train stage keeps them beside its checkpoint, with the loss of each of the first tokens of
their answers as the model in memory had it. Whoever loads the checkpoint later must come to the
same numbers: the same template gives the same tokens, the same weights the same losses.
"""

from __future__ import annotations

import hashlib
import logging
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import Field, ValidationError

from tunebench_api.v1alpha1 import Precision
from tunebench_jobs.chat import Example, build_example
from tunebench_jobs.errors import InputError
from tunebench_jobs.files import save_text
from tunebench_jobs.records import Record, describe_validation_error

logger = logging.getLogger(__name__)

CANARY_FILE = "canaries.json"
# Forty-eight losses tell models apart; each pass over them costs as much as training on one row.
COUNT = 3
PRINT_TOKENS = 16

# Mean difference of a token's loss, in nats. The same weights through other kernels, merged, or
# with a cache differ by 1e-6 in float32, and by more in bfloat16; another model by tenths.
_TOLERANCES = {Precision.FLOAT32: 0.001, Precision.BFLOAT16: 0.1}

Loss = Annotated[float, Field(allow_inf_nan=False)]
Losses = tuple[float, ...]


class Canary(Record):
    """One example, and what the trained model makes of it."""

    system: str
    user: str
    answer: str
    # Of the tokens that it became in training, the answer's included.
    tokens_digest: str
    losses: tuple[Loss, ...] = Field(min_length=1, max_length=PRINT_TOKENS)


class CanaryFile(Record):
    """Contents of `canaries.json`."""

    version: Literal[1] = 1
    template_digest: str
    # The coarser one of the arithmetic of training and the format of the saved weights.
    precision: Precision
    canaries: tuple[Canary, ...] = Field(min_length=1, max_length=COUNT)

    @property
    def losses(self) -> list[Losses]:
        """The losses of all canaries."""
        return [each.losses for each in self.canaries]


class Meeting(NamedTuple):
    """Which two models are compared, and the word for their being different."""

    reason: str
    found: str
    expected: str
    remedy: str


SAVED = Meeting(
    "SavedModelDiffers",
    "the checkpoint, loaded anew,",
    "the model that was trained",
    "nothing was published; start the run again, and report it if it comes back",
)
MERGED = Meeting(
    "MergedModelDiffers",
    "the adapter, merged into its base model,",
    "the adapter beside it",
    "the checkpoint must not be merged; start the run again, and report it if it comes back",
)
SERVED = Meeting(
    "ServedModelDiffers",
    "the server",
    "the checkpoint that was trained",
    "remove the checkpoint's train output from the store and start the run again",
)


def choose_canaries(lengths: Sequence[int]) -> tuple[int, ...]:
    """Return which examples to keep: evenly among the shorter quarter, which costs least."""
    order = sorted(range(len(lengths)), key=lambda index: lengths[index])
    last = (len(order) - 1) // 4
    return tuple(dict.fromkeys(order[last * number // (COUNT - 1)] for number in range(COUNT)))


def build_template_digest(tokenizer: Any) -> str:
    """Return a name for a tokenizer's chat template."""
    return hashlib.sha256(str(tokenizer.chat_template).encode()).hexdigest()


def build_tokens_digest(example: Example) -> str:
    """Return a name for an example's tokens."""
    return hashlib.sha256(repr(tuple(example.input_ids)).encode()).hexdigest()


def find_coarser(*formats: Precision) -> Precision:
    """Return the format that rounds most."""
    return Precision.BFLOAT16 if Precision.BFLOAT16 in formats else Precision.FLOAT32


def load_canaries(path: Path) -> CanaryFile | None:
    """Return the canaries of a training; none where an earlier version has left none.

    Raises:
        InputError: The file is broken.
    """
    if not path.is_file():
        logger.warning("%s is absent: the checkpoint is served without a comparison", path)
        return None
    try:
        return CanaryFile.model_validate_json(path.read_bytes())
    except ValidationError as error:
        msg = f"{path} is broken: {describe_validation_error(error)}; train again"
        raise InputError(msg, reason="CheckpointBroken") from error


def save_canaries(path: Path, canaries: CanaryFile) -> None:
    """Write a canary file."""
    save_text(path, canaries.model_dump_json(indent=1))


def build_examples(canaries: CanaryFile, tokenizer: Any) -> list[Example]:
    """Return the canaries as tokens, which must be those of the training.

    Raises:
        InputError: The tokenizer or its chat template is another one.
    """
    examples = [
        build_example(tokenizer, system=each.system, user=each.user, answer=each.answer)
        for each in canaries.canaries
    ]
    same = build_template_digest(tokenizer) == canaries.template_digest and all(
        build_tokens_digest(example) == each.tokens_digest
        for example, each in zip(examples, canaries.canaries, strict=True)
    )
    if not same:
        msg = (
            "chat template and tokenizer must be those of the training, got others, so the model "
            "would see prompts that it does not know; put the base model's files back, or train "
            "again"
        )
        raise InputError(msg, reason="TemplateChanged")
    return examples


def check_losses(
    expected: Sequence[Losses], found: Sequence[Losses], precision: Precision, meeting: Meeting
) -> None:
    """Check that two models give the same losses to the same tokens.

    Raises:
        InputError: They are different models.
    """
    gap = find_gap(expected, found)
    # Also true of NaN.
    if not gap <= _TOLERANCES[precision]:
        msg = (
            f"{meeting.found} must answer as {meeting.expected} does, got token losses that differ "
            f"by {gap:.3g} nats in the mean over {len(expected)} training examples, more than "
            f"{_TOLERANCES[precision]:g} ({precision}); {meeting.remedy}"
        )
        raise InputError(msg, reason=meeting.reason)


def find_gap(expected: Sequence[Losses], found: Sequence[Losses]) -> float:
    """Return the mean difference of the losses of two models; infinite where one lacks some."""
    if [len(each) for each in expected] != [len(each) for each in found]:
        return math.inf
    gaps = [
        abs(left - right)
        for one, other in zip(expected, found, strict=True)
        for left, right in zip(one, other, strict=True)
    ]
    return sum(gaps) / len(gaps) if gaps else math.inf
