"""Canaries tell one model from another, and one template from another."""

from __future__ import annotations

from pathlib import Path

import pytest

from tunebench_api.v1alpha1 import Precision
from tunebench_jobs.canaries import (
    SERVED,
    Canary,
    CanaryFile,
    check_losses,
    choose_canaries,
    find_coarser,
    find_gap,
    load_canaries,
    save_canaries,
)
from tunebench_jobs.errors import InputError

HALF, WHOLE = Precision.BFLOAT16, Precision.FLOAT32
CANARY = Canary(system="", user="diff", answer="title: fix", tokens_digest="0", losses=(0.5, 1.25))


def test_canaries_spread_over_the_shorter_quarter() -> None:
    """Long examples would cost without telling more."""
    lengths = [50, 10, 40, 30, 20, 70, 60, 110, 90, 80, 130, 100, 120]

    assert [lengths[index] for index in choose_canaries(lengths)] == [10, 20, 40]
    assert [lengths[index] for index in choose_canaries(lengths[:6])] == [10, 20]
    assert choose_canaries([5]) == (0,)
    assert choose_canaries([5, 6]) == (0,)


@pytest.mark.parametrize(
    ("found", "precision"),
    [
        ([(0.5, 1.26)], WHOLE),
        ([(0.5, 1.6)], HALF),
        ([(0.5, float("nan"))], HALF),
        ([(0.5,)], HALF),
        ([], HALF),
    ],
)
def test_another_model_is_told(found: list[tuple[float, ...]], precision: Precision) -> None:
    """By how much, over how many examples, and what to do."""
    with pytest.raises(InputError, match=r"nats in the mean over 1 training examples") as caught:
        check_losses([(0.5, 1.25)], found, precision, SERVED)

    assert caught.value.reason == "ServedModelDiffers"


def test_rounding_is_no_other_model() -> None:
    """Each format has its own."""
    check_losses([(0.5, 1.25)], [(0.5001, 1.2499)], WHOLE, SERVED)
    check_losses([(0.5, 1.25)], [(0.52, 1.20)], HALF, SERVED)

    assert find_gap([(0.5, 1.0)], [(0.25, 1.25)]) == 0.25
    assert (find_coarser(WHOLE, HALF), find_coarser(WHOLE, WHOLE)) == (HALF, WHOLE)


def test_file_comes_back_as_it_was_saved(tmp_path: Path) -> None:
    """An earlier version has left none."""
    canaries = CanaryFile(template_digest="1", precision=WHOLE, canaries=(CANARY,))
    save_canaries(tmp_path / "canaries.json", canaries)

    assert load_canaries(tmp_path / "canaries.json") == canaries
    assert load_canaries(tmp_path / "absent.json") is None


@pytest.mark.parametrize("content", ["", "{}", '{"version": 2}', "[1"])
def test_broken_file_is_named(tmp_path: Path, content: str) -> None:
    """It is never taken for an absent one."""
    path = tmp_path / "canaries.json"
    path.write_text(content)

    with pytest.raises(InputError, match=r"canaries\.json is broken") as caught:
        load_canaries(path)

    assert caught.value.reason == "CheckpointBroken"
