"""Tiny models with random weights, one for each kind of architecture in the benchmark.

Each is made from the config class of the real model, with its special traits switched on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

# Shared by all: small, and no special token beyond the vocabulary.
_SIZES: Mapping[str, Any] = MappingProxyType(
    {
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "max_position_embeddings": 2048,
        "bos_token_id": None,
        "eos_token_id": 0,
        "pad_token_id": None,
        "attention_dropout": 0.0,
    }
)


def _build_llama(vocabulary: int, **traits: Any) -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM  # noqa: PLC0415 - takes seconds

    return LlamaForCausalLM(LlamaConfig(vocab_size=vocabulary, **_SIZES | traits))


def _build_mistral(vocabulary: int, **traits: Any) -> Any:
    from transformers import MistralConfig, MistralForCausalLM  # noqa: PLC0415 - takes seconds

    return MistralForCausalLM(MistralConfig(vocab_size=vocabulary, **_SIZES | traits))


def _build_qwen2(vocabulary: int, **traits: Any) -> Any:
    from transformers import Qwen2Config, Qwen2ForCausalLM  # noqa: PLC0415 - takes seconds

    return Qwen2ForCausalLM(Qwen2Config(vocab_size=vocabulary, **_SIZES | traits))


def _build_gemma(vocabulary: int, **traits: Any) -> Any:
    from transformers import GemmaConfig, GemmaForCausalLM  # noqa: PLC0415 - takes seconds

    return GemmaForCausalLM(GemmaConfig(vocab_size=vocabulary, **_SIZES | traits))


def _build_gpt_bigcode(vocabulary: int, **traits: Any) -> Any:
    from transformers import GPTBigCodeConfig, GPTBigCodeForCausalLM  # noqa: PLC0415 - takes seconds

    config = GPTBigCodeConfig(
        vocab_size=vocabulary,
        n_embd=64,
        n_inner=128,
        n_layer=2,
        n_head=4,
        n_positions=2048,
        attn_pdrop=0.0,
        embd_pdrop=0.0,
        resid_pdrop=0.0,
        bos_token_id=0,
        eos_token_id=0,
        **traits,
    )
    return GPTBigCodeForCausalLM(config)


_LINEAR_ROPE = {"rope_type": "linear", "rope_theta": 100_000.0, "factor": 4.0}
_LLAMA_3_ROPE = {
    "rope_type": "llama3",
    "rope_theta": 500_000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}

# By what is special about it; the benchmark's models that are so stand in docs/models.md.
ARCHITECTURES: Mapping[str, Callable[[int], Any]] = MappingProxyType(
    {
        "llama": lambda size: _build_llama(size, num_key_value_heads=4),
        "llama-gqa": lambda size: _build_llama(size, num_key_value_heads=2),
        "llama-gqa-linear-rope": lambda size: _build_llama(
            size, num_key_value_heads=2, rope_parameters=_LINEAR_ROPE
        ),
        "llama-gqa-bias": lambda size: _build_llama(
            size,
            num_key_value_heads=2,
            attention_bias=True,
            mlp_bias=True,
            tie_word_embeddings=True,
        ),
        "llama3-rope": lambda size: _build_llama(
            size, num_key_value_heads=2, rope_parameters=_LLAMA_3_ROPE
        ),
        "mistral": lambda size: _build_mistral(size, num_key_value_heads=2, sliding_window=None),
        "mistral-window": lambda size: _build_mistral(
            size, num_key_value_heads=2, sliding_window=24
        ),
        "qwen2": lambda size: _build_qwen2(size, num_key_value_heads=4),
        "qwen2-gqa": lambda size: _build_qwen2(size, num_key_value_heads=2),
        "gemma": lambda size: _build_gemma(
            size, num_key_value_heads=4, head_dim=32, tie_word_embeddings=True
        ),
        "gpt-bigcode": lambda size: _build_gpt_bigcode(size, multi_query=True),
    }
)


def build_architecture(name: str, vocabulary: int, *, seed: int = 0) -> Any:
    """Build a tiny model of an architecture, its weights from the seed."""
    import torch  # noqa: PLC0415 - takes seconds to import

    torch.manual_seed(seed)
    return ARCHITECTURES[name](vocabulary)
