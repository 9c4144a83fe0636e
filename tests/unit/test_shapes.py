"""Sizes of base models are read from their files, never their weights; and those of machines."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from make_run import make_run
from make_shapes import LLAMA_3_8B, QWEN_0_5B, make_shape

from tunebench_api.contract import Base
from tunebench_api.errors import InvalidRunError
from tunebench_jobs.shapes import count_parameters, read_shape, read_shapes
from tunebench_operator.errors import UserError
from tunebench_operator.installation import NodePool, load_pools, parse_bytes
from tunebench_operator.local.machine import (
    find_machines,
    load_shapes,
    observe_machine,
    parse_gpu_memory,
)

GIB = 1 << 30


def save_header(path: Path, tensors: dict[str, list[int]]) -> None:
    """Write the header of a safetensors file; its numbers do not matter."""
    header = {name: {"dtype": "BF16", "shape": shape} for name, shape in tensors.items()}
    text = json.dumps({**header, "__metadata__": {"format": "pt"}}).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text)


def test_parameters_are_counted_in_the_headers(tmp_path: Path) -> None:
    """Over all files of a model, each tensor once."""
    save_header(tmp_path / "model-1.safetensors", {"a": [3, 4], "b": [5]})
    save_header(tmp_path / "model-2.safetensors", {"c": [10]})
    (tmp_path / "config.json").write_text(json.dumps(LLAMA_3_8B))
    shape = read_shape(Base(base=str(tmp_path)))

    assert count_parameters(tmp_path) == 27
    assert shape is not None
    assert (shape.parameters, shape.blocks) == (27, 32)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="empty"),
        pytest.param((1 << 62).to_bytes(8, "little"), id="endless header"),
        pytest.param((2).to_bytes(8, "little") + b"[]", id="no mapping"),
        pytest.param((12).to_bytes(8, "little") + b'{"a": "few"}', id="no shape"),
    ],
)
def test_broken_weights_stop_nothing(tmp_path: Path, content: bytes) -> None:
    """The config says how many numbers there are; what is wrong shows where they are loaded."""
    (tmp_path / "model.safetensors").write_bytes(content)
    (tmp_path / "config.json").write_text(json.dumps(LLAMA_3_8B))
    good = tmp_path / "good"
    good.mkdir()
    (good / "config.json").write_text(json.dumps(QWEN_0_5B))
    found = read_shapes([Base(base=str(tmp_path)), Base(base=str(good))])

    assert count_parameters(tmp_path) is None
    assert found[str(tmp_path)] == make_shape(LLAMA_3_8B).to_wire()
    assert found[str(good)]["blocks"] == 24


def test_a_base_without_a_config_has_no_sizes(tmp_path: Path) -> None:
    """Nor has a GGUF file, which is not read for it; the size in the name is taken then."""
    gguf = Base(base=str(tmp_path), gguf_file="model-7b.gguf")

    assert read_shapes([Base(base=str(tmp_path)), gguf]) == {}


def test_bases_on_this_machine_are_read_by_the_planner(tmp_path: Path) -> None:
    """A folder has a config, an id of the hub has none here, and a broken one says nothing."""
    (tmp_path / "config.json").write_text(json.dumps(QWEN_0_5B))
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "config.json").write_text("[")
    bases = [str(tmp_path), str(broken), "acme/some-7b"]
    run = make_run(models=[{"name": f"m{at}", "base": base} for at, base in enumerate(bases)])

    assert set(load_shapes(run)) == {str(tmp_path)}


def test_gpus_are_read_from_what_nvidia_smi_prints() -> None:
    """A line for each, in MiB; anything else is no GPU."""
    assert parse_gpu_memory("81559\n81559\n") == [81_559 << 20] * 2
    assert parse_gpu_memory("NVIDIA-SMI has failed\n[N/A]\n") == []


def test_this_machine_is_looked_at_where_it_matters() -> None:
    """Its memory is known; a run that leaves nothing open does not ask."""
    open_model = {"name": "one", "base": "acme/one-1b", "resources": {"gpus": "Auto"}}
    numbered = {**open_model, "resources": {"gpus": "4096"}, "tuning": {"batchSize": 4096}}
    machines = find_machines(make_run(models=[open_model]))

    assert find_machines(make_run()) is None
    assert machines is not None
    assert (observe_machine().host_bytes or 0) > GIB
    with pytest.raises(InvalidRunError, match=r"`spec.models\[0\].resources.gpus` must be"):
        find_machines(make_run(models=[numbered]))


@pytest.mark.parametrize(
    ("quantity", "expected"),
    [("80Gi", 80 * GIB), ("1.5Ki", 1536), ("1000", 1000), ("2M", 2_000_000)],
)
def test_quantities_of_memory(quantity: str, expected: int) -> None:
    """As Kubernetes reads them."""
    assert parse_bytes(quantity, "`x`") == expected


@pytest.mark.parametrize("quantity", ["1.2.3Gi", ".", "Gi", "-1Gi", "6GB", ""])
def test_what_is_no_quantity_is_refused(quantity: str) -> None:
    """The message says of what, and what it must look like."""
    with pytest.raises(UserError, match="`x` must be a quantity such as 6Gi, got"):
        parse_bytes(quantity, "`x`")


def test_pools_come_from_helm_values(tmp_path: Path) -> None:
    """`tunebench plan --values` sees what the chart gives the operator."""
    path = tmp_path / "values.yaml"
    path.write_text(
        "pools: [{name: h100, gpuResource: nvidia.com/gpu, gpusPerWorker: 1, gpuMemory: 80Gi, "
        "gpuTeraflops: 989, maxGpus: 8, worker: {cpu: '8', memory: 64Gi}}]"
    )
    (pool,) = load_pools(path)
    machines = pool.build_machines()

    assert (machines.gpu, machines.most_gpus, machines.gpu_bytes) == (True, 8, 80 * GIB)
    assert (machines.host_bytes, machines.teraflops) == (64 * GIB, 989)
    assert not NodePool(name="default").build_machines().gpu


@pytest.mark.parametrize("text", ["[", "image: {}", "pools: [{size: 1}]", "pools: 3"])
def test_broken_values_are_named(tmp_path: Path, text: str) -> None:
    """The message names the file."""
    path = tmp_path / "values.yaml"
    path.write_text(text)

    with pytest.raises(UserError, match=r"values\.yaml"):
        load_pools(path)
