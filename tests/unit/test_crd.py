"""The CRD equals the types and keeps the conventions of Kubernetes APIs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tunebench_api.crd import SUMMARY_CONDITION, build_crd, build_schema
from tunebench_api.v1alpha1 import BenchmarkRun, BenchmarkRunSpec, TrainSource
from tunebench_api.v1alpha1.wire import PATTERN_WORDS
from tunebench_operator import manifests, names
from tunebench_operator.reference import build_reference
from tunebench_operator.yaml_text import parse_yaml

REPOSITORY = Path(__file__).parents[2]

VERSION = build_crd()["spec"]["versions"][0]
ROOT = VERSION["schema"]["openAPIV3Schema"]
SPEC = ROOT["properties"]["spec"]
STATUS = ROOT["properties"]["status"]


def walk(schema: dict[str, Any], path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield every field below a schema with its path."""
    for name, field in schema.get("properties", {}).items():
        yield f"{path}.{name}", field
        yield from walk(field, f"{path}.{name}")
    if "items" in schema:
        yield f"{path}[]", schema["items"]
        yield from walk(schema["items"], f"{path}[]")


FIELDS = [*walk(SPEC, "spec"), *walk(STATUS, "status")]


def find_breaches(*, under: str = "", **wanted: str) -> list[str]:
    """Return the paths of fields of one type that lack a keyword."""
    ((kind, keyword),) = wanted.items()
    return [
        path
        for path, field in FIELDS
        if path.startswith(under)
        and field["type"] == kind
        and keyword not in field
        and "enum" not in field
    ]


def test_file_equals_types() -> None:
    """The CRDs in the repository are those that the types make; `make manifests` writes them."""
    assert manifests.find_stale(REPOSITORY) == []


def test_changed_file_is_found(tmp_path: Path) -> None:
    """The drift check tells a current file from a changed and from a missing one."""
    options = ["--folder", str(tmp_path)]
    missing = manifests.main([*options, "--check"])
    written = manifests.main(options)
    current = manifests.main([*options, "--check"])
    file = tmp_path / manifests.CRD_FILES[1]
    file.write_text(file.read_text(encoding="utf-8").replace("maximum: 512", "maximum: 513"))
    changed = manifests.main([*options, "--check"])

    assert (missing, written, current, changed) == (1, 0, 0, 1)


def test_the_reference_has_every_field() -> None:
    """Each field has a row in the table of its mapping, and each link a heading."""
    text = build_reference()
    tables = {part.split("`")[0]: part for part in re.split(r"^##+ `", text, flags=re.MULTILINE)}
    absent = [
        path
        for path, _ in FIELDS
        if not path.endswith("[]")
        and f"| `{path.rpartition('.')[2]}` |" not in tables.get(path.rpartition(".")[0], "")
    ]
    headings = {re.sub(r"[^a-z0-9]", "", name.lower()) for name in tables}

    assert absent == []
    assert set(re.findall(r"\(#(\w+)\)", text)) <= headings
    assert "| `rank` | whole number | `16` | 1 to 512 | Rank of the update. Absent: 16. |" in text
    assert "`spec.baseline` must set exactly one of `completions` and `model`." in text


def test_yaml_is_plain() -> None:
    """The file reads back as the CRD, with no YAML anchors."""
    text = manifests.build_crd_text()

    assert parse_yaml(text) == build_crd()
    assert not re.search(r"[&*]id\d", text)


def test_schema_is_structural() -> None:
    """The API server refuses references, unions and closed objects, so none are left."""
    forbidden = {"$ref", "$defs", "anyOf", "oneOf", "allOf", "title", "const", "format"}

    assert [path for path, field in FIELDS if forbidden & set(field)] == []
    assert [path for path, field in FIELDS if "additionalProperties" in field] == []
    assert [path for path, field in FIELDS if "type" not in field] == []


def test_every_string_has_a_length() -> None:
    """The API server budgets rules and storage by `maxLength`."""
    assert find_breaches(string="maxLength") == []


def test_every_list_has_a_length_and_a_merge_key() -> None:
    """Lists are bounded, and server-side apply knows how to merge them."""
    assert find_breaches(array="maxItems") == []
    assert find_breaches(array="x-kubernetes-list-type") == []


def test_every_spec_number_has_bounds() -> None:
    """No number of the spec is unbounded."""
    assert find_breaches(under="spec", integer="minimum") == []
    assert find_breaches(under="spec", integer="maximum") == []


def test_no_floats() -> None:
    """Encoders disagree about floats, so numbers with a fraction are strings."""
    assert [path for path, field in FIELDS if field["type"] == "number"] == []


def test_every_field_is_described() -> None:
    """Each field has a description."""
    fields = [(path, field) for path, field in FIELDS if not path.endswith("]")]

    assert [path for path, field in fields if not field.get("description", "").endswith(".")] == []


def test_spec_fields_say_what_absence_means() -> None:
    """Required fields say so; the others say what happens without them."""
    fields = [(path, field) for path, field in walk(SPEC, "spec") if not path.endswith("]")]
    silent = [
        path
        for path, field in fields
        if not re.search(r"Absent: |Must be given\.", field["description"])
    ]

    assert silent == []


def test_required_fields_say_so() -> None:
    """`Must be given` stands at required fields and nowhere else."""
    objects = [("spec", SPEC), *walk(SPEC, "spec")]
    wrong = [
        f"{path}.{name}"
        for path, schema in objects
        for name, field in schema.get("properties", {}).items()
        if (name in schema.get("required", [])) != ("Must be given." in field["description"])
    ]

    assert wrong == []


