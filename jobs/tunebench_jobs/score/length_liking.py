"""What a judge's verdicts say of its liking for long answers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tunebench_jobs.score.board import Board, Entry
from tunebench_jobs.score.outcomes import TIE


@dataclass(frozen=True)
class LengthLiking:
    """How often the longer of two answers wins; absent where there is nothing to divide by."""

    # Of all decided verdicts on two answers of different length that can be read.
    longer_wins: float | None
    # As if the model's answer were the longer one as often as the baseline's: one half is fair,
    # however good or long the answers of a variant are.
    balanced: float | None
    # On how many verdicts, of the rarer case, the balanced share rests.
    weight: float


def build_length_liking(board: Board, judge: int) -> LengthLiking:
    """Look at a judge's verdicts on all variants but the controls."""
    hits, total, lead, weight = 0.0, 0, 0.0, 0.0
    for entry in board.contestants:
        for longer, won in _list_decided(board, entry, judge):
            hits += float((won == longer).sum())
            total += len(won)
            ours, theirs = won[longer], won[~longer]
            if len(ours) and len(theirs):
                # Mantel and Haenszel's weights, variant by variant.
                share = len(ours) * len(theirs) / len(won)
                lead += share * float(ours.mean() - theirs.mean())
                weight += share
    return LengthLiking(
        longer_wins=hits / total if total else None,
        balanced=0.5 + lead / weight / 2 if weight else None,
        weight=weight,
    )


def _list_decided(
    board: Board, entry: Entry, judge: int
) -> Iterator[tuple[NDArray[np.bool_], NDArray[np.bool_]]]:
    """Yield, tool by tool, whether the model's answer is longer and whether it wins."""
    tokens = np.array([reading.tokens for reading in entry.readings], dtype=np.float64)
    pairs = zip(entry.readings, board.baseline, strict=True)
    readable = np.array([ours.valid and theirs.valid for ours, theirs in pairs])
    points = entry.outcomes.points[judge].reshape(len(tokens), -1)
    longer = np.broadcast_to((tokens > board.tokens)[:, None], points.shape)
    decided = ~np.isnan(points) & (points != TIE)
    decided &= (readable & (tokens != board.tokens))[:, None]
    for tool in range(board.design.tool_count):
        chosen = decided & (board.design.tools == tool)[:, None]
        yield longer[chosen], points[chosen] > TIE
