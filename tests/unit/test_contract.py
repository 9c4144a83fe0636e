"""What operator and jobs say to each other, when one is newer than the other, or not well."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tunebench_api.contract import REPORT_KEY, JudgeConfig, Report, build_config_digest
from tunebench_operator.observe import parse_report


def make_report(**result: Any) -> dict[str, Any]:
    """Return the ConfigMap of a child that has reported a result."""
    known = {"state": "Succeeded", "reason": "Succeeded", "finishedAt": "2026-01-01T00:00:00Z"}
    progress = {"message": "training", "newField": 1}
    text = json.dumps({"progress": progress, "result": known | result, "newField": 1})
    return {"data": {REPORT_KEY: text}}


def test_a_newer_job_is_understood() -> None:
    """The image of a pool may be newer than the operator: unknown fields are no error."""
    artefact = {"path": "a", "sha256": "b", "bytes": 1, "newField": 1}
    report = parse_report(make_report(newField=1, artefacts=[artefact]))

    assert report.progress.message == "training"
    assert report.result
    assert report.result.artefacts[0].path == "a"


@pytest.mark.parametrize(
    "result",
    [
        pytest.param({"finishedAt": "yesterday"}, id="no time"),
        pytest.param({"finishedAt": "2026-01-01T00:00:00"}, id="no time zone"),
        pytest.param({"startedAt": "2026-01-01T00:00:00"}, id="no time zone of the start"),
        pytest.param({"reason": "x" * 300}, id="reason that no status holds"),
    ],
)
def test_a_report_that_cannot_be_used_says_nothing(result: dict[str, str]) -> None:
    """A job writes its report itself, and none that it writes can stop a step."""
    assert parse_report(make_report()).result
    assert parse_report(make_report(**result)) == Report()


def test_a_field_that_was_added_leaves_older_results_found() -> None:
    """At its default it is in no digest; any other value makes another result."""

    def digest(**judging: int) -> str:
        places = {name: name for name in ("data", "baseline", "completions")}
        config = JudgeConfig.from_wire(
            {**places, "prompts": {"builtin": "default"}, "judges": [], "judging": judging}
        )
        assert ("repeats" in config.to_identity()["judging"]) == (judging.get("repeats", 1) > 1)
        return build_config_digest(config)

    assert digest() == digest(repeats=1)
    assert digest() != digest(repeats=2)
