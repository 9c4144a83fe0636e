"""An index of pull requests that finds the same change again, and what is nearly the same."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import rensa

from tunebench_api.contamination import MatchKind
from tunebench_jobs.data.similar.match import Match
from tunebench_jobs.data.similar.signature import (
    MINHASH_SLOTS,
    Hashes,
    Signature,
    estimate_jaccard,
)

# How sure a pair of just the threshold's similarity must be to meet in a band.
_RECALL = 0.99
_BANDS = (8, 16, 32, 64, 128)
# Rows made from a template all meet in the bands, and must not cost more with each of them: of so
# many, the newest, slots are counted, and so many, the likeliest, are compared.
_MOST_COUNTED = 4096
MOST_COMPARED = 32


class DuplicateIndex:
    """Pull requests by their signatures; memory grows by 12 KiB at most for each of them."""

    def __init__(self, threshold: float) -> None:
        """Prepare for pairs of at least this Jaccard index of their shingles."""
        self._threshold = threshold
        self._lsh = rensa.RMinHashLSH(threshold, MINHASH_SLOTS, choose_bands(threshold))
        self._keys: list[str] = []
        self._shingles: list[Hashes] = []
        # A row for each pull request; one of zeros where there are too few words.
        self._digests = np.zeros((256, MINHASH_SLOTS), dtype=np.uint32)
        self._patches: dict[bytes, int] = {}
        self._normalised: dict[bytes, int] = {}

    def __len__(self) -> int:
        return len(self._keys)

    def add(self, key: str, signature: Signature) -> None:
        """Take in a pull request; of several with one patch, the first is found."""
        place = len(self._keys)
        self._keys.append(key)
        self._shingles.append(signature.shingles)
        self._patches.setdefault(signature.patch, place)
        self._normalised.setdefault(signature.normalised, place)
        if signature.minhash is not None:
            self._lsh.insert(place, signature.minhash)
            self._keep_digest(place, signature.minhash)

    def find(self, signature: Signature) -> Match | None:
        """Return the pull request that this one repeats: the same patch first, then the nearest."""
        place = self._patches.get(signature.patch)
        if place is not None:
            return Match(self._keys[place], MatchKind.SAME_PATCH)
        place = self._normalised.get(signature.normalised)
        if place is not None:
            return Match(self._keys[place], MatchKind.NORMALISED_PATCH)
        return self._find_near(signature)

    def _find_near(self, signature: Signature) -> Match | None:
        if signature.minhash is None:
            return None
        best, similarity = -1, 0.0
        for place in self._list_likeliest(signature.minhash):
            found = estimate_jaccard(signature.shingles, self._shingles[place])
            if (found, -place) > (similarity, -best):
                best, similarity = place, found
        if best < 0 or similarity < self._threshold:
            return None
        return Match(self._keys[best], MatchKind.NEAR_DUPLICATE, similarity)

    def _list_likeliest(self, minhash: Any) -> npt.NDArray[np.intp]:
        """Return the places that share a band, those with most slots in common first."""
        places = np.unique(np.array(self._lsh.query(minhash), dtype=np.intp))[-_MOST_COUNTED:]
        if len(places) <= MOST_COMPARED:
            return places
        digest = np.array(minhash.digest(), dtype=np.uint32)
        shared = (self._digests[places] == digest).sum(axis=1)
        return places[np.argsort(-shared, kind="stable")[:MOST_COMPARED]]

    def _keep_digest(self, place: int, minhash: Any) -> None:
        if place >= len(self._digests):
            grown = np.zeros((max(2 * len(self._digests), place + 1), MINHASH_SLOTS), np.uint32)
            grown[: len(self._digests)] = self._digests
            self._digests = grown
        self._digests[place] = minhash.digest()


def choose_bands(threshold: float) -> int:
    """Return the fewest bands in which a pair of the threshold's similarity meets all but surely.

    A pair of similarity s meets in one of b bands of r slots with probability 1 - (1 - s^r)^b.
    """
    for bands in _BANDS:
        if 1 - (1 - threshold ** (MINHASH_SLOTS // bands)) ** bands >= _RECALL:
            return bands
    return _BANDS[-1]
