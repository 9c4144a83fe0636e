"""What GitHub told one machine is known to the next one, by way of a bucket."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from bucket_server import leading_to_server
from github_server import GitHubServer
from github_world import make_repository

from tunebench_api.contract import Runtime
from tunebench_api.v1alpha1 import Answers, TrainSource
from tunebench_jobs.context import StageContext
from tunebench_jobs.data.github import ARCHIVE_FOLDER
from tunebench_jobs.data.sources import open_source
from tunebench_jobs.data.stage import place_collections

pytestmark = pytest.mark.jobs


def test_a_pod_on_another_machine_asks_for_what_is_new_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first machine is gone with its disk, and nothing is asked twice."""
    monkeypatch.setenv("SHOP_TOKEN", "not-a-secret")
    server = GitHubServer(make_repository(7, "acme/shop", 10))
    named = {"repositories": ["acme/shop"], "apiBase": server.url}
    secret = {"secretRef": {"name": "github", "key": "SHOP_TOKEN"}}
    source = TrainSource.from_wire({"gitHub": named | secret})
    counted = []
    ids = []
    with leading_to_server(tmp_path, monkeypatch) as bucket:
        for machine in ("one", "two"):
            scratch = tmp_path / machine
            runtime = Runtime(
                store="s3://bench/runs",
                output="data/one",
                report=str(tmp_path / "report.json"),
                scratch=str(scratch),
            )
            context = StageContext(runtime)
            opened = open_source(
                source,
                "train",
                answers=Answers.ROWS,
                clones=scratch / "git",
                collections=place_collections(context),
            )
            rows = list(opened.rows)
            context.close()
            shutil.rmtree(scratch)
            ids.append([row.pr.id for row in rows])
            counted.append(server.count("", counted=True))
        keys = bucket.list_keys(f"runs/{ARCHIVE_FOLDER}")
    server.close()

    assert ids[0] == ids[1]
    assert len(ids[0]) == 8
    assert counted[0] == counted[1]
    assert keys
