"""Hold out the newest pull requests, as a model in use would meet them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tunebench_api.v1alpha1 import Holdout
from tunebench_jobs.data.drops import Finding, RowDrop
from tunebench_jobs.data.parcels import Key


@dataclass(frozen=True)
class Split:
    """Rows to train on, in their order; rows that are held out, newest first; and neither."""

    train: Sequence[Key]
    held: Sequence[Key]
    dropped: Sequence[tuple[Key, Finding]] = ()


def split_keys(keys: Sequence[Key], count: int, holdout: Holdout) -> Split:
    """Hold out the `count` newest rows, and with `UnseenRepositories` what is too near to them."""
    split = split_newest(keys, count)
    return split if holdout is Holdout.NEWEST else _drop_seen(split)


def split_newest(keys: Sequence[Key], count: int) -> Split:
    """Hold out the `count` newest rows.

    Of two rows of one moment, the earlier row counts as newer; rows without a moment are older
    than all others.
    """
    ranked = sorted(range(len(keys)), key=lambda place: _age(keys[place]))
    held = set(ranked[:count])
    return Split(
        [key for place, key in enumerate(keys) if place not in held],
        [keys[place] for place in ranked[:count]],
    )


def _drop_seen(split: Split) -> Split:
    """Train on no repository that is asked about, nor on what came after the oldest question."""
    families = {name: key for key in reversed(split.held) for name in _list_family(key)}
    moments = [key.merged_at for key in split.held if key.merged_at is not None]
    # Without a moment nothing is known to be newer.
    oldest = min(moments, default=float("inf"))
    train: list[Key] = []
    dropped: list[tuple[Key, Finding]] = []
    for key in split.train:
        kin = next((families[name] for name in _list_family(key) if name in families), None)
        if kin is not None:
            dropped.append((key, Finding(RowDrop.REPOSITORY_OF_EVAL, f"of {kin.origin}")))
        elif key.merged_at is not None and key.merged_at > oldest:
            dropped.append((key, Finding(RowDrop.NEWER_THAN_EVAL)))
        else:
            train.append(key)
    return Split(train, split.held, dropped)


def _list_family(key: Key) -> tuple[str, ...]:
    """Return the names of a repository and of what it was forked from."""
    return tuple(name.casefold() for name in (key.repository, key.fork_of) if name)


def _age(key: Key) -> tuple[bool, float]:
    """Return a sort key that puts the newest first; sorting keeps the order of equals."""
    return (key.merged_at is None, -(key.merged_at or 0.0))
