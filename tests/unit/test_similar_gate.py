"""No training row gives away what the evaluation asks."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from make_changes import make_lines, make_patch, make_signature

from tunebench_api.contamination import Contamination
from tunebench_jobs.data.drops import RowDrop
from tunebench_jobs.data.similar import EvalGate, MatchKind, Signature, keep_apart
from tunebench_jobs.data.similar.gate import COMMON_ROWS, SHARE
from tunebench_jobs.errors import InputError

ASKED = make_lines(20)
LICENSE = make_lines(12, seed=99)


@dataclass(frozen=True)
class Key:
    """A row, as far as it is held in memory."""

    id: str
    origin: str
    signature: Signature


def make_key(name: str, *patches: str) -> Key:
    """Return the key of a row of a file."""
    return Key(f"acme/{name}", f"{name}.jsonl:1", make_signature(*patches))


def make_gate(*patches: str) -> EvalGate:
    """Return a gate for an evaluation set with a pull request for each patch."""
    return EvalGate(0.8, ((f"eval-{n}", make_signature(each)) for n, each in enumerate(patches)))


@pytest.mark.parametrize(
    ("key", "signature", "kind"),
    [
        pytest.param("eval-0", make_signature(make_patch(["a"])), MatchKind.SAME_ID, id="id"),
        pytest.param("t", make_signature(make_patch(ASKED)), MatchKind.SAME_PATCH, id="patch"),
        pytest.param(
            "t",
            make_signature(make_patch(ASKED, context="other"), paths=["moved.py"]),
            MatchKind.NORMALISED_PATCH,
            id="moved",
        ),
        pytest.param(
            "t", make_signature(make_patch(ASKED[1:])), MatchKind.NEAR_DUPLICATE, id="nearly all"
        ),
        pytest.param(
            "t",
            make_signature(make_patch(make_lines(300, seed=5)), make_patch(ASKED)),
            MatchKind.WORD_RUNS,
            id="inside of a larger one",
        ),
        pytest.param(
            "t", make_signature(make_patch([], ASKED[:9])), MatchKind.WORD_RUNS, id="gone"
        ),
        pytest.param("t", make_signature(make_patch(ASKED[:3])), None, id="a few of its lines"),
        pytest.param("t", make_signature(make_patch(make_lines(20, 7))), None, id="another"),
        pytest.param("t", make_signature(""), None, id="nothing"),
    ],
)
def test_what_gives_the_evaluation_away_is_found(
    key: str, signature: Signature, kind: MatchKind | None
) -> None:
    """Each kind of leak is named by the strictest comparison that shows it."""
    gate = make_gate(make_patch(ASKED), make_patch(make_lines(20, 1)))
    gate.count(signature)
    match = gate.find(key, signature)

    assert (match.kind if match else None) is kind
    assert match is None or match.key == "eval-0"
    assert kind is not MatchKind.WORD_RUNS or (match and SHARE <= match.similarity <= 1)


def test_boilerplate_is_no_leak() -> None:
    """What stands in more than ten rows, such as the header of a licence, gives nothing away."""
    gate = make_gate(make_patch([*LICENSE, *ASKED[:6]]))
    others = [make_signature(make_patch([*LICENSE, *make_lines(40, 100 + n)])) for n in range(30)]
    few = [bool(gate.find("t", others[0]))]
    for seen in others[:COMMON_ROWS]:
        gate.count(seen)
    few.append(bool(gate.find("t", others[0])))
    leak = make_signature(make_patch([*ASKED[:6], *make_lines(40, 50)]))
    gate.count(leak)
    match = gate.find("t", leak)

    assert few == [True, False]
    assert match is not None
    # Were the header counted, it would be a quarter.
    assert match.similarity > 0.6


def test_an_empty_evaluation_lets_all_through() -> None:
    """Nothing to ask gives nothing away."""
    gate = make_gate()
    signature = make_signature(make_patch(ASKED))
    gate.count(signature)

    assert gate.find("t", signature) is None
    assert len(gate) == 0


def test_rows_like_the_evaluation_are_not_trained_on() -> None:
    """The others stay in their order; each one that goes says why, and all are counted."""
    held = [make_key("held", make_patch(ASKED))]
    train = [
        make_key("first", make_patch(make_lines(20, 3))),
        make_key("copy", make_patch(ASKED)),
        make_key("near", make_patch(ASKED[1:])),
        make_key("last", make_patch(make_lines(20, 4))),
    ]
    apart = keep_apart(train, held, lambda key: key.signature, threshold=0.8, refuses=False)
    copy, near = apart.dropped

    assert [key.id for key in apart.kept] == ["acme/first", "acme/last"]
    assert copy[1].reason is RowDrop.DUPLICATE_OF_EVAL
    assert copy[1].detail == "of held.jsonl:1 (SamePatch)"
    assert near[1].reason is RowDrop.SIMILAR_TO_EVAL
    assert near[1].detail.startswith("of held.jsonl:1 (NearDuplicate, 0.9")
    assert apart.contamination == Contamination(
        checked=tuple(MatchKind), removed={"SamePatch": 1, "NearDuplicate": 1}, train=4, eval=1
    )


def test_the_same_pull_request_in_two_given_sets_is_refused() -> None:
    """Only whoever made the sets can say where it belongs; what is merely alike is left out."""
    held = [make_key("held", make_patch(ASKED))]
    near, same = make_key("near", make_patch(ASKED[1:])), make_key("same", make_patch(ASKED))
    apart = keep_apart([near], held, lambda key: key.signature, threshold=0.8, refuses=True)

    assert [finding.reason for _, finding in apart.dropped] == [RowDrop.SIMILAR_TO_EVAL]
    with pytest.raises(InputError, match=r"got 1 .*: same\.jsonl:1 and held\.jsonl:1;") as caught:
        keep_apart([near, same], held, lambda key: key.signature, threshold=0.8, refuses=True)
    assert caught.value.reason == "Contaminated"


@pytest.mark.parametrize(
    ("removed", "words"),
    [
        pytest.param({}, "; none had to be left out", id="clean"),
        pytest.param(
            {"WordRuns": 1_000, "SamePatch": 2},
            "; 1,002 were left out of training (SamePatch: 2, WordRuns: 1000)",
            id="leaks",
        ),
    ],
)
def test_what_was_checked_is_said_in_words(removed: dict[str, int], words: str) -> None:
    """A user reads how many rows were compared, by what, and how many went."""
    checked = Contamination(
        checked=("SameId", "NearDuplicate", "NewKind"), removed=removed, train=25_000, eval=100
    )

    assert checked.describe() == (
        "25,000 training pull requests were compared with 100 of the evaluation by id, "
        f"near-duplicates and NewKind{words}"
    )
