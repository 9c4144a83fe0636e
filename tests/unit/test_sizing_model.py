"""The memory and time model of training: against published sizes, and in what direction it goes."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from make_shapes import GEMMA_7B, GRANITE_34B, LLAMA_3_8B, QWEN_0_5B, make_shape

from tunebench_api.sizing.memory import (
    GIB,
    Load,
    build_load,
    count_trained,
    estimate_copy,
    estimate_host,
    estimate_loading,
    estimate_memory,
    is_half,
)
from tunebench_api.sizing.shape import (
    ModelShape,
    ShapeSource,
    estimate_shape,
    find_billions,
    parse_shape,
)
from tunebench_api.sizing.speed import count_flops, estimate_hours
from tunebench_api.v1alpha1 import ActivationCheckpointing, DeepSpeed, Offload, TuningSpec

BILLION = 1e9


def make_load(**changes: Any) -> Load:
    """Return one worker's load of a row of 2,048 tokens in bfloat16."""
    facts: dict[str, Any] = {
        "workers": 1,
        "deepspeed": DeepSpeed.NONE,
        "rows": 1,
        "tokens": 2048,
        "answer": 512,
        "half": True,
    }
    return Load(**{**facts, **changes})


@pytest.mark.parametrize(
    ("config", "billions"),
    [
        pytest.param(LLAMA_3_8B, 8.03, id="Llama-3-8B"),
        pytest.param(QWEN_0_5B, 0.494, id="Qwen2.5-0.5B"),
        pytest.param(GEMMA_7B, 8.54, id="Gemma-7B"),
        pytest.param(GRANITE_34B, 33.7, id="Granite-34B"),
    ],
)
def test_parameters_follow_from_a_config(config: dict[str, Any], billions: float) -> None:
    """Counted from the sizes alone, they are within 1% of what is published."""
    assert make_shape(config).parameters / BILLION == pytest.approx(billions, rel=0.01)


def test_counted_parameters_go_before_computed_ones() -> None:
    """What the weights say is right even where the layers are of an unknown kind."""
    shape = parse_shape(LLAMA_3_8B, 123)

    assert shape is not None
    assert (shape.parameters, shape.source) == (123, ShapeSource.CONFIG)


@pytest.mark.parametrize(
    "config",
    [
        pytest.param({}, id="empty"),
        pytest.param({**LLAMA_3_8B, "hidden_size": "4096"}, id="text"),
        pytest.param({**LLAMA_3_8B, "num_hidden_layers": -1}, id="negative"),
        pytest.param({**LLAMA_3_8B, "vocab_size": 10**30}, id="absurd"),
        pytest.param({**LLAMA_3_8B, "num_attention_heads": True}, id="truth"),
    ],
)
def test_a_config_without_sizes_has_no_shape(config: dict[str, Any]) -> None:
    """A stranger's config may hold anything, and is never computed with then."""
    assert parse_shape(config) is None


@pytest.mark.parametrize(
    ("name", "billions"),
    [
        ("codellama/CodeLlama-7b-hf", 7),
        ("Qwen/Qwen1.5-32B", 32),
        ("Qwen/Qwen2.5-0.5B-Instruct", 0.5),
        ("HuggingFaceTB/SmolLM2-135M-Instruct", 0.135),
        ("mistralai/Mixtral-8x7B-v0.1", 56),
        ("mistralai/Codestral-22B-v0.1", 22),
        ("ibm-granite/granite-34b-code-instruct-8k", 34),
        ("deepseek-ai/deepseek-coder-7b-instruct-v1.5", 7),
        ("acme/small", None),
        ("acme-7b/small", None),
        ("acme/0b", None),
    ],
)
def test_size_in_a_name(name: str, billions: float | None) -> None:
    """The size is what stands before a B or M in the name, and nothing else is taken for it."""
    assert find_billions(name) == billions


def test_declared_size_goes_before_the_name() -> None:
    """`sizeBillions` is the user's word."""
    shape = estimate_shape("acme/model-7b", "33.3")

    assert shape is not None
    assert (shape.source, shape.parameters) == (ShapeSource.DECLARED, 33_300_000_000)
    assert estimate_shape("acme/small") is None


