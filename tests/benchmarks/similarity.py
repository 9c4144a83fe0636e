"""How fast copies are found, and how much memory that takes, beside the same with datasketch.

    PYTHONPATH=operator:jobs:tests/support python tests/benchmarks/similarity.py --rows 5000

Both sides look for near-duplicates of the same rows in one process and one thread: signature,
look-up and insertion of each, one after the other. Ours also digests patches and hashes runs of 13
words.
`--times N` repeats the rows with other identifiers, for ours alone, to see how memory grows.
"""

from __future__ import annotations

import argparse
import re
import resource
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from datasketch import MinHash, MinHashLSH
from make_corpus import make_pulls

from tunebench_jobs.data.similar import DuplicateIndex, build_signature
from tunebench_jobs.data.similar.signature import MINHASH_SLOTS, SHINGLE_WORDS
from tunebench_jobs.rows import PullRequest

_THRESHOLD = 0.8
_WORD = re.compile(r"\w+")


def find_with_ours(pulls: Iterable[PullRequest]) -> int:
    """Count the copies."""
    index = DuplicateIndex(_THRESHOLD)
    copies = 0
    for pr in pulls:
        signature = build_signature(pr)
        copies += index.find(signature) is not None
        index.add(pr.id, signature)
    return copies


def find_with_datasketch(pulls: Iterable[PullRequest]) -> int:
    """Count the copies, as its documentation shows it."""
    lsh = MinHashLSH(threshold=_THRESHOLD, num_perm=MINHASH_SLOTS)
    copies = 0
    for pr in pulls:
        minhash = MinHash(num_perm=MINHASH_SLOTS)
        minhash.update_batch([" ".join(each).encode() for each in list_shingles(pr)])
        copies += bool(lsh.query(minhash))
        lsh.insert(pr.id, minhash)
    return copies


def list_shingles(pr: PullRequest) -> set[tuple[str, ...]]:
    """Return the runs of five words of the changed lines."""
    lines = (line for file in pr.files for line in file.patch.split("\n"))
    words = _WORD.findall("\n".join(line[1:] for line in lines if line[:1] in {"+", "-"}).lower())
    width = SHINGLE_WORDS
    return {tuple(words[place : place + width]) for place in range(len(words) - width + 1)}


def measure(
    name: str, find: Callable[[Iterable[PullRequest]], int], pulls: list[PullRequest]
) -> float:
    """Print and return the pull requests in a second of processor time."""
    begin = time.process_time()
    copies = find(pulls)
    rate = len(pulls) / (time.process_time() - begin)
    print(f"{name:12} {rate:8,.0f} PRs/s of a core, {copies} copies among {len(pulls):,}")
    return rate


def vary(pulls: list[PullRequest], times: int) -> Iterator[PullRequest]:
    """Yield the rows again and again, each time with other identifiers."""
    for turn in range(times):
        for pr in pulls:
            files = tuple(
                file.model_copy(update={"patch": _WORD.sub(rf"\g<0>{turn}", file.patch)})
                for file in pr.files
            )
            yield pr.model_copy(update={"id": f"{pr.id}/{turn}", "files": files})


def read_memory() -> float:
    """Return the MiB that this process holds now."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * resource.getpagesize() / 2**20


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=5000)
    parser.add_argument("--times", type=int, default=0)
    options = parser.parse_args()
    pulls = list(make_pulls(options.rows, seed=1))
    ours = measure("ours", find_with_ours, pulls)
    peer = measure("datasketch", find_with_datasketch, pulls)
    print(f"ratio        {ours / peer:8.1f}")
    if options.times:
        before, begin = read_memory(), time.process_time()
        index = DuplicateIndex(_THRESHOLD)
        for pr in vary(pulls, options.times):
            signature = build_signature(pr)
            if index.find(signature) is None:
                index.add(pr.id, signature)
        seconds = time.process_time() - begin
        print(
            f"index of {len(index):,}: {read_memory() - before:,.0f} MiB more, "
            f"{seconds:.0f} s with the making of the rows"
        )


if __name__ == "__main__":
    main()
