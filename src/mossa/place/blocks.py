"""Blocks between base and tuned: with the update of one part alone, or with a random update of the same size."""

from __future__ import annotations

import copy
from typing import Any

import torch
from peft.tuners.lora import LoraLayer
from torch import nn

from mossa.errors import ModelError

ATTENTION = ("attn", "attention")


def like(module: nn.Module, instead: dict[int, Any] | None = None) -> Any:
    """Return a copy of a module that shares every weight and setting with it; `instead` maps ids to replacements."""
    shared = [*module.parameters(), *module.buffers(), *(m.config for m in module.modules() if hasattr(m, "config"))]
    return copy.deepcopy(module, {id(each): each for each in shared} | (instead or {}))


def part_of(base: nn.Module, tuned: nn.Module, part: str) -> nn.Module:
    """Return the base's block with the tuned `attention` or `feed-forward`, which is everything but attention.

    Raises `ModelError` if no child of the block is called attention.
    """
    names = [name for name, _ in base.named_children()]
    attention = [name for name in names if any(word in name for word in ATTENTION) and "norm" not in name]
    if not attention:
        raise ModelError(
            f"{type(base).__name__} has no part called attention, only {', '.join(names)}. Leave `parts` out."
        )
    chosen = attention if part == "attention" else [name for name in names if name not in attention]
    mixed = copy.copy(base)
    mixed.__dict__["_modules"] = {**dict(base.named_children()), **{name: getattr(tuned, name) for name in chosen}}
    return mixed


def random_update(base: nn.Module, tuned: nn.Module, seed: int) -> nn.Module | None:
    """Return the tuned block with each update replaced by a random one of the same Frobenius norm (and rank, if LoRA).

    None for adapters of other kinds than LoRA.
    """
    drawn, generator = like(tuned), torch.Generator().manual_seed(seed)
    if any(hasattr(module, "adapter_layer_names") and not isinstance(module, LoraLayer) for module in tuned.modules()):
        return None
    layers: list[Any] = [module for module in drawn.modules() if isinstance(module, LoraLayer)]
    for layer in layers:
        for name in layer.active_adapters:
            a, b = layer.lora_A[name], layer.lora_B[name]
            size = _norm(a.weight, b.weight)
            a.weight, b.weight = (_noise(each.weight, generator) for each in (a, b))
            b.weight.data *= size / _norm(a.weight, b.weight)
    if not layers:
        originals = dict(base.named_parameters())
        for name, weight in list(drawn.named_parameters()):
            noise, change = _noise(weight, generator), weight - originals[name].to(weight.device)
            owner, _, leaf = name.rpartition(".")
            noise.data *= change.norm() / noise.norm()
            setattr(drawn.get_submodule(owner), leaf, nn.Parameter(weight - change + noise, requires_grad=False))
    return drawn


def _noise(weight: torch.Tensor, generator: torch.Generator) -> nn.Parameter:
    drawn = torch.randn(weight.shape, generator=generator, dtype=torch.float32).to(weight.device, weight.dtype)
    return nn.Parameter(drawn, requires_grad=False)


def _norm(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Return ‖B A‖ from r x r products."""
    return ((b.mT @ b) * (a @ a.mT)).sum().clamp_min(0).sqrt()