def test_memory_of_known_cases() -> None:
    """Weights and optimizer cost what is published: 2 bytes frozen, 0.5 in NF4, 16 in training."""
    shape = make_shape(LLAMA_3_8B)
    size = shape.parameters
    lora = estimate_memory(shape, TuningSpec.from_wire({"method": "LoRA"}), make_load())
    qlora = estimate_memory(shape, TuningSpec.from_wire({"method": "QLoRA"}), make_load())
    full = TuningSpec.from_wire({"method": "Full"})
    whole = estimate_memory(shape, full, make_load())
    shared = estimate_memory(shape, full, make_load(workers=8, deepspeed=DeepSpeed.ZERO3))

    assert lora.weights == 2 * size
    # 41.9 million parameters of rank 16 on all linear layers.
    assert count_trained(shape, TuningSpec()) == pytest.approx(41.9e6, rel=0.01)
    assert lora.trained == 16 * count_trained(shape, TuningSpec())
    assert 5 * GIB < qlora.weights < 6.5 * GIB
    assert whole.trained == 16 * size
    assert shared.trained == pytest.approx(20 * size / 8, rel=0.01)


def test_a_34b_model_needs_its_activations_again_at_8192_tokens() -> None:
    """What is kept without recomputing is more than an H200 has; with it, a tenth."""
    shape = estimate_shape("acme/coder-34b")
    assert shape is not None
    kept = estimate_memory(shape, TuningSpec(), make_load(tokens=8192))
    again = estimate_memory(shape, TuningSpec(), make_load(tokens=8192, recompute=True))

    assert kept.total > 141 * GIB
    assert again.activations < kept.activations / 8


@pytest.mark.parametrize(
    ("wire", "gpu", "half"),
    [
        ({"precision": "Auto"}, True, True),
        ({"precision": "Auto"}, False, False),
        ({"precision": "Float32"}, True, False),
        ({"precision": "BFloat16"}, False, True),
    ],
)
def test_precision_that_is_counted_with(wire: dict[str, str], *, gpu: bool, half: bool) -> None:
    """Auto is counted as bfloat16 on a GPU; on CPUs, as the larger float32."""
    assert is_half(TuningSpec.from_wire(wire), gpu=gpu) is half


def test_loading_needs_the_weights_once() -> None:
    """In float32 for a whole model, in bfloat16 for adapters, tensor by tensor in 4 bits."""
    shape = make_shape(LLAMA_3_8B)
    sizes = {
        method: estimate_loading(shape, TuningSpec.from_wire({"method": method}), half=True)
        for method in ("Full", "LoRA", "QLoRA")
    }

    assert sizes["Full"] == 4 * shape.parameters
    assert sizes["LoRA"] == 2 * shape.parameters
    assert sizes["QLoRA"] < sizes["LoRA"] / 4


def test_the_cpus_beside_gpus_hold_copies_and_what_is_offloaded() -> None:
    """Whichever is more: the weights at first, or later what a resume point is written from."""
    shape = make_shape(LLAMA_3_8B)
    full, lora = (TuningSpec.from_wire({"method": method}) for method in ("Full", "LoRA"))
    spread = make_load(workers=4, deepspeed=DeepSpeed.ZERO3)
    optimizer = make_load(workers=4, deepspeed=DeepSpeed.ZERO3, offload=Offload.OPTIMIZER)
    everything = make_load(workers=4, deepspeed=DeepSpeed.ZERO3, offload=Offload.ALL)
    count = shape.parameters

    assert estimate_copy(shape, full, make_load()) == 12 * count
    assert estimate_host(shape, full, make_load()) == 12 * count
    assert estimate_host(shape, full, spread) == 4 * count
    assert estimate_host(shape, lora, make_load()) == 2 * count
    assert estimate_host(shape, full, optimizer) == (12 + 16) * count // 4
    assert estimate_host(shape, full, everything) == (12 + 20) * count // 4


SHAPES = st.builds(
    lambda blocks, heads, inner, words: make_shape(
        {
            "model_type": "llama",
            "hidden_size": heads * 64,
            "intermediate_size": inner * 64,
            "num_hidden_layers": blocks,
            "num_attention_heads": heads,
            "vocab_size": words * 1000,
        }
    ),
    st.integers(1, 80),
    st.integers(1, 128),
    st.integers(1, 400),
    st.integers(1, 250),
)
TUNINGS = st.builds(
    lambda method, rank, again: TuningSpec.from_wire(
        {"method": method, "lora": {"rank": rank}, "activationCheckpointing": again}
    ),
    st.sampled_from(["LoRA", "QLoRA", "Full"]),
    st.integers(1, 128),
    st.sampled_from([str(each) for each in ActivationCheckpointing]),
)
LOADS = st.builds(
    Load,
    workers=st.sampled_from([1, 2, 4, 8]),
    deepspeed=st.sampled_from(list(DeepSpeed)),
    rows=st.integers(1, 64),
    tokens=st.integers(16, 32_768),
    answer=st.integers(1, 4096),
    half=st.booleans(),
    recompute=st.booleans(),
)


