"""The stages that follow from a spec."""

from __future__ import annotations

from typing import Any

import pytest
from make_run import make_run

from tunebench_api.contract import PreflightConfig, Quantization, StageKind, TrainConfig
from tunebench_api.v1alpha1 import BenchmarkRun
from tunebench_operator.builders.pods import list_secrets
from tunebench_operator.graph import build_graph

MLFLOW = {"uri": "https://mlflow.example", "secretRef": {"name": "m", "key": "TOKEN"}}
WANDB = {"secretRef": {"name": "w", "key": "WANDB_API_KEY"}}


def test_adapters_are_served_beside_the_weights_of_their_training() -> None:
    """A base in 4 bits is another base: it has a server and an un-tuned variant of its own."""
    methods = {"plain": "LoRA", "packed": "QLoRA", "also-packed": "QLoRA"}
    models = [
        {"name": name, "base": "acme/one", "tuning": {"method": method}}
        for name, method in methods.items()
    ]
    graph = build_graph(make_run(models=models), {})
    served = {
        group.base.quantization: [variant.name for variant in group.variants]
        for group in graph.groups
    }

    assert len(graph.groups) == 2
    assert served[None][1:] == ["plain"]
    assert served[Quantization.NF4][1:] == ["packed", "also-packed"]
    assert served[None][0] != served[Quantization.NF4][0]
    assert {variant.untuned for variant in graph.variants if variant.train} == {
        served[None][0],
        served[Quantization.NF4][0],
    }


def test_full_precision_is_named_as_before() -> None:
    """What runs without QLoRA have computed is found again."""
    base = build_graph(make_run(), {}).groups[0].base

    assert base.to_wire() == {"base": "acme/one"}


def _list_keys(run: BenchmarkRun, kind: StageKind) -> set[str]:
    return {ref.name for ref in list_secrets(run.spec, kind)}


@pytest.mark.parametrize(
    ("tracking", "tracked", "keys"),
    [
        ({}, False, set()),
        ({"mlflow": MLFLOW}, False, set()),
        ({"mlflow": {**MLFLOW, "training": "Enabled"}}, True, {"m"}),
        ({"tensorBoard": "Enabled"}, True, set()),
        ({"wandb": WANDB}, True, {"w"}),
        ({"wandb": {**WANDB, "mode": "Offline"}}, True, set()),
        ({"wandb": WANDB, "mlflow": {**MLFLOW, "training": "Enabled"}}, True, {"m", "w"}),
    ],
)
def test_trainings_are_tracked_where_the_run_says(
    tracking: dict[str, Any], *, tracked: bool, keys: set[str]
) -> None:
    """A training gets the keys that it needs, and its result has the same name as without."""
    run = make_run(tracking=tracking)
    node, plain = build_graph(run, {}).trains[0], build_graph(make_run(), {}).trains[0]
    preflight = build_graph(run, {}).preflight.config

    assert isinstance(node.config, TrainConfig)
    assert (node.config.tracking is not None) is tracked
    assert node.digest == plain.digest
    assert _list_keys(run, StageKind.TRAIN) == keys
    assert isinstance(preflight, PreflightConfig)
    known = keys | ({"m"} if "mlflow" in tracking else set())
    assert {each.secret_ref.name for each in preflight.secrets} == known
    assert _list_keys(run, StageKind.PREFLIGHT) == known
