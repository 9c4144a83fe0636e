"""How much a training must compute, and what share of a GPU's peak that is (MFU).

docs/training.md has the formula. Only what the loss needs is counted: no padding, no logits of
prompt tokens, no second forward pass, and no gradients of weights that are frozen.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from tunebench_api.sizing.operations import cost_of_pair, cost_of_weight, count_pairs
from tunebench_api.v1alpha1 import Precision
from tunebench_jobs.train.anatomy import find_block, find_head_size

_SLIDING = "sliding_attention"
# Keys and values of a block are computed of all tokens.
_SEEN_BY_ALL = ("k_proj", "v_proj")

# Dense BF16 TFLOP/s of NVIDIA's data sheets, without sparsity, by the words of a GPU's name. The
# first row whose words are all there counts.
_PEAKS: tuple[tuple[frozenset[str], float], ...] = (
    # nvidia.com/en-us/data-center/dgx-b200 and gb200-nvl72, for one GPU
    (frozenset({"GB200"}), 2500),
    (frozenset({"B200"}), 2250),
    # nvidia.com/en-us/data-center/h200, half of what is given with sparsity
    (frozenset({"H200", "NVL"}), 835.5),
    (frozenset({"H200"}), 989.5),
    (frozenset({"GH200"}), 989.5),
    # nvidia.com/en-us/data-center/h100, likewise
    (frozenset({"H100", "NVL"}), 835.5),
    (frozenset({"H100", "PCIE"}), 756.5),
    (frozenset({"H100"}), 989.5),
    # nvidia.com/en-us/data-center: a100, a40, products/a30-gpu, products/a10-gpu
    (frozenset({"A100"}), 312),
    (frozenset({"A40"}), 149.7),
    (frozenset({"A30"}), 165),
    (frozenset({"A10"}), 125),
    # The same place: l40s, l40, l4.
    (frozenset({"L40S"}), 362.05),
    (frozenset({"L40"}), 181.05),
    (frozenset({"L4"}), 121),
    # Appendix A of NVIDIA's Ada architecture paper: BF16 with FP32 accumulate
    (frozenset({"RTX", "4090"}), 165.2),
    (frozenset({"RTX", "3090"}), 71),
)
# A slice of a GPU goes by the name of the whole.
_SLICE = "MIG"


@dataclass(frozen=True)
class Cost:
    """FLOPs of one step's parts, forward and backward."""

    # For each token, and for each token of an answer besides.
    token: int
    answer: int
    # For each pair of a token and one that it sees, by the length of the window; None: all before.
    pairs: Mapping[int | None, int]
    # The same in a last block that computes the positions of answers alone.
    answer_pairs: Mapping[int | None, int] = field(default_factory=dict)

    def count(self, tokens: int, answer: int) -> float:
        """Return the FLOPs of one example."""
        seen = sum(each * count_pairs(tokens, window) for window, each in self.pairs.items())
        # An answer's token is predicted one place before it.
        last, first = tokens - 1, tokens - 1 - answer
        seen += sum(
            each * (count_pairs(last, window) - count_pairs(first, window))
            for window, each in self.answer_pairs.items()
        )
        return float(self.token * tokens + self.answer * answer + seen)


def build_cost(
    model: Any, count: Callable[[Any], int], *, answer_rows: bool = False
) -> Cost | None:
    """Return what a model's training costs, as its parameters say; None: not known.

    Args:
        model: With its adapters, where it has some; what is not trained is frozen.
        count: Returns the numbers of a parameter.
        answer_rows: Whether the last block computes the positions of answers alone.
    """
    config = model.config
    if _has_experts(config):
        # Which weights a token meets is not known beforehand.
        return None
    head = model.get_output_embeddings().weight
    tables = {id(part.weight) for part in model.modules() if isinstance(part, nn.Embedding)}
    inner = {
        name: part
        for name, part in model.named_parameters()
        if part.ndim > 1 and id(part) not in tables and part is not head
    }
    lowest = _find_lowest(model, inner, tables)
    last = config.num_hidden_layers - 1
    token, answer = 0, count(head) * cost_of_weight(flows=True, learns=head.requires_grad)
    for name, part in inner.items():
        block = find_block(name)
        flows = block is None or block >= lowest
        cost = count(part) * cost_of_weight(flows=flows, learns=part.requires_grad)
        if answer_rows and block == last and not any(word in name for word in _SEEN_BY_ALL):
            answer += cost
        else:
            token += cost
    whole = last if answer_rows else last + 1
    return Cost(
        token,
        answer,
        _count_pair_costs(config, lowest, range(whole)),
        _count_pair_costs(config, lowest, range(whole, last + 1)),
    )


def _find_lowest(model: Any, inner: Mapping[str, Any], tables: set[int]) -> int:
    """Return the lowest block that gradients flow to: that of the first part that learns."""
    if any(id(part) in tables and part.requires_grad for part in model.parameters()):
        return 0
    blocks: int = model.config.num_hidden_layers
    trained = [find_block(name) for name, part in inner.items() if part.requires_grad]
    return min((blocks if block is None else block for block in trained), default=blocks)


def find_peak(name: str, precision: Precision) -> float | None:
    """Return the peak FLOP/s of a GPU by its name; None: not known, or not in this format."""
    words = set(re.split(r"[\s\-_]+", name.upper()))
    if precision is not Precision.BFLOAT16 or _SLICE in words:
        return None
    return next((peak * 1e12 for wanted, peak in _PEAKS if wanted <= words), None)


def _count_pair_costs(config: Any, lowest: int, blocks: range) -> dict[int | None, int]:
    width = config.num_attention_heads * find_head_size(config)
    costs: Counter[int | None] = Counter()
    for block in blocks:
        costs[_find_window(config, block)] += cost_of_pair(width, flows=block >= lowest)
    return dict(costs)


def _find_window(config: Any, block: int) -> int | None:
    window: int | None = getattr(config, "sliding_window", None)
    if not getattr(config, "use_sliding_window", True):
        return None
    kinds = getattr(config, "layer_types", None)
    return window if kinds is None or kinds[block] == _SLIDING else None


def _has_experts(config: Any) -> bool:
    names = ("num_experts", "num_local_experts", "n_routed_experts")
    return any(getattr(config, name, None) for name in names)