def test_stated_defaults_are_the_defaults() -> None:
    """`Absent: 16.` and the like name the schema's default of a number or a choice."""
    wrong = {}
    for path, field in walk(SPEC, "spec"):
        stated = re.search(r"Absent: ([-\w.:/]+?)[. ]", field.get("description", ""))
        if isinstance(field.get("default"), int | str) and field["type"] != "boolean":
            default = str(field["default"])
            if not stated or not re.search(
                rf"Absent: {re.escape(default)}\b", field["description"]
            ):
                wrong[path] = default

    assert wrong == {}


def test_names_are_camel_case() -> None:
    """Fields are camelCase, choices PascalCase."""
    fields = [path.rpartition(".")[2].removesuffix("[]") for path, _ in FIELDS]
    choices = [choice for _, field in FIELDS for choice in field.get("enum", [])]

    assert [name for name in fields if not re.fullmatch(r"[a-z][a-zA-Z0-9]*", name)] == []
    assert [name for name in choices if not re.fullmatch(r"[A-Z][a-zA-Z0-9]*", name)] == []
    assert "budgetUSD" in SPEC["properties"]["judging"]["properties"]


def test_no_phase() -> None:
    """Conditions say what a phase would."""
    assert [path for path, _ in FIELDS if path.endswith(".phase")] == []


def test_conditions_follow_the_conventions() -> None:
    """Conditions are a map by type, and have what tools such as `kubectl wait` read."""
    conditions = STATUS["properties"]["conditions"]

    assert conditions["x-kubernetes-list-map-keys"] == ["type"]
    assert {
        "type",
        "status",
        "reason",
        "message",
        "observedGeneration",
        "lastTransitionTime",
    } == set(conditions["items"]["properties"])


def test_map_keys_are_required() -> None:
    """The API server refuses a list map whose keys may be absent."""
    wrong = [
        path
        for path, field in FIELDS
        for key in field.get("x-kubernetes-list-map-keys", [])
        if key not in field["items"]["required"]
    ]

    assert wrong == []


def test_status_has_no_defaults() -> None:
    """Only the operator says what was observed."""
    assert [path for path, field in walk(STATUS, "status") if "default" in field] == []


def test_rules_carry_messages() -> None:
    """Each CEL rule says in words what must hold."""
    rules = {
        path: rule for path, field in FIELDS for rule in field.get("x-kubernetes-validations", [])
    }

    assert set(rules) == {
        "spec.dataset",
        "spec.dataset.train",
        "spec.dataset.train.git",
        "spec.dataset.train.gitHub",
        "spec.dataset.eval",
        "spec.dataset.eval.git",
        "spec.dataset.eval.gitHub",
        "spec.prompts",
        "spec.baseline",
        "spec.models[].tuning",
    }
    assert all(rule["message"].startswith("must ") for rule in rules.values())


def test_columns() -> None:
    """`kubectl get` shows the columns of the design, the wide ones last."""
    columns = {
        column["name"]: (column["jsonPath"], column.get("priority", 0))
        for column in VERSION["additionalPrinterColumns"]
    }
    summary = '.status.conditions[?(@.type=="Succeeded")]'

    assert columns == {
        "Status": (f"{summary}.reason", 0),
        "Models": (".status.summary.models", 0),
        "Best": (".status.summary.best", 0),
        "Win-Rate": (".status.summary.winRate", 0),
        "Judges": (".status.summary.judges", 1),
        "Agreement": (".status.summary.agreement", 1),
        "Cost": (".status.summary.costUSD", 1),
        "Queue": (".spec.queue.name", 1),
        "Message": (f"{summary}.message", 1),
        "Age": (".metadata.creationTimestamp", 0),
    }
    assert names.SUCCEEDED == SUMMARY_CONDITION


def test_columns_point_at_fields() -> None:
    """A renamed status field would leave an empty column."""
    known = {path for path, _ in FIELDS}
    paths = [column["jsonPath"].lstrip(".") for column in VERSION["additionalPrinterColumns"]]
    plain = [re.sub(r"\[\?.*\]", "[]", path) for path in paths if not path.startswith("metadata")]

    assert [path for path in plain if path not in known] == []


def test_names_of_the_resource() -> None:
    """The resource answers to its plural, its short name and its category."""
    resource = build_crd()["spec"]

    assert resource["names"]["plural"] == "benchmarkruns"
    assert resource["names"]["shortNames"] == ["brun"]
    assert resource["names"]["categories"] == ["tunebench"]
    assert resource["scope"] == "Namespaced"
    assert VERSION["subresources"] == {"status": {}}


@pytest.mark.parametrize(
    ("field", "default"),
    [
        pytest.param("prompts", {"builtin": "default"}, id="what the fields do not say stays"),
        pytest.param("judging", {}, id="what they say is left out"),
        pytest.param("retries", 2, id="a number"),
        pytest.param("tools", ["Describe", "Review", "Improve"], id="a list"),
    ],
)
def test_defaults(field: str, default: object) -> None:
    """The API server fills in what Python would."""
    assert SPEC["properties"][field]["default"] == default


def test_absent_has_no_default() -> None:
    """A field that may be absent has no default at all, as null is no structural default."""
    uri = build_schema(TrainSource)["properties"]["uri"]

    assert "default" not in uri
    assert uri["type"] == "string"


def test_every_pattern_has_words() -> None:
    """A pattern is explained to users in words, never shown."""
    patterns = {field["pattern"] for _, field in FIELDS if "pattern" in field}

    assert patterns <= set(PATTERN_WORDS)


def test_values_survive_the_wire() -> None:
    """A run that is written and read again is the same, so no field tells null from absent."""
    for path, field in walk(build_schema(BenchmarkRunSpec), "spec"):
        assert not field.get("nullable"), path
    assert set(build_schema(BenchmarkRun)["properties"]) == set(ROOT["properties"])
