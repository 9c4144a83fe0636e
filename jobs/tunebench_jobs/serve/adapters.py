"""LoRA adapters of one base model side by side, mixed within a batch.

PEFT loads and checks the adapters. Its way to mix them (`adapter_names`) loops over adapters in
each of the layers; here all adapters of a layer are one pair of matrices, and a mask picks each
row's part, so that a mixed batch costs two small products a layer however many adapters there are.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from tunebench_jobs.errors import InputError

_REASON = "AdapterNotSupported"


class Route:
    """Which adapter each row of the batch at hand uses; shared by all layers."""

    def __init__(self) -> None:
        """Start with the base model."""
        self._bounds: list[tuple[int, int]] = []
        self.span = slice(0, 0)
        self.mask: Any = None

    @property
    def ranks(self) -> int:
        """Return the ranks of all adapters together."""
        return self._bounds[-1][1] if self._bounds else 0

    def reserve(self, rank: int) -> slice:
        """Give an adapter its columns."""
        self._bounds.append((self.ranks, self.ranks + rank))
        return slice(*self._bounds[-1])

    def choose(
        self,
        adapters: Sequence[int | None],
        dtype: Any = torch.float32,
        device: Any = None,
    ) -> None:
        """Set the adapter of every row; None is the base model."""
        chosen = set(adapters)
        self.mask, self.span = None, slice(0, 0)
        if chosen == {None}:
            return
        if len(chosen) == 1:
            (only,) = chosen
            self.span = slice(*self._bounds[only or 0])
            return
        self.span = slice(0, self.ranks)
        self.mask = torch.zeros(len(adapters), 1, self.ranks, dtype=dtype, device=device)
        for row, adapter in enumerate(adapters):
            if adapter is not None:
                self.mask[row, :, slice(*self._bounds[adapter])] = 1


class MixedLinear(nn.Module):  # type: ignore[misc]  # torch is not followed
    """A linear layer with the LoRA matrices of all adapters."""

    def __init__(self, base: nn.Linear, route: Route, down: Any, up: Any) -> None:
        """Wrap `base`; `down` is [in, ranks], `up` is [ranks, out] with the scaling in it."""
        super().__init__()
        self.base = base
        self._route = route
        self._down = down
        self._up = up

    def forward(self, x: Any) -> Any:
        """Return the base layer's result plus each row's own adapter's."""
        result = self.base(x)
        span = self._route.span
        if span.start == span.stop:
            return result
        hidden = x.to(self._down.dtype) @ self._down[:, span]
        if self._route.mask is not None:
            hidden = hidden * self._route.mask
        return result + (hidden @ self._up[span]).to(result.dtype)


def load_adapters(model: Any, folders: Sequence[Path]) -> tuple[Any, Route]:
    """Return the model with its adapters, numbered in the order of `folders`.

    Raises:
        InputError: An adapter does not fit the model, or is of a kind that cannot be mixed.
    """
    route = Route()
    if not folders:
        return model, route
    wrapped = _load_with_peft(model, folders)
    names = [_name(index) for index in range(len(folders))]
    layers = _find_layers(wrapped)
    spans = [route.reserve(max(_get_rank(layer, name) for _, _, layer in layers)) for name in names]
    for parent, attribute, layer in layers:
        setattr(parent, attribute, _build_mixed(layer, route, dict(zip(names, spans, strict=True))))
    return wrapped.get_base_model(), route


def _name(index: int) -> str:
    # PEFT's names may not have a dot, a variant's may.
    return f"adapter{index}"


def _load_with_peft(model: Any, folders: Sequence[Path]) -> Any:
    from peft import PeftModel  # noqa: PLC0415 - only where there are adapters

    wrapped = None
    for index, folder in enumerate(folders):
        try:
            if wrapped is None:
                wrapped = PeftModel.from_pretrained(model, str(folder), adapter_name=_name(index))
            else:
                wrapped.load_adapter(str(folder), adapter_name=_name(index))
        except (OSError, ValueError, KeyError, RuntimeError) as error:
            msg = f"adapter {folder} must fit its base model: {error}; train again"
            raise InputError(msg, reason="CheckpointBroken") from error
    return wrapped


def _find_layers(wrapped: Any) -> list[tuple[nn.Module, str, Any]]:
    """Return each LoRA layer with its place; all of them must be plain LoRA on linear layers."""
    from peft.tuners.lora.layer import LoraLayer  # noqa: PLC0415 - likewise
    from peft.tuners.tuners_utils import BaseTunerLayer  # noqa: PLC0415 - likewise
    from peft.utils.other import AuxiliaryTrainingWrapper  # noqa: PLC0415 - likewise

    found = []
    for parent in wrapped.modules():
        for attribute, layer in parent.named_children():
            if not isinstance(layer, BaseTunerLayer | LoraLayer | AuxiliaryTrainingWrapper):
                continue
            plain = (
                isinstance(layer, LoraLayer)
                and _is_linear(layer)
                and not layer.lora_variant
                and not layer.fan_in_fan_out
                and not any(layer.lora_bias.values())
            )
            if not plain:
                msg = (
                    f"adapter must be plain LoRA on linear layers, got {type(layer).__name__} "
                    f"for `{attribute}`; train with `method: LoRA` and its linear target modules"
                )
                raise InputError(msg, reason=_REASON)
            found.append((parent, attribute, layer))
    return found


def _is_linear(layer: Any) -> bool:
    """Whether a LoRA layer sits on a linear layer, of full weights or of ones in 4 bits."""
    from peft.tuners.lora.layer import Linear  # noqa: PLC0415 - likewise

    base = layer.base_layer
    if getattr(base.weight, "quant_state", None) is not None:
        return isinstance(base, nn.Linear)
    return isinstance(layer, Linear) and type(base) is nn.Linear


def _get_rank(layer: Any, name: str) -> int:
    return int(layer.lora_A[name].weight.shape[0]) if name in layer.lora_A else 0


def _build_mixed(layer: Any, route: Route, spans: dict[str, slice]) -> MixedLinear:
    base = layer.base_layer
    # PEFT keeps adapters in float32 beside weights of another format; they compute together here.
    packed = getattr(base.weight, "quant_state", None) is not None
    place = {
        "dtype": base.compute_dtype if packed else base.weight.dtype,
        "device": base.weight.device,
    }
    down = torch.zeros(base.in_features, route.ranks, **place)
    up = torch.zeros(route.ranks, base.out_features, **place)
    for name, span in spans.items():
        # An adapter may have fewer ranks here than elsewhere, or none: the rest stays zero.
        if rank := _get_rank(layer, name):
            columns = slice(span.start, span.start + rank)
            down[:, columns] = layer.lora_A[name].weight.detach().T
            up[columns] = layer.lora_B[name].weight.detach().T * layer.scaling[name]
    return MixedLinear(base, route, down, up)
