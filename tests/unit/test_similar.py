"""The same change is known again, whatever its dress; another one is not."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from make_changes import make_lines, make_patch
from make_changes import make_signature as sign

from tunebench_jobs.data.similar import DuplicateIndex, MatchKind, Signature
from tunebench_jobs.data.similar.duplicates import MOST_COMPARED, choose_bands
from tunebench_jobs.data.similar.signature import (
    MINHASH_SLOTS,
    RUN_WORDS,
    SAMPLE_SHINGLES,
    estimate_jaccard,
)

LONG = make_lines(8)
SHORT = ["a = 1"]


@pytest.mark.parametrize(
    ("left", "right", "kind"),
    [
        pytest.param(
            sign(make_patch(SHORT, ["a = 0"])),
            sign(make_patch(["  a  =1\r"], ["a=0"], header="@@ -9 +8 @@ def f():", context="y")),
            MatchKind.SAME_PATCH,
            id="other context, place and spaces",
        ),
        pytest.param(
            sign(make_patch(LONG)),
            sign(make_patch([LONG[0], "", "  ", *LONG[1:]])),
            MatchKind.SAME_PATCH,
            id="blank lines",
        ),
        pytest.param(
            sign(make_patch(LONG)),
            sign(make_patch(LONG), paths=["lib/other.py"]),
            MatchKind.NORMALISED_PATCH,
            id="another name",
        ),
        pytest.param(
            sign(make_patch(LONG), make_patch(LONG[:3]), paths=["a.py", "b.py"]),
            sign(make_patch(LONG), make_patch(LONG[:3]), paths=["z.py", "b.py"]),
            MatchKind.NORMALISED_PATCH,
            id="another name in another order",
        ),
        pytest.param(
            sign(make_patch(SHORT), paths=["old/a.py"]),
            sign(make_patch(SHORT), paths=["new/a.py"]),
            MatchKind.NORMALISED_PATCH,
            id="few words in a file of the same name",
        ),
        pytest.param(
            sign(make_patch(SHORT)),
            sign(make_patch(SHORT), paths=["other.py"]),
            None,
            id="few words in another file",
        ),
        pytest.param(
            sign(make_patch(["one two three four five six seven eight"])),
            sign(make_patch(["one two three four five six seven eight"]), paths=["other.py"]),
            MatchKind.NORMALISED_PATCH,
            id="eight words in another file",
        ),
        pytest.param(
            sign(make_patch(SHORT)),
            sign(make_patch(["a = 2"])),
            None,
            id="another change",
        ),
        pytest.param(
            sign(make_patch(LONG)),
            sign(make_patch([], LONG)),
            None,
            id="taken back",
        ),
        pytest.param(
            sign(make_patch(LONG)),
            sign(make_patch([LONG[0].upper(), *LONG[1:]])),
            MatchKind.NEAR_DUPLICATE,
            id="another case",
        ),
        pytest.param(sign(""), sign("", number=2), None, id="nothing changed"),
        pytest.param(
            sign(""),
            sign(""),
            MatchKind.SAME_PATCH,
            id="nothing changed and one id",
        ),
        pytest.param(sign("+\n-"), sign("+\n-", number=2), None, id="blank lines alone"),
        pytest.param(
            sign(make_patch(LONG)),
            sign(make_patch(make_lines(8, 1))),
            None,
            id="nothing in common",
        ),
    ],
)
def test_the_same_change_is_known_again(
    left: Signature, right: Signature, kind: MatchKind | None
) -> None:
    """A back-port, a fork's copy or a moved file is the same change; a revert is not."""
    index = DuplicateIndex(0.8)
    index.add("left", left)
    match = index.find(right)

    assert (match.kind if match else None) is kind
    assert match is None or match.key == "left"


def test_the_first_of_several_is_named() -> None:
    """Of equal pull requests the one that came first is kept, so the others point to it."""
    index = DuplicateIndex(0.8)
    for key in ("first", "second"):
        index.add(key, sign(make_patch(LONG)))
    exact, near = (
        index.find(sign(make_patch(lines))) for lines in (LONG, [*LONG, "one = more + line"])
    )

    assert exact is not None
    assert near is not None
    assert (exact.key, exact.similarity, near.key) == ("first", 1.0, "first")
    assert exact.detail == "of first (SamePatch)"
    assert near.detail == f"of first (NearDuplicate, {near.similarity:.2f})"


