"""Shapes of known models, for tests of how trainings are sized."""

from __future__ import annotations

from typing import Any

from tunebench_api.sizing.shape import ModelShape, parse_shape

# As published in their `config.json`.
LLAMA_3_8B: dict[str, Any] = {
    "model_type": "llama",
    "hidden_size": 4096,
    "intermediate_size": 14_336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "vocab_size": 128_256,
    "tie_word_embeddings": False,
}
QWEN_0_5B: dict[str, Any] = {
    "model_type": "qwen2",
    "hidden_size": 896,
    "intermediate_size": 4864,
    "num_hidden_layers": 24,
    "num_attention_heads": 14,
    "num_key_value_heads": 2,
    "vocab_size": 151_936,
    "tie_word_embeddings": True,
}
GEMMA_7B: dict[str, Any] = {
    "model_type": "gemma",
    "hidden_size": 3072,
    "intermediate_size": 24_576,
    "num_hidden_layers": 28,
    "num_attention_heads": 16,
    "num_key_value_heads": 16,
    "head_dim": 256,
    "vocab_size": 256_000,
}
GRANITE_34B: dict[str, Any] = {
    "model_type": "gpt_bigcode",
    "n_embd": 6144,
    "n_inner": 24_576,
    "n_layer": 88,
    "n_head": 48,
    "multi_query": True,
    "vocab_size": 49_152,
}


def make_shape(config: dict[str, Any]) -> ModelShape:
    """Return the shape of a config that has one."""
    shape = parse_shape(config)
    assert shape is not None
    return shape
