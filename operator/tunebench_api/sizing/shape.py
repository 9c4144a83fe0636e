"""What a model's memory and work follow from: read from its config, or estimated from its size."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from tunebench_api.v1alpha1 import Wire

# Of the preflight's summary: the shapes of the base models, by `base`.
SHAPES_KEY = "shapes"


class ShapeSource(StrEnum):
    """What a shape was made from, the surest first."""

    # The model's own config, and its weights where they could be counted.
    CONFIG = "Config"
    # `sizeBillions` of the run.
    DECLARED = "Declared"
    # The size in the model's name.
    NAME = "Name"


class ModelShape(Wire):
    """The sizes of a decoder-only transformer."""

    source: ShapeSource
    parameters: int
    blocks: int
    hidden: int
    # Widths of the queries, and of the keys (the values have as many).
    query: int
    key: int
    feed_forward: int
    # Whether the feed-forward layer has a gate beside it.
    gated: bool = True
    vocabulary: int
    # Whether input and output share their embeddings.
    tied: bool = False

    @property
    def block_linear(self) -> int:
        """Parameters of one block's linear layers."""
        return sum(width_in * width_out for width_in, width_out in self.list_layers())

    @property
    def linear(self) -> int:
        """Parameters of the linear layers of all blocks."""
        return self.blocks * self.block_linear

    @property
    def output(self) -> int:
        """Parameters that compute the logits, shared or not."""
        return self.vocabulary * self.hidden

    def list_layers(self, *, attention_only: bool = False) -> list[tuple[int, int]]:
        """Return inputs and outputs of each linear layer of a block."""
        hidden, inner = self.hidden, self.feed_forward
        attention = [(hidden, self.query), (hidden, self.key), (hidden, self.key)]
        attention.append((self.query, hidden))
        if attention_only:
            return attention
        inward = [(hidden, inner)] * (2 if self.gated else 1)
        return [*attention, *inward, (inner, hidden)]


# Feed-forward layers without a gate.
_PLAIN = frozenset({"gpt_bigcode", "gpt2", "gpt_neox", "gptj", "opt", "bloom", "starcoder2", "phi"})
# A config is a stranger's word.
_MOST = 100_000_000
_TIED = frozenset({"gpt_bigcode", "gpt2", "gemma", "gemma2", "bloom", "opt"})


def parse_shape(config: Mapping[str, Any], parameters: int | None = None) -> ModelShape | None:
    """Return the shape that a `config.json` describes; none where it lacks a size.

    `parameters` are those counted in the weights; absent: they follow from the sizes.
    """
    inner = config.get("text_config")
    config = inner if isinstance(inner, Mapping) else config
    kind = str(config.get("model_type", ""))
    hidden = _find(config, "hidden_size", "n_embd", "d_model")
    blocks = _find(config, "num_hidden_layers", "n_layer", "num_layers")
    heads = _find(config, "num_attention_heads", "n_head")
    vocabulary = _find(config, "vocab_size")
    if not (hidden and blocks and heads and vocabulary):
        return None
    key_heads = _find(config, "num_key_value_heads") or heads
    if config.get("multi_query"):
        key_heads = 1
    width = _find(config, "head_dim") or hidden // heads
    draft = ModelShape(
        source=ShapeSource.CONFIG,
        parameters=0,
        blocks=blocks,
        hidden=hidden,
        query=heads * width,
        key=key_heads * width,
        feed_forward=_find(config, "intermediate_size", "n_inner", "ffn_dim") or 4 * hidden,
        gated=kind not in _PLAIN,
        vocabulary=vocabulary,
        tied=bool(config.get("tie_word_embeddings", kind in _TIED)),
    )
    return draft.model_copy(update={"parameters": parameters or _count(draft)})


def _find(config: Mapping[str, Any], *names: str) -> int | None:
    """Return the first of some fields that holds a positive number; a config may say anything."""
    values = (config.get(name) for name in names)
    return next((each for each in values if type(each) is int and 0 < each <= _MOST), None)


def _count(shape: ModelShape) -> int:
    """Count parameters: embeddings, linear layers and norms; biases are too few to matter."""
    embeddings = shape.output * (1 if shape.tied else 2)
    return embeddings + shape.linear + (2 * shape.blocks + 1) * shape.hidden


# Published sizes of open models, by parameters in billions: blocks, hidden, query, key,
# feed-forward, vocabulary, tied. The widest vocabularies and keys of each size, so that an estimate
# errs on the safe side.
_TYPICAL: tuple[tuple[float, tuple[int, int, int, int, int, int, bool]], ...] = (
    (0.135, (30, 576, 576, 192, 1536, 49_152, True)),  # SmolLM2-135M
    (0.36, (32, 960, 960, 320, 2560, 49_152, True)),  # SmolLM2-360M
    (0.5, (24, 896, 896, 128, 4864, 151_936, True)),  # Qwen2.5-0.5B
    (1.2, (16, 2048, 2048, 512, 8192, 128_256, True)),  # Llama-3.2-1B
    (1.5, (28, 1536, 1536, 256, 8960, 151_936, True)),  # Qwen2.5-1.5B
    (3.2, (28, 3072, 3072, 1024, 8192, 128_256, True)),  # Llama-3.2-3B
    (6.7, (32, 4096, 4096, 4096, 11_008, 102_400, False)),  # DeepSeek-7B: no grouped keys
    (8.0, (32, 4096, 4096, 1024, 14_336, 128_256, False)),  # Llama-3.1-8B
    (13.0, (40, 5120, 5120, 5120, 13_824, 32_000, False)),  # Llama-2-13B
    (14.8, (48, 5120, 5120, 1024, 13_824, 152_064, False)),  # Qwen2.5-14B
    (22.2, (56, 6144, 6144, 1024, 16_384, 32_768, False)),  # Codestral-22B
    (32.5, (64, 5120, 5120, 1024, 27_392, 152_064, False)),  # Qwen1.5-32B
    (33.7, (48, 8192, 8192, 1024, 22_016, 32_000, False)),  # CodeLlama-34B
    (70.6, (80, 8192, 8192, 1024, 28_672, 128_256, False)),  # Llama-3.1-70B
)
# As in `codellama-7b-hf`, `Qwen1.5-32B`, `smollm2-135m` and, of mixtures of experts, `8x7B`.
_SIZE = re.compile(r"(?<![a-z0-9.])(?:(\d{1,3})x)?(\d{1,4}(?:\.\d{1,3})?)([bm])(?![a-z0-9])")


def estimate_shape(base: str, declared_billions: str | None = None) -> ModelShape | None:
    """Return the shape that a model of this size has usually; none where nothing tells its size."""
    billions = float(declared_billions) if declared_billions else find_billions(base)
    if not billions:
        return None
    _, sizes = min(_TYPICAL, key=lambda row: abs(math.log(row[0] / billions)))
    blocks, hidden, query, key, feed_forward, vocabulary, tied = sizes
    return ModelShape(
        source=ShapeSource.DECLARED if declared_billions else ShapeSource.NAME,
        parameters=round(billions * 1e9),
        blocks=blocks,
        hidden=hidden,
        query=query,
        key=key,
        feed_forward=feed_forward,
        vocabulary=vocabulary,
        tied=tied,
    )


def find_billions(base: str) -> float | None:
    """Return the size in a model's name, in billions of parameters."""
    found = _SIZE.findall(base.rstrip("/").rpartition("/")[2].lower())
    if not found:
        return None
    experts, number, unit = found[-1]
    return float(number) * int(experts or 1) / (1000 if unit == "m" else 1) or None