def test_the_nearest_of_several_is_named() -> None:
    """The detail of a dropped row leads to what it resembles most."""
    index = DuplicateIndex(0.3)
    for key, count in (("far", 20), ("near", 29), ("farther", 15)):
        index.add(key, sign(make_patch(make_lines(30)[:count])))
    match = index.find(sign(make_patch(make_lines(30))))

    assert match is not None
    assert (match.key, match.is_exact) == ("near", False)


def test_copies_are_found_among_many_of_one_template() -> None:
    """Where hundreds are fairly alike, the few that are compared are the right ones."""
    template = make_lines(20)
    signatures = [sign(make_patch([*template, *make_lines(3, 100 + n)])) for n in range(300)]
    index = DuplicateIndex(0.8)
    for number, signature in enumerate(signatures):
        index.add(str(number), signature)
    copies = [
        index.find(sign(make_patch([*template, *make_lines(3, 100 + n), "one = more + line"])))
        for n in range(0, 300, 10)
    ]

    assert estimate_jaccard(signatures[0].shingles, signatures[1].shingles) > 0.7
    assert len(signatures) > 5 * MOST_COMPARED
    assert [match.key if match else None for match in copies] == [str(n) for n in range(0, 300, 10)]


@pytest.mark.parametrize("threshold", [0.5, 0.7, 0.8, 0.9])
def test_the_threshold_is_kept(threshold: float) -> None:
    """Of 30 grades of likeness, all from the threshold on are found and none below it."""
    whole = make_lines(60)
    index = DuplicateIndex(threshold)
    index.add("whole", sign(make_patch(whole)))
    wrong = []
    for kept in range(30, 60):
        signature = sign(make_patch(whole[:kept]))
        similarity = estimate_jaccard(signature.shingles, sign(make_patch(whole)).shingles)
        if (index.find(signature) is not None) != (similarity >= threshold):
            wrong.append((kept, similarity))

    assert not wrong


def test_few_words_are_compared_as_a_whole() -> None:
    """Below 13 words likeness is chance, so nothing but the same patch matches."""
    signature = sign(make_patch(["a b c d e f g h i j k l"]))
    index = DuplicateIndex(0.1)
    index.add("short", signature)

    assert signature.minhash is None
    assert not len(signature.runs)
    assert index.find(sign(make_patch(["a b c d e f g h i j k z"]))) is None
    assert len(sign(make_patch([" ".join("abcdefghijklm")])).runs) == 1
    assert RUN_WORDS == 13


@given(st.sets(st.integers(0, 400), max_size=300), st.sets(st.integers(0, 400), max_size=300))
def test_likeness_of_small_sets_is_exact(left: set[int], right: set[int]) -> None:
    """What is held whole is compared as sets are."""
    arrays = [np.array(sorted(each), dtype=np.uint64) for each in (left, right)]
    union = left | right

    assert estimate_jaccard(arrays[0], arrays[1]) == (
        len(left & right) / len(union) if union else 0.0
    )


@pytest.mark.parametrize("shared", [0.3, 0.6, 0.8, 0.95])
def test_likeness_of_large_sets_is_close(shared: float) -> None:
    """A sample of 1,024 hashes says it within five points, three times its standard error."""
    hashes = np.random.default_rng(1).integers(0, 2**63, 20_000, dtype=np.uint64)
    own = int(len(hashes) * (1 - shared) / 2)
    left, right = np.sort(hashes[own:]), np.sort(hashes[: len(hashes) - own])
    found = estimate_jaccard(left[:SAMPLE_SHINGLES], right[:SAMPLE_SHINGLES])

    assert found == pytest.approx(shared, abs=0.05)


@given(st.floats(0.05, 1))
def test_pairs_of_the_threshold_meet(threshold: float) -> None:
    """The bands let no more than one pair of a hundred slip through at the threshold itself."""
    bands = choose_bands(threshold)

    assert MINHASH_SLOTS % bands == 0
    assert (1 - threshold ** (MINHASH_SLOTS / bands)) ** bands <= 0.01


@given(st.text(max_size=400))
def test_any_text_has_a_signature(text: str) -> None:
    """Whatever stands in a patch, it is the same as itself, and survives the disk."""
    signature = sign(text)
    index = DuplicateIndex(0.8)
    index.add("itself", pickle.loads(pickle.dumps(signature)))  # noqa: S301 - our own
    match = index.find(sign(text))

    assert match is not None
    assert match.kind is MatchKind.SAME_PATCH
