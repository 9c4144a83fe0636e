"""What training costs in floating-point operations: a weight, and a look from token to token. Pure.

The planner's estimate of hours and the share of a GPU's peak (MFU) both count with these;
docs/training.md has the formula.
"""

from __future__ import annotations

# A multiplication and an addition for each weight, or number of a head.
_FORWARD = 2
# Backward, each as much as forward: to the inputs, and to the weights.
_INPUTS, _WEIGHTS = 2, 2
# Scores and their sums: two products for each pair of tokens.
_PRODUCTS = 2


def cost_of_weight(*, flows: bool = False, learns: bool = False) -> int:
    """Return the FLOPs of one weight for one token.

    Args:
        flows: Whether gradients go through it, to what comes before.
        learns: Whether it is trained.
    """
    return _FORWARD + (_INPUTS if flows else 0) + (_WEIGHTS if learns else 0)


def cost_of_pair(width: int, *, flows: bool = False) -> int:
    """Return the FLOPs of a block's attention for one token and one that it sees.

    Args:
        width: Heads times head size.
        flows: Whether gradients go through the block.
    """
    # Neither product has weights, so that backward is twice forward.
    return _PRODUCTS * _FORWARD * width * (3 if flows else 1)


def count_pairs(tokens: int, window: int | None) -> int:
    """Return how many tokens all tokens see, themselves included.

    Args:
        tokens: Tokens of an example.
        window: How far back a token looks, itself included; None: to the beginning.
    """
    if window is None or tokens <= window:
        return tokens * (tokens + 1) // 2
    return window * (window + 1) // 2 + (tokens - window) * window
