"""What a pull request is recognised by: digests of its patch, and hashes of its runs of words."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import rensa

from tunebench_jobs.rows import ChangedFile, PullRequest

Hashes = npt.NDArray[np.uint64]

# As in GPT-3 (appendix C) and lm-evaluation-harness.
RUN_WORDS = 13
# Fewer are the same in unrelated files by chance, such as `import os`: then names tell them apart.
NAMED_WORDS = 8
# As in the near-duplicate search of The Stack.
SHINGLE_WORDS = 5
MINHASH_SLOTS = 128
# Signatures are compared within one run only, so no seed of a user's reaches them.
_SEED = 42
# Beyond this many shingles a similarity is estimated, with a standard error of 1.3 points at 0.8.
SAMPLE_SHINGLES = 1024
_WORD = re.compile(r"\w+")
_FACTOR = np.uint64(0x9E3779B97F4A7C15)
_MIX = np.uint64(0xFF51AFD7ED558CCD)
_SHIFT = np.uint64(33)
_REMOVED = np.uint64(0x5851F42D4C957F2D)


@dataclass(frozen=True, eq=False)
class Signature:
    """A pull request's changes, as far as they are compared with those of others."""

    patch: bytes
    normalised: bytes
    # Hashes of its runs of 13 words, sorted.
    runs: Hashes
    # The smallest `SAMPLE_SHINGLES` hashes of its shingles, sorted.
    shingles: Hashes
    # Of all shingles; None: too few words to say how similar it is to another.
    minhash: Any = None


def build_signature(pr: PullRequest) -> Signature:
    """Build what a pull request is recognised by; the same in every process."""
    changes = [_list_changes(file) for file in sorted(pr.files, key=lambda file: file.path)]
    added = _hash_words(line[1:] for lines in changes for line in lines if line[0] == "+")
    removed = _hash_words(line[1:] for lines in changes for line in lines if line[0] == "-")
    words = len(added) + len(removed)
    patch, normalised = _digest_patch(pr, changes, with_names=words < NAMED_WORDS)
    if words < RUN_WORDS:
        nothing = added[:0]
        return Signature(patch, normalised, nothing, nothing)
    runs = _sort_distinct(*(_hash_runs(each, RUN_WORDS) for each in (added, removed)))
    shingles = _sort_distinct(
        _hash_runs(added, SHINGLE_WORDS), _hash_runs(removed, SHINGLE_WORDS) ^ _REMOVED
    )
    # A copy, so that the rest can be freed.
    sample = shingles[:SAMPLE_SHINGLES].copy()
    return Signature(patch, normalised, runs, sample, _build_minhash(shingles))


def estimate_jaccard(left: Hashes, right: Hashes) -> float:
    """Return the Jaccard index of two samples of shingles; exact where both are whole.

    Of larger sets, the smallest hashes of their union are a random sample of it.
    """
    both = np.sort(np.concatenate([left, right]))
    shared = both[1:][both[1:] == both[:-1]]
    union = len(both) - len(shared)
    if max(len(left), len(right)) >= SAMPLE_SHINGLES:
        union = SAMPLE_SHINGLES
        shared = shared[shared <= _sort_distinct(both)[union - 1]]
    return len(shared) / union if union else 0.0


def _list_changes(file: ChangedFile) -> list[str]:
    return [line for line in file.patch.split("\n") if line.startswith(("+", "-"))]


def _digest_patch(
    pr: PullRequest, changes: Iterable[Sequence[str]], *, with_names: bool
) -> tuple[bytes, bytes]:
    """Return digests of the patch with the paths of its files, and without them.

    `with_names` keeps the last part of each path in the second one.
    """
    texts = [_compact(lines) for lines in changes]
    if not any(texts):
        # As in a renaming: there is nothing to recognise but the id.
        return (_digest(["id", pr.id]),) * 2
    files = sorted(pr.files, key=lambda file: file.path)
    named = [
        f"{file.status} {file.previous_path or ''} {file.path}\n{text}"
        for file, text in zip(files, texts, strict=True)
    ]
    plain = [
        f"{file.path.rpartition('/')[2]}\n{text}" if with_names else text
        for file, text in zip(files, texts, strict=True)
        if text
    ]
    return _digest(named), _digest(sorted(plain))


def _compact(lines: Iterable[str]) -> str:
    """Return changed lines without white space, and without those that hold nothing else."""
    compact = ("".join(line.split()) for line in lines)
    return "\n".join(line for line in compact if len(line) > 1)


def _digest(texts: Iterable[str]) -> bytes:
    return hashlib.sha256("\0".join(texts).encode()).digest()[:16]


def _hash_words(lines: Iterable[str]) -> Hashes:
    """Return a hash of each word, without regard to case, in order."""
    words = _WORD.findall("\n".join(lines).lower())
    # Not Python's hash, which differs from process to process.
    return np.array(rensa.RMinHash.hash_token_sets([words])[0], dtype=np.uint64)


def _hash_runs(words: Hashes, width: int) -> Hashes:
    """Return a hash of each run of `width` words."""
    count = max(len(words) - width + 1, 0)
    runs = words[:count].copy()
    for place in range(1, width if count else 0):
        runs *= _FACTOR
        runs += words[place : place + count]
    # Spreads what the multiplication leaves in the upper bits.
    runs ^= runs >> _SHIFT
    runs *= _MIX
    runs ^= runs >> _SHIFT
    return runs


def _sort_distinct(*parts: Hashes) -> Hashes:
    """Return the hashes of all parts, sorted and each once: a quarter of `np.unique`'s time."""
    hashes = np.sort(np.concatenate(parts))
    is_first = np.ones(len(hashes), dtype=np.bool_)
    np.not_equal(hashes[1:], hashes[:-1], out=is_first[1:])
    return hashes[is_first]


def _build_minhash(shingles: Hashes) -> Any:
    raw = shingles.tobytes()
    minhash = rensa.RMinHash(MINHASH_SLOTS, _SEED)
    minhash.update([raw[place : place + 8] for place in range(0, len(raw), 8)])
    return minhash
