"""When a training is stopped: the rules, on numbers alone; `docs/training.md` has them in words."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import median

from tunebench_jobs.errors import InputError
from tunebench_jobs.train.layout import Position

# Steps that stand for the start, and for now: a batch alone says little.
WINDOW = 8
# One and a half times what guessing evenly among 256,000 tokens costs, in nats.
_WORSE_THAN_GUESSING = 18.0
_WILD_STEPS = 3
# Fewer steps need not bring a model below its start.
_ENOUGH_STEPS = 8


def check_finite(loss: float, step: int) -> None:
    """Check the loss of a step.

    Raises:
        InputError: It is not a number, or infinite.
    """
    if not math.isfinite(loss):
        msg = (
            f"loss must be a finite number, got {loss} at step {step}; lower `learningRate`, add "
            "`warmupSteps` or set `precision: Float32`"
        )
        raise InputError(msg, reason="LossNotFinite")


def check_exploding(position: Position) -> None:
    """Check that the loss of the latest steps is still near where it was at the start.

    Raises:
        InputError: It is far above.
    """
    first, recent = position.first_losses, position.recent_losses
    if not _is_wild(first, recent) and not _is_risen(first, recent, position.step):
        return
    msg = (
        f"loss must stay near its start ({median(first[:1] or (0.0,)):.2f} at the first step), got "
        f"{median(recent[-_WILD_STEPS:]):.2f} at step {position.step} and before; lower "
        "`learningRate` or add `warmupSteps`"
    )
    raise InputError(msg, reason="LossExploded")


def _is_wild(first: Sequence[float], recent: Sequence[float]) -> bool:
    """Whether each of the latest steps is worse than guessing, and twice the first one."""
    limit = max(_WORSE_THAN_GUESSING, 2 * first[0])
    latest = recent[-_WILD_STEPS:]
    return len(latest) == _WILD_STEPS and min(latest) > limit


def _is_risen(first: Sequence[float], recent: Sequence[float], step: int) -> bool:
    """Whether all of the latest window is above twice the median of the first, by a nat or more."""
    if step < 2 * WINDOW:
        return False
    start = median(first)
    return min(recent) > max(2 * start, start + 1)


def check_below_start(start: float | None, end: float, steps: int) -> None:
    """Check that a training has lowered the loss of the same examples, without dropout.

    Raises:
        InputError: It has not.
    """
    if start is None or steps < _ENOUGH_STEPS or end < start:
        return
    msg = (
        f"training must lower the loss of its own examples, got {start:.4f} before and {end:.4f} "
        f"after {steps} steps; change `learningRate` (lower where the loss rose, higher where it "
        "stayed) or train for more steps"
    )
    raise InputError(msg, reason="LossNotBelowStart")


def check_vocabulary(highest: int, words: int) -> None:
    """Check that a model has an embedding for each token that its tokenizer makes.

    Raises:
        InputError: The tokenizer knows more of them.
    """
    if highest < words:
        return
    msg = (
        f"base model must have an embedding for each token of its tokenizer, got {words} of them "
        f"and token {highest} in the training set; tokens were added to the tokenizer alone: "
        "resize the model's embeddings, or take the tokenizer that belongs to it"
    )
    raise InputError(msg, reason="BaseModelUnusable")


def check_learnable(learnt: int, wanted: int, step: int) -> None:
    """Check that a micro-batch teaches all of its answers.

    Args:
        learnt: Tokens with a label in the rows that the model gets.
        wanted: Tokens of the answers in the examples.
        step: For the message.

    Raises:
        InputError: It teaches nothing, or not all.
    """
    if wanted == 0 or learnt == 0:
        msg = (
            f"each batch must have tokens to learn, got none in step {step}; look for rows whose "
            "`answer` is empty"
        )
        raise InputError(msg, reason="NoTrainableToken")
    if learnt != wanted:
        msg = (
            f"each batch must have its answers whole, got {learnt} of {wanted} tokens in step "
            f"{step}; this must not happen, please report it"
        )
        raise InputError(msg, reason="AnswerTruncated")
