"""Deleting what a run has made, and nothing else."""

from __future__ import annotations

import fcntl
from pathlib import Path

import pytest

from tunebench_api.contract import CleanupConfig, ResultState, Runtime, StageDocument, StageResult
from tunebench_jobs.cleanup import run_cleanup
from tunebench_jobs.context import StageContext
from tunebench_jobs.errors import InputError
from tunebench_jobs.stage import RESULT_FILE, run_stage

pytestmark = pytest.mark.jobs

SINCE = "2026-01-02T00:00:00Z"
NAMES = ("0" * 16, "1" * 16, "2" * 16)


def make_store(folder: Path, *finished_at: str) -> tuple[str, ...]:
    """Make a store with one output per time; return the outputs."""
    outputs = tuple(f"data/{name}" for name, _ in zip(NAMES, finished_at, strict=False))
    for output, moment in zip(outputs, finished_at, strict=True):
        (folder / output).mkdir(parents=True)
        (folder / output / "train.parquet").write_text("rows")
        result = StageResult(state=ResultState.SUCCEEDED, reason="Succeeded", finished_at=moment)
        (folder / output / RESULT_FILE).write_text(result.model_dump_json(by_alias=True))
    (folder / "verdicts" / "judge").mkdir(parents=True)
    return outputs


def make_context(store: Path) -> StageContext:
    """Return the context of the stage."""
    runtime = Runtime(
        store=str(store), output="cleanup/x", report=str(store.parent / "report.json")
    )
    return StageContext(runtime)


def test_own_artefacts_go_and_older_ones_stay(tmp_path: Path) -> None:
    """What was there before the run is not its own; the ledger of verdicts is nobody's."""
    store = tmp_path / "store"
    older, own = make_store(store, "2026-01-01T23:59:59Z", "2026-01-02T00:00:01Z")
    config = CleanupConfig(outputs=(older, own, "train/" + NAMES[2]), since=SINCE)
    outcome = run_cleanup(config, make_context(store))

    assert (store / older / "train.parquet").exists()
    assert not (store / own).exists()
    assert (store / "verdicts" / "judge").exists()
    assert outcome.summary == {"deleted": 1, "kept": 1}


def test_what_somebody_works_on_stays(tmp_path: Path) -> None:
    """A stage that holds the folder keeps it."""
    store = tmp_path / "store"
    (own,) = make_store(store, "2026-01-03T00:00:00Z")
    with (store / own / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        outcome = run_cleanup(CleanupConfig(outputs=(own,), since=SINCE), make_context(store))

    assert (store / own / RESULT_FILE).exists()
    assert outcome.summary == {"deleted": 0, "kept": 1}


@pytest.mark.parametrize("output", ["verdicts/judge", "data/../verdicts", "/data", "data/x"])
def test_nothing_but_results_can_be_named(tmp_path: Path, output: str) -> None:
    """No document makes the stage delete anything else."""
    with pytest.raises(InputError, match="folders of results"):
        run_cleanup(CleanupConfig(outputs=(output,), since=SINCE), make_context(tmp_path))


def test_it_runs_as_a_stage(tmp_path: Path) -> None:
    """The command that pods run knows it, and reports what went."""
    store = tmp_path / "store"
    (own,) = make_store(store, "2026-01-03T00:00:00Z")
    runtime = make_context(store).runtime
    code = run_stage(
        StageDocument(config=CleanupConfig(outputs=(own,), since=SINCE), runtime=runtime)
    )

    assert code == 0
    assert not (store / own).exists()
    assert "1 artefacts deleted" in (tmp_path / "report.json").read_text()
