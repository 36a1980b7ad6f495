"""An adapted linear layer that multiplies its input once, with W + s B A, instead of with W, with A and with B."""

from __future__ import annotations

from typing import Any

import torch
from accelerate.utils import align_module_device
from peft.tuners.lora.layer import Linear
from torch import nn
from torch.nn import functional

CONTAINERS = (nn.ModuleDict, nn.ModuleList, nn.ParameterDict, nn.ParameterList)  # they compute nothing


def combine(model: nn.Module) -> None:
    """Let every LoRA layer of PEFT in `model` of which `knows` knows every part compute as `FusedLoraLinear` does.

    All other layers (quantised, of experts, DoRA and its like, with a bias of their own) stay as PEFT made them.
    """
    for module in model.modules():
        if knows(module):
            module.__class__ = FusedLoraLinear


def knows(layer: nn.Module) -> bool:
    """Tell whether W, its bias, one A, one B and a dropout are all that a layer has: each of just this type.

    Whatever else PEFT gives a layer, now or in a later version, is one more parameter, buffer, module or variant, or
    another class, and is seen here without having a name.
    """
    if type(layer) is not Linear or layer.lora_variant or len(layer.lora_A) != 1:
        return False
    name = next(iter(layer.lora_A))
    parts = {place: type(module) for place, module in layer.named_modules() if not isinstance(module, CONTAINERS)}
    dropout = parts.pop(f"lora_dropout.{name}", None)
    places = {"base_layer", f"lora_A.{name}", f"lora_B.{name}"}
    tensors = {place for place, _ in [*layer.named_parameters(), *layer.named_buffers()]}
    return (
        parts == {"": Linear, **dict.fromkeys(places, nn.Linear)}
        and dropout in (nn.Identity, nn.Dropout)
        and tensors - {"base_layer.bias"} == {f"{place}.weight" for place in places}
    )


class FusedLoraLinear(Linear):
    """PEFT's layer, the same up to rounding, with a third of the products forward and backward of a small model.

    It falls back on PEFT's own way where dropout is at work, where weights, adapter and input differ in their dtype
    (W + s B A in bfloat16 would lose most of B A, also under autocast), where W is trained or a hook listens inside,
    where another adapter has come since, and where there are fewer rows than forming the sum is worth.
    """

    def forward(self, x: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        """Return `x (W + s B A)ᵀ + bias`, shapes `[…, in]` to `[…, out]`."""
        if args or kwargs or len(self.lora_A) != 1 or self.active_adapters != list(self.lora_A):
            return super().forward(x, *args, **kwargs)
        name = self.active_adapters[0]
        base: Any = self.base_layer
        parts: list[Any] = [base, self.lora_A[name], self.lora_B[name]]
        dropout = self.lora_dropout[name]
        a, b = (part.weight for part in parts[1:])
        out, width = base.weight.shape
        if (
            not x.dtype == base.weight.dtype == a.dtype == b.dtype
            or torch.is_autocast_enabled(x.device.type)
            or (self.training and type(dropout) is not nn.Identity)
            or x.numel() // width * (width + out) < width * out
            or self.disable_adapters
            or self.merged
            or any(parameter.requires_grad for parameter in base.parameters())
            or any(_is_changed(part) for part in [*parts, dropout])
        ):
            return super().forward(x)
        scale = self.scaling[name]
        with align_module_device(base):  # a weight that lies on the disk is read for this
            if torch.is_grad_enabled():
                return _Combined.apply(x, base.weight, base.bias, a, b, scale)
            return functional.linear(x, torch.addmm(base.weight, b, a, alpha=scale), base.bias)


def _is_changed(module: nn.Module) -> bool:
    """Tell whether hooks listen to a module or change its output; those of accelerate only bring its weights."""
    hooks: Any = (module._forward_hooks, module._forward_pre_hooks, module._backward_hooks, module._backward_pre_hooks)  # pyright: ignore[reportPrivateUsage]
    return any(hooks) or ("forward" in vars(module) and not hasattr(module, "_hf_hook"))


class _Combined(torch.autograd.Function):
    """The frozen W needs no gradient, so that of B A is not formed either: `[n, r]` products give those of A and B."""

    @staticmethod
    def forward(
        ctx: Any,
        x: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        a: torch.Tensor,
        b: torch.Tensor,
        scale: float,
    ) -> torch.Tensor:
        ctx.save_for_backward(x, a, b)
        ctx.weight, ctx.scale = weight, scale
        return functional.linear(x, torch.addmm(weight, b, a, alpha=scale), bias)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x, a, b = ctx.saved_tensors
        rows, gradient = x.flatten(0, -2), gradients[0].flatten(0, -2)
        through = None
        if ctx.needs_input_grad[0]:  # not so where nothing below is trained
            through = (gradient @ torch.addmm(ctx.weight, b, a, alpha=ctx.scale)).view_as(x)
        # thin factors stand on the left and lie in rows: BLAS is four times as fast with them so as the other way round
        of_b = ((a @ rows.mT) @ gradient).mT
        of_a = (b.mT @ gradient.mT) @ rows
        return through, None, None, of_a.mul_(ctx.scale), of_b.mul_(ctx.scale), None
