"""Prompts from a ConfigMap: copied once, and told apart by what they say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from memory_cluster import MemoryCluster, make_cluster_run

from tunebench_api.contract import Runtime, StageKind, parse_stage_document
from tunebench_api.v1alpha1 import PromptsSpec
from tunebench_jobs.context import StageContext
from tunebench_jobs.prompt_source import find_prompts
from tunebench_operator import names
from tunebench_operator.builders.prompts import build_prompts, find_prompts_name
from tunebench_operator.errors import UserError
from tunebench_operator.graph import build_graph
from tunebench_operator.observe import build_objects, find_sources
from tunebench_operator.trimming import trim_child

RUN = make_cluster_run(tools=["Describe"], prompts={"configMapRef": {"name": "ours"}})
PLACE = "/etc/tunebench-prompts/ours"


def make_source(text: str = "[pr_description_prompt]") -> dict[str, Any]:
    """Return a ConfigMap of a user's."""
    return {"data": {"describe.toml": text, "README": "no prompts"}}


def build_digest(text: str) -> str:
    """Return the name of the data that a run makes with certain prompts."""
    copy = build_prompts(RUN, make_source(text))
    return build_graph(RUN, find_sources(RUN, build_objects([copy], RUN.metadata.uid))).data.digest


def test_the_copy_holds_the_prompts_and_stays() -> None:
    """Only TOML files are taken, nobody can change them, and they go with the run."""
    copy = build_prompts(RUN, make_source())

    assert copy["immutable"] is True
    assert copy["data"] == {"describe.toml": "[pr_description_prompt]"}
    assert copy["metadata"]["name"] == find_prompts_name(RUN)
    assert copy["metadata"]["ownerReferences"][0]["uid"] == RUN.metadata.uid


def test_other_prompts_make_other_data() -> None:
    """What was computed with the words of before is not used again."""
    assert build_digest("a = 1") == build_digest("a = 1")
    assert build_digest("a = 1") != build_digest("a = 2")


@pytest.mark.parametrize(
    ("source", "words"),
    [
        pytest.param(None, "got ours, which does not exist; create it, such as by", id="absent"),
        pytest.param({"data": {"x.yaml": ""}}, "but ours has got x.yaml there", id="no prompts"),
        pytest.param({"binaryData": {"x": ""}}, "but ours has got nothing there", id="binary"),
    ],
)
def test_unusable_prompts_are_named(source: dict[str, Any] | None, words: str) -> None:
    """The message has the field and what to do."""
    with pytest.raises(UserError, match=r"`spec\.prompts\.configMapRef\.name` must") as caught:
        build_prompts(RUN, source)

    assert words in str(caught.value)


def test_stages_that_read_prompts_see_them() -> None:
    """Their pods mount the copy, their documents say where; no other pod has it."""
    cluster = MemoryCluster(RUN)
    for _ in range(60):
        if cluster.step().finished:
            break
        for work in cluster.list_work():
            cluster.succeed(work)
    seen, told = set(), set()
    for each in cluster.applied:
        stage = each["metadata"]["labels"].get(names.STAGE_LABEL)
        if PLACE in str(each.get("spec")):
            seen.add(stage)
            volumes = each["spec"]["template"]["spec"]["volumes"]
            assert {"name": "prompts", "configMap": {"name": find_prompts_name(RUN)}} in volumes
        if names.CONFIG_KEY in each.get("data", {}):
            document = parse_stage_document(each["data"][names.CONFIG_KEY])
            if document.runtime.prompts_dir:
                told.add(stage)

    assert seen == told == {StageKind.PREFLIGHT, StageKind.DATA, StageKind.JUDGE}


def test_jobs_find_them_where_they_are_mounted() -> None:
    """The folder's name is that of the ConfigMap, which is the name of the prompt set."""
    spec = PromptsSpec.from_wire({"configMapRef": {"name": "default"}})
    folder = Path(__file__).parents[2] / "prompts"
    runtime = Runtime(store="s", output="o", report="r", prompts_dir=str(folder))

    assert find_prompts(spec, StageContext(runtime).prompts_dir) == folder / "default"


def test_the_operator_keeps_no_prompts_in_memory() -> None:
    """Of the copy, steps need the digest alone."""
    copy = build_prompts(RUN, make_source())
    trimmed = trim_child(copy)

    assert "data" not in trimmed
    assert find_sources(RUN, build_objects([trimmed], RUN.metadata.uid)) == find_sources(
        RUN, build_objects([copy], RUN.metadata.uid)
    )
