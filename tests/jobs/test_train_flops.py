"""What a training computes, counted by hand and by PyTorch; and peaks that are known or absent."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch.utils.flop_counter import FlopCounterMode
from transformers import LlamaConfig, LlamaForCausalLM, MistralConfig, MistralForCausalLM

from tunebench_api.sizing.operations import count_pairs
from tunebench_api.v1alpha1 import Precision
from tunebench_jobs.train.flops import build_cost, find_peak
from tunebench_jobs.train.gauges import Gauges
from tunebench_jobs.train.layout import Position

pytestmark = [
    pytest.mark.jobs,
    # PEFT asks transformers in the old way.
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning"),
]

SIZES: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 96,
    "max_position_embeddings": 256,
}
TOKENS = 40


def make_model(*, lora: bool = False, blocks: list[int] | None = None, **sizes: Any) -> Any:
    """Return a Llama with random weights, with adapters where they are asked for."""
    model = LlamaForCausalLM(LlamaConfig(**SIZES | sizes))
    if not lora:
        return model
    config = LoraConfig(
        task_type="CAUSAL_LM",
        r=4,
        target_modules=[
            "q_proj",
            "k_proj",
            "v_proj",
            "o_proj",
            "gate_proj",
            "up_proj",
            "down_proj",
        ],
        layers_to_transform=blocks,
    )
    return get_peft_model(model, config)


def count(parameter: Any) -> int:
    """Return the numbers of a parameter."""
    return int(parameter.numel())


def measure(model: Any) -> int:
    """Return the FLOPs of a forward and a backward pass as PyTorch counts them, all logits."""
    model.train()
    model.config._attn_implementation = "eager"
    ids = torch.arange(TOKENS)[None] % 90
    with FlopCounterMode(display=False) as counter:
        model(input_ids=ids, use_cache=False).logits.sum().backward()
    return int(counter.get_total_flops())


def test_full_tuning_is_six_flops_a_weight() -> None:
    """By hand: 6 for each weight and token, 12 for each pair of tokens, head number and block."""
    cost = build_cost(make_model(), count)
    block = 32 * 32 * 2 + 32 * 16 * 2 + 3 * 32 * 48

    assert cost is not None
    assert (cost.token, cost.answer) == (6 * 3 * block, 6 * 32 * 96)
    assert cost.pairs == {None: 12 * 32 * 3}
    assert cost.count(10, 2) == cost.token * 10 + cost.answer * 2 + 12 * 32 * 3 * 55


def test_frozen_weights_cost_no_gradients() -> None:
    """By hand: 4 for each frozen weight, 6 for each number of an adapter."""
    cost = build_cost(make_model(lora=True), count)
    block = 32 * 32 * 2 + 32 * 16 * 2 + 3 * 32 * 48
    adapters = 4 * (2 * 64 + 2 * 48 + 3 * 80)

    assert cost is not None
    assert cost.token == 3 * (4 * block + 6 * adapters)
    assert cost.answer == 4 * 32 * 96


def test_blocks_below_the_adapters_are_passed_once() -> None:
    """Nothing flows back into them."""
    cost, whole = (
        build_cost(make_model(lora=True, blocks=blocks), count) for blocks in ([2], [0, 1, 2])
    )
    block = 32 * 32 * 2 + 32 * 16 * 2 + 3 * 32 * 48
    adapters = 4 * (2 * 64 + 2 * 48 + 3 * 80)

    assert cost is not None
    assert whole is not None
    assert cost.token == 2 * 2 * block + 4 * block + 6 * adapters
    assert cost.pairs == {None: 4 * 32 * (2 + 3)}
    assert whole.pairs == {None: 12 * 32 * 3}


def test_a_last_block_of_answers_alone_is_counted_so() -> None:
    """Keys and values of all tokens; all else, and what is looked at, of the answers."""
    cost = build_cost(make_model(), count, answer_rows=True)
    seen, rest = 32 * 16 * 2, 32 * 32 * 2 + 3 * 32 * 48
    # Of ten tokens the last two are the answer, predicted by the eighth and ninth.
    expected = 6 * (2 * (seen + rest) + seen) * 10 + 6 * (32 * 96 + rest) * 2
    expected += 12 * 32 * 2 * 55 + 12 * 32 * (8 + 9)

    assert cost is not None
    assert cost.count(10, 2) == expected


@pytest.mark.parametrize("lora", [False, True])
def test_pytorch_counts_the_same(*, lora: bool) -> None:
    """All logits, and attention without its causal half, as PyTorch's operators compute it.

    Of the first block, the inputs of whose first layers need no gradient, ours counts that too.
    """
    model = make_model(lora=lora)
    cost = build_cost(model, count)
    assert cost is not None
    pairs = cost.pairs[None]
    ours = (cost.token + cost.answer) * TOKENS + pairs * TOKENS * TOKENS

    assert measure(model) == pytest.approx(ours, rel=0.04)


def test_a_window_bounds_what_a_token_sees() -> None:
    """Counted one by one; and a model says its window."""
    for tokens, window in ((5, 3), (3, 3), (8, 1), (2, 9)):
        seen = sum(min(place, window) for place in range(1, tokens + 1))
        assert count_pairs(tokens, window) == seen
    model = MistralForCausalLM(MistralConfig(**SIZES, sliding_window=16))
    cost = build_cost(model, count)

    assert cost is not None
    assert cost.pairs == {16: 12 * 32 * 3}


def test_tied_embeddings_are_one_head() -> None:
    """Looking a token up costs nothing; the same weights as output layer do."""
    tied = build_cost(make_model(tie_word_embeddings=True), count)

    assert tied == build_cost(make_model(tie_word_embeddings=False), count)


@pytest.mark.parametrize(
    ("name", "teraflops"),
    [
        ("NVIDIA H100 80GB HBM3", 989.5),
        ("NVIDIA H100 PCIe", 756.5),
        ("NVIDIA H100 NVL", 835.5),
        ("NVIDIA H200", 989.5),
        ("NVIDIA H200 NVL", 835.5),
        ("NVIDIA A100-SXM4-80GB", 312),
        ("NVIDIA L40S", 362.05),
        ("NVIDIA L4", 121),
        ("NVIDIA GeForce RTX 4090", 165.2),
        # Not the A100, nor a whole H100.
        ("NVIDIA RTX A1000", None),
        ("NVIDIA H100 80GB HBM3 MIG 1g.10gb", None),
        ("Tesla T4", None),
        ("AMD Instinct MI300X", None),
    ],
)
def test_peaks_are_known_or_absent(name: str, teraflops: float | None) -> None:
    """A GPU that is not in the table has none."""
    found = find_peak(name, Precision.BFLOAT16)

    assert found == (None if teraflops is None else teraflops * 1e12)
    assert find_peak(name, Precision.FLOAT32) is None


def test_a_cpu_has_no_share_of_a_peak() -> None:
    """Memory it has."""
    gauges = Gauges(torch.device("cpu"), 1, Precision.BFLOAT16)
    after = Position(step=2, seconds=2.0, flops=1e12)

    assert gauges.compute_mfu(Position(), after) is None
    assert gauges.read_utilization() is None
    assert gauges.mean_utilization is None
    assert gauges.read_peak_memory() > 50 << 20
