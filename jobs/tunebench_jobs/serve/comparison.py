"""What is served is what was trained: shown on the engine's own decoder before anybody is answered.

The canaries of all variants go through batches as requests do, adapters mixed, one token at a time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tunebench_api.v1alpha1 import Precision
from tunebench_jobs.canaries import (
    SERVED,
    CanaryFile,
    Losses,
    build_examples,
    check_losses,
    find_coarser,
    load_canaries,
)
from tunebench_jobs.chat import Example
from tunebench_jobs.serve.decoder import Decoder


@dataclass(frozen=True)
class Watched:
    """A variant: the adapter that the decoder knows it by, and its canaries."""

    adapter: int | None
    canaries: CanaryFile


@dataclass(frozen=True)
class _Sequence:
    variant: str
    adapter: int | None
    prompt: tuple[int, ...]
    answer: tuple[int, ...]


def find_watched(
    files: Mapping[str, str], variants: Mapping[str, int | None]
) -> dict[str, Watched]:
    """Load the canaries of all variants that have some.

    Raises:
        InputError: A file is broken.
    """
    found = {name: load_canaries(Path(path)) for name, path in files.items()}
    return {
        name: Watched(variants[name], canaries)
        for name, canaries in found.items()
        if canaries is not None
    }


def check_served(
    decoder: Decoder, tokenizer: Any, watched: Mapping[str, Watched], precision: Precision
) -> None:
    """Compare each variant with what its training says of it.

    Raises:
        InputError: A variant answers otherwise, or gets other prompts than in training.
    """
    sequences = [
        _cut(name, each.adapter, example, len(canary.losses))
        for name, each in watched.items()
        for example, canary in zip(
            build_examples(each.canaries, tokenizer), each.canaries.canaries, strict=True
        )
    ]
    found: dict[str, list[Losses]] = {name: [] for name in watched}
    for start in range(0, len(sequences), decoder.batch_size):
        batch = sequences[start : start + decoder.batch_size]
        for sequence, losses in zip(batch, _compute_losses(decoder, batch), strict=True):
            found[sequence.variant].append(losses)
    for name, each in watched.items():
        coarser = find_coarser(precision, each.canaries.precision)
        meeting = SERVED._replace(found=f"`{name}` of the server")
        check_losses(each.canaries.losses, found[name], coarser, meeting)


def _cut(variant: str, adapter: int | None, example: Example, tokens: int) -> _Sequence:
    """Return an example's prompt, and as much of its answer as is compared."""
    start = len(example.input_ids) - example.answer_tokens
    return _Sequence(
        variant, adapter, example.input_ids[:start], example.input_ids[start : start + tokens]
    )


def _compute_losses(decoder: Decoder, batch: Sequence[_Sequence]) -> list[Losses]:
    """Feed the answers token by token, and return the loss of each; the decoder is empty again."""
    losses: list[list[float]] = []
    for each in batch:
        logits = decoder.read_prompt(each.adapter, each.prompt)
        losses.append([_find_loss(logits[0], each.answer[0])])
    for place in range(max(len(each.answer) for each in batch) - 1):
        # Who is done goes on with its last token, which is not looked at.
        logits = decoder.step([each.answer[min(place, len(each.answer) - 1)] for each in batch])
        for row, each in enumerate(batch):
            if place + 1 < len(each.answer):
                losses[row].append(_find_loss(logits[row], each.answer[place + 1]))
    for row in reversed(range(len(batch))):
        decoder.remove(row)
    return [tuple(each) for each in losses]


def _find_loss(logits: Any, token: int) -> float:
    return float(-logits.log_softmax(-1)[token])
