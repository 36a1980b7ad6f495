"""An adapted linear layer that multiplies its input once, with W + s B A, instead of with W, with A and with B."""

from __future__ import annotations

from typing import Any

import torch
from accelerate.utils import align_module_device
from peft.tuners.lora.layer import Linear
from torch import nn
from torch.nn import functional


def combine(model: nn.Module) -> None:
    """Let every plain LoRA layer of PEFT in `model` that holds a plain linear layer compute as `CombinedLinear` does.

    Layers of other kinds (quantised, of experts, DoRA and its like) stay as PEFT made them.
    """
    for module in model.modules():
        if type(module) is Linear and type(module.base_layer) is nn.Linear and not module.lora_variant:
            module.__class__ = CombinedLinear


class CombinedLinear(Linear):
    """PEFT's layer, the same up to rounding, with a third of the products forward and backward of a small model.

    It falls back on PEFT's own way where dropout is at work, where weights, adapter and input differ in their dtype
    (W + s B A in bfloat16 would lose most of B A), and where there are fewer rows than forming the sum is worth.
    """

    def forward(self, x: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        """Return `x (W + s B A)ᵀ + bias`, shapes `[…, in]` to `[…, out]`."""
        base: Any = self.base_layer
        name = self.active_adapter if isinstance(self.active_adapter, str) else self.active_adapter[0]
        a: Any = self.lora_A[name].weight
        b: Any = self.lora_B[name].weight
        out, width = base.weight.shape
        if (
            args
            or kwargs
            or not x.dtype == base.weight.dtype == a.dtype == b.dtype
            or (self.training and type(self.lora_dropout[name]) is not nn.Identity)
            or x.numel() // width * (width + out) < width * out
            or self.disable_adapters
            or self.merged
            or len(self.active_adapters) > 1
        ):
            return super().forward(x, *args, **kwargs)
        scale = self.scaling[name]
        with align_module_device(base):  # a weight that lies on the disk is read for this
            if torch.is_grad_enabled():
                return _Combined.apply(x, base.weight, base.bias, a, b, scale)
            return functional.linear(x, torch.addmm(base.weight, b, a, alpha=scale), base.bias)


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
