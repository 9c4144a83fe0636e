"""A scored run at MLflow: all of it once, and never at the price of the run."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from make_scores import LLM, always, make_tasks, make_variant, score

from tunebench_api.v1alpha1 import MlflowSpec, SecretRef
from tunebench_jobs.judge.verdicts import Winner
from tunebench_jobs.tracking.entry import TrackedRun, build_tracked_run, list_tracked_files
from tunebench_jobs.tracking.mlflow import Tracked, log_to_mlflow, send_to_mlflow

pytestmark = [
    pytest.mark.jobs,
    # MLflow's own client, with which the tests look at what is there.
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning"),
]

TOKEN = "very-secret-token"  # noqa: S105 - stands for a token
# One attempt, because nobody is there.
HASTY = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"}


@pytest.fixture
def run(tmp_path: Path) -> TrackedRun:
    """Return a scored run with two files."""
    tasks = make_tasks(8)
    results = score(
        tasks,
        [LLM],
        make_variant("good", tasks, [LLM], always(Winner.MODEL)),
        make_variant("mute", tasks, [LLM], always(None)),
    )
    folder = tmp_path / "score"
    folder.mkdir()
    (folder / "results.json").write_text("{}")
    (folder / "comparisons.parquet").write_bytes(b"PAR1")
    return build_tracked_run(results, "0123456789abcdef", list_tracked_files(folder))


@pytest.fixture
def deaf() -> Iterator[str]:
    """Return the address of a server that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


def test_a_run_is_logged_once(
    tmp_path: Path, run: TrackedRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Parameters, both ends of every rate and the files are there; again means the same run."""
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    uri = (tmp_path / "mlruns").as_uri()
    first, second = (send_to_mlflow(uri, "ours", run, os.environ) for _ in range(2))

    assert (first.problem, second) == ("", first)
    from mlflow import MlflowClient  # noqa: PLC0415 - takes seconds

    client = MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name("ours")
    assert experiment is not None
    (found,) = client.search_runs([experiment.experiment_id])
    assert (found.info.run_id, found.info.status) == (first.run_id, "FINISHED")
    assert found.data.tags["tunebench.score"] == run.digest
    assert found.data.params["baseline"] == "gpt-4-turbo"
    assert found.data.metrics == run.metrics
    assert found.data.metrics["good/win_rate_pct"] == 100
    assert found.data.metrics["good/win_rate_lo"] < 100
    assert "mute/win_rate_pct" not in found.data.metrics
    assert found.data.metrics["mute/missing_verdicts"] == 48
    files = {each.path: each.file_size for each in client.list_artifacts(first.run_id)}
    assert files == {"results.json": 2, "comparisons.parquet": 4}


def test_a_server_that_is_away_is_a_warning(run: TrackedRun, deaf: str) -> None:
    """Whether nobody listens or nobody answers, the message says so and has no token."""
    with socket.create_server(("127.0.0.1", 0)) as closed:
        address = f"http://user:{TOKEN}@127.0.0.1:{closed.getsockname()[1]}"
    environment = {**os.environ, **HASTY, "MLFLOW_TRACKING_TOKEN": TOKEN}

    refused = send_to_mlflow(address, "ours", run, environment)
    unheard = send_to_mlflow(deaf, "ours", run, environment, timeout_seconds=6)

    assert refused.run_id == unheard.run_id == ""
    assert "refused" in refused.problem
    assert unheard.problem == "no answer within 6 s"
    assert refused.message.startswith("warning: not logged to MLflow at http://127.0.0.1:")
    assert TOKEN not in f"{refused.message}{refused.to_summary()}"


def test_a_token_that_is_not_set_is_a_warning(run: TrackedRun) -> None:
    """The message names the field."""
    spec = MlflowSpec(
        uri="http://127.0.0.1:9", secret_ref=SecretRef(name="mlflow", key="NO_SUCH_KEY")
    )
    tracked = log_to_mlflow(spec, run, {})

    assert isinstance(tracked, Tracked)
    assert "`spec.tracking.mlflow.secretRef` must name a key that is set" in tracked.problem
