"""A frozen layer and its LoRA adapter as one step of the forward and one of the backward pass.

PEFT's own layer adds the adapter's product in passes of their own over the output, converts its
input to the adapter's format and back, and leaves the sums of the backward pass to autograd. Here
the products are added where they are computed. Nothing is kept that the backward pass does not
need, and the input is not copied. In all but speed and rounding it is PEFT's layer, so that
checkpoints, merging and serving are as ever.
"""

from __future__ import annotations

from typing import Any

import torch
from peft import LoraConfig
from peft.tuners.lora.layer import Linear
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import nn
from torch.nn import functional


class FusedLoraLinear(Linear):  # type: ignore[misc] # PEFT has no types here
    """PEFT's LoRA layer, fused where the plain case is at hand: one adapter, no dropout."""

    def forward(self, x: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        """Return base and adapter applied to the input."""
        dtype = _find_format(x)
        if args or kwargs or not self._is_plain(dtype):
            result: torch.Tensor = super().forward(x, *args, **kwargs)
            return result
        (name,) = self.active_adapters
        base = self.get_base_layer()
        product: torch.Tensor = _LoraProduct.apply(
            x.reshape(-1, x.shape[-1]).to(dtype),
            base.weight.to(dtype),
            None if base.bias is None else base.bias.to(dtype),
            self.lora_A[name].weight.to(dtype),
            self.lora_B[name].weight.to(dtype),
            self.scaling[name],
        )
        return product.view(*x.shape[:-1], -1)

    def _is_plain(self, dtype: torch.dtype) -> bool:
        """Return whether this is what the fused step computes; else PEFT does."""
        if not torch.is_grad_enabled() or self.disable_adapters or self.merged:
            return False
        names = self.active_adapters
        if len(names) != 1 or names[0] not in self.lora_A or names[0] in self.lora_variant:
            return False
        name = names[0]
        first, second, base = self.lora_A[name], self.lora_B[name], self.get_base_layer()
        weights = (first.weight, second.weight, base.weight)
        return (
            type(base) is nn.Linear
            and type(self.lora_dropout[name]) is nn.Identity
            and second.bias is None
            and not any(part.requires_grad for part in base.parameters())
            # ZeRO-3 spreads weights over the workers, and gathers those of a layer that is called.
            and not any(hasattr(weight, "ds_id") for weight in weights)
            and (_is_autocast(base.weight) or all(weight.dtype == dtype for weight in weights))
        )


def use_fused_lora(config: LoraConfig) -> LoraConfig:
    """Let PEFT build the layers of this config fused; what is saved does not mention it."""
    config._register_custom_module({nn.Linear: _build_layer})  # noqa: SLF001 - documented by PEFT
    return config


def count_fused(model: nn.Module) -> int:
    """Count the fused layers of a model."""
    return sum(isinstance(part, FusedLoraLinear) for part in model.modules())


class _LoraProduct(torch.autograd.Function):  # type: ignore[misc] # torch has no types here
    """`x W' + b + s (x A') B'`, with gradients for x, A and B."""

    @staticmethod
    def forward(  # noqa: PLR0913, PLR0917 - the parts of one product
        ctx: Any,
        x: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        first: torch.Tensor,
        second: torch.Tensor,
        scaling: float,
    ) -> torch.Tensor:
        """Multiply, and keep what the gradients need."""
        ctx.scaling = scaling
        ctx.merges = _pays_to_merge(x, weight)
        if ctx.merges:
            ctx.save_for_backward(x, weight, first, second, None)
            return functional.linear(x, _merge(weight, first, second, scaling), bias)
        inner = x @ first.t()
        ctx.save_for_backward(x, weight, first, second, inner)
        return functional.linear(x, weight, bias).addmm_(inner, second.t(), alpha=scaling)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """Return the gradients of what `forward` was given."""
        x, weight, first, second, inner = ctx.saved_tensors
        scaling = ctx.scaling
        of_second = (gradient.t() @ (x @ first.t() if inner is None else inner)).mul_(scaling)
        of_inner = (gradient @ second).mul_(scaling)
        of_first = of_inner.t() @ x
        of_x = None
        if not ctx.needs_input_grad[0]:
            pass
        elif ctx.merges:
            of_x = gradient @ _merge(weight, first, second, scaling)
        else:
            of_x = (gradient @ weight).addmm_(of_inner, first)
        return of_x, None, None, of_first, of_second, None


def _pays_to_merge(x: torch.Tensor, weight: torch.Tensor) -> bool:
    """Return whether base and adapter are added up before they are multiplied with the input.

    It takes as much as passing so many rows through the adapter, and then spares that. In a short
    format the base's rounding would swallow a small adapter.
    """
    wide, narrow = weight.shape
    return x.dtype is torch.float32 and len(x) * (wide + narrow) > 2 * wide * narrow


def _merge(
    weight: torch.Tensor, first: torch.Tensor, second: torch.Tensor, scaling: float
) -> torch.Tensor:
    return torch.addmm(weight, second, first, alpha=scaling)


def _build_layer(target: Any, adapter_name: str, config: LoraConfig, **kwargs: Any) -> Any:
    """Build a fused layer, or nothing for layers of another kind, such as those in 4 bits."""
    base = target.get_base_layer() if isinstance(target, BaseTunerLayer) else target
    if type(base) is not nn.Linear or kwargs.pop("parameter_name", None) is not None:
        return None
    return FusedLoraLinear(target, adapter_name, config=config, **kwargs)


def _find_format(x: torch.Tensor) -> torch.dtype:
    """Return the format that the product is computed in."""
    return torch.get_autocast_dtype(x.device.type) if _is_autocast(x) else x.dtype


def _is_autocast(x: torch.Tensor) -> bool:
    return bool(torch.is_autocast_enabled(x.device.type))
