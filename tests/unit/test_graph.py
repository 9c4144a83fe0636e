"""The stages that follow from a spec."""

from __future__ import annotations

from make_run import make_run

from tunebench_api.contract import Quantization
from tunebench_operator.graph import build_graph


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
