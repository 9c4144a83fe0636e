"""What the token of a run's pods may do, asked of a real API server."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import kubernetes
import pytest
from control_plane import ControlPlane, write_kubeconfig
from kubernetes.client import CoreV1Api
from kubernetes.dynamic import DynamicClient
from make_run import make_body
from operating import SPEC, eventually, list_work, operating

from tunebench_api.contract import REPORT_KEY, Progress, Report
from tunebench_api.v1alpha1 import API_VERSION, KIND
from tunebench_jobs.reports import ReportConfigMap, UnreachableError, build_patch
from tunebench_operator import names

pytestmark = [pytest.mark.api, pytest.mark.timeout(240)]

AUDIENCE = "https://kubernetes.default.svc"
# Every token may ask these about itself.
OF_EVERYBODY = {"selfsubjectaccessreviews", "selfsubjectrulesreviews", "selfsubjectreviews"}


def make_job_client(
    plane: ControlPlane, client: DynamicClient, namespace: str, run: str, folder: Path
) -> kubernetes.client.ApiClient:
    """Return a client with the token that the pods of a run get."""
    runs = client.resources.get(api_version=API_VERSION, kind=KIND)
    uid = runs.get(name=run, namespace=namespace).metadata.uid
    spec = kubernetes.client.V1TokenRequestSpec(audiences=[AUDIENCE])
    token = CoreV1Api(client.client).create_namespaced_service_account_token(
        names.access_name(run, uid),
        namespace,
        kubernetes.client.AuthenticationV1TokenRequest(spec=spec),
    )
    write_kubeconfig(folder / "job", plane.server, plane.certificate, token.status.token)
    return kubernetes.config.new_client_from_config(str(folder / "job"))


def list_permissions(job: kubernetes.client.ApiClient, namespace: str) -> list[dict[str, Any]]:
    """Return all that a token may do in a namespace, without what everybody may."""
    review = kubernetes.client.V1SelfSubjectRulesReview(
        spec=kubernetes.client.V1SelfSubjectRulesReviewSpec(namespace=namespace)
    )
    made = kubernetes.client.AuthorizationV1Api(job).create_self_subject_rules_review(review)
    rules = [rule.to_dict() for rule in made.status.resource_rules]
    return [rule for rule in rules if not set(rule["resources"]) <= OF_EVERYBODY]


async def test_a_job_may_touch_its_runs_reports_alone(
    plane: ControlPlane, client: DynamicClient, namespace: str, tmp_path: Path
) -> None:
    """A pod reports, and can read neither a Secret nor what another run reports."""
    runs = client.resources.get(api_version=API_VERSION, kind=KIND)
    for name in ("mine", "other"):
        body = make_body(**SPEC)
        runs.create(body={**body, "metadata": {"name": name}}, namespace=namespace)
    async with operating(namespace):
        await eventually(lambda: len(list_work(client, namespace, "preflight")) == 2, "both runs")
    reports: dict[str, list[str]] = {"mine": [], "other": []}
    maps = client.resources.get(api_version="v1", kind="ConfigMap")
    selector = f"{names.PART_LABEL}={names.REPORT_PART}"
    for each in maps.get(namespace=namespace, label_selector=selector).to_dict()["items"]:
        metadata = each["metadata"]
        reports[metadata["labels"][names.RUN_LABEL]].append(metadata["name"])
    job = make_job_client(plane, client, namespace, "mine", tmp_path)
    core = CoreV1Api(job)
    report = Report(progress=Progress(percent=7, message="checking"))
    ReportConfigMap(build_patch(core, namespace, reports["mine"][0])).save(report)
    stored = core.read_namespaced_config_map(reports["mine"][0], namespace)
    foreign = build_patch(core, namespace, reports["other"][0])

    assert stored.data[REPORT_KEY] == report.model_dump_json(by_alias=True)
    with pytest.raises(UnreachableError, match="403") as caught:
        foreign("{}")
    assert caught.value.lasting
    with pytest.raises(kubernetes.client.ApiException, match="403"):
        core.list_namespaced_secret(namespace)
    assert list_permissions(job, namespace) == [
        {
            "api_groups": [""],
            "resources": ["configmaps"],
            "resource_names": sorted(reports["mine"]),
            "verbs": ["get", "patch"],
        }
    ]
