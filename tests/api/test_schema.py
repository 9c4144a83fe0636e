"""What the API server makes of a BenchmarkRun."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from kubernetes.client import CustomObjectsApi
from kubernetes.client.exceptions import ApiException
from kubernetes.dynamic import DynamicClient
from kubernetes.dynamic.exceptions import DynamicApiError
from make_goldens import INPUTS, load_output
from make_run import find_sample_backend, make_body

from tunebench_api.crd import PLURAL, build_crd
from tunebench_api.v1alpha1 import API_VERSION, KIND
from tunebench_api.v1alpha1.rules import VALIDATIONS
from tunebench_api.validation import parse_run
from tunebench_operator.yaml_text import parse_yaml

pytestmark = pytest.mark.api

SECRET = {"name": "llm-keys", "key": "KEY"}
SAMPLES = sorted((Path(__file__).parents[2] / "manifests" / "samples").glob("*.yaml"))


def create(client: DynamicClient, body: dict[str, Any]) -> dict[str, Any]:
    """Create a run for show and return what the API server made of it."""
    made: dict[str, Any] = CustomObjectsApi(client.client).create_namespaced_custom_object(
        *API_VERSION.split("/"),
        "default",
        PLURAL,
        body,
        dry_run="All",
        field_validation="Strict",
    )
    return made


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.stem)
def test_samples_are_accepted(client: DynamicClient, path: Path) -> None:
    """Every sample is a valid object, and nothing of it is pruned."""
    body = parse_yaml(path.read_text(encoding="utf-8"))

    made = create(client, body)

    backend = find_sample_backend(path)

    assert parse_run({**body, "spec": made["spec"]}, backend).spec == parse_run(body, backend).spec


def test_defaults_are_those_of_the_types(client: DynamicClient) -> None:
    """The API server fills in what parsing fills in."""
    made = create(client, make_body())

    assert made["spec"] == parse_run(make_body()).to_wire()["spec"]


_WHOLE_OFFLOAD = {"offload": "OptimizerAndParameters", "deepspeed": "ZeRO2"}
INVALID = [
    pytest.param(
        {"baseline": {"name": "none"}},
        "must set exactly one of `completions` and `model`",
        id="baseline-of-nothing",
    ),
    pytest.param(
        {"baseline": {"name": "b", "completions": {"uri": "x"}, "apiBase": "http://x/v1"}},
        "must set `apiBase` only together with `model`",
        id="address-of-nobody",
    ),
    pytest.param(
        {"dataset": {"train": {}, "eval": {"uri": "x"}}},
        "must set exactly one of `uri`, `git`, `gitHub` and `huggingFace`",
        id="no-training-data",
    ),
    pytest.param(
        {"dataset": {"train": {"uri": "x"}, "eval": {"uri": "x", "holdout": "Newest"}}},
        "must set exactly one of `uri`, `git`, `gitHub`, `huggingFace` and `holdout`",
        id="two-evaluation-sets",
    ),
    pytest.param(
        {"dataset": {"train": {"git": {"ref": "main"}}, "eval": {"uri": "x"}}},
        "must set exactly one of `repository` and `list`",
        id="no-repository",
    ),
    pytest.param(
        {"dataset": {"train": {"gitHub": {"limit": 1}}, "eval": {"uri": "x"}}},
        "must set exactly one of `repositories` and `search`",
        id="nothing-to-ask-github-for",
    ),
    pytest.param(
        {"dataset": {"train": {"uri": "x"}, "eval": {"uri": "x"}, "answers": "Teacher"}},
        "must set `teacher` if `answers` is Teacher, and only then",
        id="no-teacher",
    ),
    pytest.param(
        {"prompts": {"builtin": "default", "uri": "x"}},
        "must set exactly one of `builtin`, `uri` and `configMapRef`",
        id="two-prompt-sets",
    ),
    pytest.param(
        {"models": [{"name": "a", "base": "x/a"}, {"name": "a", "base": "x/b"}]},
        "Duplicate value",
        id="two-models-of-one-name",
    ),
    pytest.param(
        {"models": [{"name": "a", "base": "x/a", "tuning": {"offload": "Optimizer"}}]},
        "must set `deepspeed` to ZeRO1 or ZeRO2 or ZeRO3 with `offload: Optimizer`",
        id="offload-of-nothing",
    ),
    pytest.param(
        {"models": [{"name": "a", "base": "x/a", "tuning": _WHOLE_OFFLOAD}]},
        "must set `deepspeed` to ZeRO3 with `offload: OptimizerAndParameters`",
        id="offload-of-whole-parameters",
    ),
    pytest.param({"parallelism": 0}, "greater than or equal to 1", id="out-of-bounds"),
    pytest.param({"seeds": 1}, 'unknown field "spec.seeds"', id="unknown-field"),
    pytest.param(
        {"baseline": {"name": "b", "completions": {"uri": "x"}, "secretRef": SECRET}},
        "must set `secretRef` only together with `model`",
        id="key-of-nobody",
    ),
    pytest.param({"tools": ["Describe", "Describe"]}, "Duplicate value", id="tool-twice"),
]


def list_rules(schema: Any) -> set[str]:
    """Return the messages of all CEL rules below a schema that look at one object only."""
    if isinstance(schema, list):
        return set().union(*map(list_rules, schema))
    if not isinstance(schema, dict):
        return set()
    own = {each["message"] for each in schema.get(VALIDATIONS, ()) if "oldSelf" not in each["rule"]}
    return own.union(*map(list_rules, schema.values()))


def test_every_rule_has_an_invalid_run() -> None:
    """Who adds a CEL rule, shows below what it refuses."""
    assert list_rules(build_crd()) == {
        each.values[1] for each in INVALID if str(each.values[1]).startswith("must set")
    }


@pytest.mark.parametrize(("spec", "message"), INVALID)
def test_invalid_runs_are_refused(
    client: DynamicClient, spec: dict[str, Any], message: str
) -> None:
    """The API server refuses what parsing refuses, with a message that says what must hold."""
    with pytest.raises(ApiException) as caught:
        create(client, make_body(**spec))

    assert caught.value.status in {400, 422}
    assert message in json.loads(caught.value.body)["message"]


def test_spec_of_a_run_stays(client: DynamicClient) -> None:
    """What a run computes may not change under it; whether and how fast it goes on may."""
    runs = client.resources.get(api_version=API_VERSION, kind=KIND)
    body = make_body()
    body["metadata"]["name"] = "stays"
    runs.create(body=body, namespace="default")
    paused = copy.deepcopy(body)
    paused["spec"] |= {"suspend": True, "parallelism": 3, "retries": 5}
    reseeded = {**body, "spec": {**body["spec"], "seed": 7}}
    queued = {**body, "spec": {**body["spec"], "queue": {"name": "team"}}}

    runs.patch(body=paused, namespace="default", content_type="application/merge-patch+json")
    refusals = []
    for changed in (reseeded, queued):
        with pytest.raises(DynamicApiError) as caught:
            runs.patch(
                body=changed, namespace="default", content_type="application/merge-patch+json"
            )
        refusals.append(str(caught.value.body))
    runs.delete(name="stays", namespace="default")

    assert "`spec.seed` may not change" in refusals[0]
    assert "`spec.queue` may not change" in refusals[1]


CHILDREN = [
    pytest.param(each, id=f"{path.stem}/{each['kind']}/{each['metadata']['name']}")
    for path in INPUTS
    for each in load_output(path)
]


@pytest.fixture(scope="module")
def bench(client: DynamicClient) -> None:
    """Make the namespace that the golden children are in."""
    spaces = client.resources.get(api_version="v1", kind="Namespace")
    restricted = {"pod-security.kubernetes.io/enforce": "restricted"}
    spaces.create(body={"metadata": {"name": "bench", "labels": restricted}})


@pytest.mark.usefixtures("bench")
@pytest.mark.parametrize("manifest", CHILDREN)
def test_children_fit_their_schemas(client: DynamicClient, manifest: dict[str, Any]) -> None:
    """Kubernetes and KubeRay know every field of every golden child, and refuse none."""
    kind = client.resources.get(api_version=manifest["apiVersion"], kind=manifest["kind"])

    made = kind.create(
        body=manifest,
        namespace="bench",
        query_params=[("dryRun", "All"), ("fieldValidation", "Strict")],
    )

    assert made.metadata.name == manifest["metadata"]["name"]


@pytest.mark.usefixtures("bench")
def test_unknown_fields_of_ray_jobs_are_noticed(client: DynamicClient) -> None:
    """The check above can fail: a field that KubeRay does not have is refused."""
    job = next(each.values[0] for each in CHILDREN if each.values[0]["kind"] == "RayJob")
    wrong = {**job, "spec": {**job["spec"], "deletionRule": []}}
    kind = client.resources.get(api_version="ray.io/v1", kind="RayJob")

    with pytest.raises(DynamicApiError) as caught:
        kind.create(
            body=wrong,
            namespace="bench",
            query_params=[("dryRun", "All"), ("fieldValidation", "Strict")],
        )

    assert "strict decoding error: unknown field" in str(caught.value.body)
    assert "spec.deletionRule" in str(caught.value.body)
