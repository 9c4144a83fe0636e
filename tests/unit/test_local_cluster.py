"""The local backend's folders: attempts, results, and the run's lock."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path

import pytest
from make_run import make_run

from tunebench_api.contract import Progress, Report, ResultState, StageKind, StageResult
from tunebench_operator import reasons
from tunebench_operator.errors import RunLockedError, UserError
from tunebench_operator.graph import build_graph
from tunebench_operator.local.cluster import LocalCluster
from tunebench_operator.local.place import StorePlace
from tunebench_operator.observed import Observed
from tunebench_operator.plan import plan

FAILURE = StageResult(
    state=ResultState.FAILED, reason="BrokenRow", finished_at="2026-01-01T00:00:00Z"
)


def open_cluster(store: Path) -> LocalCluster:
    """Open the run `test` of a store."""
    return LocalCluster(StorePlace(store), "test", prompts_dir=store)


def leave_attempt(store: Path, report: Report) -> tuple[str, str]:
    """Leave the folder of an attempt of the data stage behind, as an earlier start does."""
    data = build_graph(make_run(), {}).data
    folder = store / "runs" / "test" / "children" / f"data-{data.digest}-1"
    folder.mkdir(parents=True)
    (folder / "report.json").write_text(report.model_dump_json(by_alias=True))
    (folder / "child.json").write_text(
        f'{{"key": "data", "digest": "{data.digest}", "attempt": 1}}'
    )
    return "data", data.digest


@pytest.mark.parametrize(
    "report",
    [
        pytest.param(Report(progress=Progress(percent=50)), id="it was killed"),
        pytest.param(Report(result=FAILURE), id="it failed"),
    ],
)
def test_a_new_start_forgives_what_came_before(tmp_path: Path, report: Report) -> None:
    """A stage that was cut off or had failed is tried again when the user starts again."""
    key = leave_attempt(tmp_path, report)
    cluster = open_cluster(tmp_path)

    observed = cluster.observe({})
    cluster.close()

    (attempt,) = observed.attempts[key]
    assert attempt.interrupted
    desired = plan(make_run(), observed, now=datetime.now(UTC)).desired
    assert [child.attempt for child in desired if child.key == "data"] == [2]


def test_a_run_is_driven_by_one_process(tmp_path: Path) -> None:
    """A second supervisor of the same run is refused; another run is not."""
    cluster = open_cluster(tmp_path)

    with pytest.raises(RunLockedError, match="another process"):
        open_cluster(tmp_path)

    LocalCluster(StorePlace(tmp_path), "other", prompts_dir=tmp_path).close()
    cluster.close()
    open_cluster(tmp_path).close()


def test_a_store_that_is_a_file_is_refused(tmp_path: Path) -> None:
    """The message names the store and what it must be."""
    store = tmp_path / "store"
    store.write_text("")

    with pytest.raises(UserError, match="must be a folder"):
        open_cluster(store)


def test_a_result_in_the_store_is_observed_whoever_left_it(tmp_path: Path) -> None:
    """Another run's result of the same inputs counts."""
    output = build_graph(make_run(), {}).data.output
    (tmp_path / output).mkdir(parents=True)
    done = StageResult(state=ResultState.SUCCEEDED, reason="Succeeded", message="90 examples")
    (tmp_path / output / "result.json").write_text(done.model_dump_json(by_alias=True))

    observed = LocalCluster.peek(tmp_path, "test", {})

    assert observed.stored == {output: done}


def test_a_killed_child_is_named_so(tmp_path: Path) -> None:
    """A child that the system kills, as for want of memory, may be tried again."""
    cluster = open_cluster(tmp_path)
    desired = plan(make_run(), Observed(), now=datetime.now(UTC)).desired
    child = next(each for each in desired if each.kind is StageKind.DATA)
    cluster.apply([child])
    cluster._processes[child.name].kill()
    deadline = time.monotonic() + 30
    while (attempt := cluster.observe({}).attempts[child.key, child.digest][0]).result is None:
        assert time.monotonic() < deadline, "the child must end"
        time.sleep(0.05)
    cluster.close()

    assert attempt.result.reason == reasons.KILLED
    assert attempt.result.retryable
    assert "out of memory" in attempt.result.message
