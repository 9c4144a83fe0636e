"""The sample runs: each is valid where it is to run, and the one of 2024 has what it claims."""

from __future__ import annotations

from pathlib import Path

import jsonschema
import pytest
from make_run import find_sample_backend

from tunebench_api.advice import find_warnings
from tunebench_api.crd import build_crd
from tunebench_api.unsupported import Backend
from tunebench_api.validation import parse_run
from tunebench_jobs.score.benchmark_2024 import find_panel_replication
from tunebench_jobs.score.results import Replication
from tunebench_operator.yaml_text import parse_yaml

REPOSITORY = Path(__file__).parents[2]
SAMPLES = sorted((REPOSITORY / "manifests" / "samples").glob("*.yaml"))


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.name)
def test_samples_are_valid(path: Path) -> None:
    """Every sample passes the schema of the API server, and parses where it is to run."""
    schema = build_crd()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]

    document = parse_yaml(path.read_text(encoding="utf-8"))

    jsonschema.validate(document, schema)
    assert parse_run(document, find_sample_backend(path)).metadata.name == path.stem


def test_sample_of_2024_has_the_models_of_2024() -> None:
    """All fourteen, each pinned or known not to be, with its documents' names of then."""
    (path,) = (path for path in SAMPLES if path.stem == "qodo-2024")
    run = parse_run(parse_yaml(path.read_text(encoding="utf-8")), Backend.KUBERNETES)
    table = (REPOSITORY / "docs" / "models.md").read_text(encoding="utf-8")
    warned = {problem.field for problem in find_warnings(run)}

    assert len(run.spec.models) == len({model.base for model in run.spec.models}) == 14
    assert warned == {"spec.models[3].revision", "spec.models[8].revision"}
    assert all(f"`{model.base}`" in table for model in run.spec.models)
    assert all(f"`{model.name}`" in table for model in run.spec.models)
    assert len(run.spec.judges) == 3
    assert find_panel_replication(run.spec.judges) is Replication.SAME_FAMILY