def grow(load: Load, **changes: Any) -> Load:
    """Return a load with some of it changed."""
    return Load(**{**load.__dict__, **changes})


@given(SHAPES, TUNINGS, LOADS, st.integers(1, 64), st.integers(1, 8192))
def test_more_rows_and_tokens_never_need_less(
    shape: ModelShape, tuning: TuningSpec, load: Load, rows: int, tokens: int
) -> None:
    """Memory grows with the micro-batch and with the length, and work with the length."""
    need = estimate_memory(shape, tuning, load).total
    longer = load.tokens + tokens

    assert estimate_memory(shape, tuning, grow(load, rows=load.rows + rows)).total > need
    assert estimate_memory(shape, tuning, grow(load, tokens=longer)).total > need
    assert count_flops(shape, tuning, longer) > count_flops(shape, tuning, load.tokens)


@given(SHAPES, TUNINGS, LOADS, st.sampled_from(["blocks", "hidden", "feed_forward", "vocabulary"]))
def test_larger_models_never_need_less(
    shape: ModelShape, tuning: TuningSpec, load: Load, part: str
) -> None:
    """Memory and work grow with each size of a model."""
    larger = parse_larger(shape, part)

    assert larger.parameters > shape.parameters
    assert estimate_memory(larger, tuning, load).total > estimate_memory(shape, tuning, load).total
    assert count_flops(larger, tuning, 512) > count_flops(shape, tuning, 512)


def parse_larger(shape: ModelShape, part: str) -> ModelShape:
    """Return the shape with one of its sizes doubled, its parameters counted anew."""
    sizes = shape.model_copy(update={part: 2 * getattr(shape, part)})
    return make_shape(
        {
            "model_type": "llama",
            "hidden_size": sizes.hidden,
            "intermediate_size": sizes.feed_forward,
            "num_hidden_layers": sizes.blocks,
            "num_attention_heads": sizes.hidden // 64,
            "vocab_size": sizes.vocabulary,
        }
    )


@given(SHAPES, TUNINGS, LOADS)
def test_more_workers_never_need_more_each(
    shape: ModelShape, tuning: TuningSpec, load: Load
) -> None:
    """Where ZeRO spreads the state, twice the workers hold no more each, and end earlier."""
    spread = grow(load, workers=max(2, load.workers), deepspeed=DeepSpeed.ZERO3)
    twice = grow(spread, workers=2 * spread.workers)
    hours = [
        estimate_hours(shape, tuning, examples=1000, workers=each, teraflops=989)
        for each in (1, 2, 4)
    ]

    assert (
        estimate_memory(shape, tuning, twice).total <= estimate_memory(shape, tuning, spread).total
    )
    assert hours == sorted(hours, reverse=True)


@given(SHAPES, LOADS)
def test_smaller_methods_need_less(shape: ModelShape, load: Load) -> None:
    """On one worker, QLoRA holds fewer bytes of weights than LoRA, and LoRA fewer than Full."""
    alone = grow(load, workers=1, deepspeed=DeepSpeed.NONE)
    held = [
        need.weights + need.trained
        for method in ("LoRA", "Full")
        for need in [
            estimate_memory(
                shape, TuningSpec.from_wire({"method": method, "lora": {"rank": 1}}), alone
            )
        ]
    ]

    assert held[0] < held[1]


def test_work_of_known_cases() -> None:
    """Per token of a row of 4,096 it is 48.2 GFLOP for all of an 8B model, and 33.2 for LoRA."""
    shape = make_shape(LLAMA_3_8B)
    full = count_flops(shape, TuningSpec.from_wire({"method": "Full"}), 4096)
    lora = count_flops(shape, TuningSpec.from_wire({"lora": {"rank": 1}}), 4096)

    assert full / 1e9 == pytest.approx(48.2, rel=0.01)
    assert lora / 1e9 == pytest.approx(33.2, rel=0.01)


def test_a_load_is_the_heaviest_that_settings_allow() -> None:
    """Every row of a micro-batch may be as long as `maxLength`, its answer shorter."""
    tuning = TuningSpec.from_wire({"microBatchSize": 4, "maxLength": 8192, "workers": 2})
    load = build_load(tuning, half=True)

    assert (load.rows, load.tokens, load.answer, load.workers) == (4, 8192, 2048, 2)
