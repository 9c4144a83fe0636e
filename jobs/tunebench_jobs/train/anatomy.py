"""Where the parts of a loaded model are, whatever architecture it has."""

from __future__ import annotations

import re
from typing import Any


def find_inner(model: Any) -> Any:
    """Return the model inside its adapters, or the model itself."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def find_block(name: str) -> int | None:
    """Return the number of the block of a parameter such as `model.layers.7.mlp.up_proj.weight`."""
    number = re.search(r"\.(\d+)\.", name)
    return None if number is None else int(number[1])


def find_head_size(config: Any) -> int:
    """Return the numbers of one attention head."""
    size: int = (
        getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    )
    return size or int(config.hidden_size) // int(config.num_attention_heads)
