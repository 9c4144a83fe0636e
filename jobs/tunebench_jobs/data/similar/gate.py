"""What keeps the evaluation set out of training."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property

import numpy as np
import numpy.typing as npt

from tunebench_api.contamination import MatchKind
from tunebench_jobs.data.similar.duplicates import DuplicateIndex
from tunebench_jobs.data.similar.match import Match
from tunebench_jobs.data.similar.signature import Hashes, Signature

# Llama 2 (section A.6) calls what overlaps by less than a fifth clean.
SHARE = 0.2
# Runs in more rows than this are licences, imports and other boilerplate, as in GPT-3.
COMMON_ROWS = 10

_Counts = npt.NDArray[np.int64]


class EvalGate:
    """The evaluation's pull requests, to be found again in training rows.

    `count` every training row before the first is looked for, so that boilerplate does not count.
    """

    def __init__(self, threshold: float, evaluation: Iterable[tuple[str, Signature]]) -> None:
        """Take in the ids and signatures of the evaluation set."""
        pairs = list(evaluation)
        self._index = DuplicateIndex(threshold)
        for key, signature in pairs:
            self._index.add(key, signature)
        self._keys = [key for key, _ in pairs]
        self._ids = frozenset(self._keys)
        every = [signature.runs for _, signature in pairs]
        sizes = [len(runs) for runs in every]
        joined = np.concatenate(every) if every else np.array([], dtype=np.uint64)
        # Each run once, and beside it, from `_starts` on, the rows of the evaluation that have it.
        order = np.argsort(joined, kind="stable")
        self._owners = np.repeat(np.arange(len(pairs)), sizes)[order]
        self._runs, starts = np.unique(joined[order], return_index=True)
        self._starts = np.append(starts, len(joined))
        # Rows of both sets that have the run.
        self._rows: _Counts = np.diff(self._starts).astype(np.int64)

    def __len__(self) -> int:
        return len(self._keys)

    def count(self, signature: Signature) -> None:
        """Count which of the evaluation's runs of words a training row has."""
        self._rows[self._locate(signature.runs)] += 1
        self.__dict__.pop("_distinct", None)

    def find(self, key: str, signature: Signature) -> Match | None:
        """Return the pull request of the evaluation that a training row with this id gives away."""
        if key in self._ids:
            return Match(key, MatchKind.SAME_ID)
        return self._index.find(signature) or self._find_runs(signature.runs)

    def _find_runs(self, runs: Hashes) -> Match | None:
        places = self._locate(runs)
        places = places[self._rows[places] <= COMMON_ROWS]
        if not len(places):
            return None
        owners = [self._owners[self._starts[place] : self._starts[place + 1]] for place in places]
        shared = np.bincount(np.concatenate(owners), minlength=len(self._keys))
        shares = shared / np.maximum(self._distinct, 1)
        best = int(np.argmax(shares))
        if shares[best] < SHARE:
            return None
        return Match(self._keys[best], MatchKind.WORD_RUNS, float(shares[best]))

    @cached_property
    def _distinct(self) -> _Counts:
        """How many runs each row of the evaluation has that are no boilerplate."""
        told = np.repeat(self._rows <= COMMON_ROWS, np.diff(self._starts))
        counts: _Counts = np.bincount(self._owners[told], minlength=len(self._keys))
        return counts

    def _locate(self, runs: Hashes) -> npt.NDArray[np.intp]:
        """Return the places of those of a row's runs that the evaluation has."""
        if not len(self._runs):
            return np.array([], dtype=np.intp)
        places = np.searchsorted(self._runs, runs)
        places[places == len(self._runs)] = 0
        found: npt.NDArray[np.intp] = places[self._runs[places] == runs]
        return found
