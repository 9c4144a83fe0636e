"""Changes in lines of code, and the signatures of pull requests that consist of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from random import Random

from make_pulls import make_pull

from tunebench_jobs.data.similar import Signature, build_signature

HEADER = "@@ -1,3 +1,3 @@"
_WORDS = [
    "shop",
    "stock",
    "aisle",
    "count",
    "price",
    "order",
    "basket",
    "total",
    "tax",
    "rate",
    "sum",
    "item",
]


def make_lines(count: int, seed: int = 0, width: int = 6) -> list[str]:
    """Return so many lines of code, all different."""
    random = Random(seed)  # noqa: S311 - no secret
    return [
        f"{random.choice(_WORDS)}_{seed}_{number} = {' + '.join(random.choices(_WORDS, k=width))}"
        for number in range(count)
    ]


def make_patch(
    added: Iterable[str], removed: Iterable[str] = (), *, header: str = HEADER, context: str = "x"
) -> str:
    """Return a hunk that removes and adds lines."""
    changed = [*(f"-{line}" for line in removed), *(f"+{line}" for line in added)]
    return "\n".join([header, f" {context}", *changed])


def make_signature(*patches: str, paths: Sequence[str] = (), number: int = 1) -> Signature:
    """Return the signature of a pull request with these patches."""
    names = paths or [f"src/file{place}.py" for place in range(len(patches))]
    files = [{"path": name, "patch": patch} for name, patch in zip(names, patches, strict=True)]
    return build_signature(make_pull(number, files=files))
