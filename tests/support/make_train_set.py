"""A training set in memory, made of rows as the file of `train.prepared` is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tunebench_api.v1alpha1 import Overflow
from tunebench_jobs.canaries import choose_canaries
from tunebench_jobs.records import TrainExample
from tunebench_jobs.train.examples import TrainSet, fit_examples
from tunebench_jobs.train.token_table import build_table


def make_train_set(
    rows: Sequence[TrainExample],
    tokenizer: Any,
    *,
    max_length: int,
    overflow: Overflow = Overflow.DROP,
) -> TrainSet:
    """Turn rows into tokens; what is wrong with them is raised as in a training."""
    kept = list(fit_examples(rows, tokenizer, max_length=max_length, overflow=overflow))
    table = build_table(each.example for each in kept)
    return TrainSet(
        table,
        len(rows) - len(kept),
        {index: rows[kept[index].place] for index in choose_canaries(table.lengths)},
    )
