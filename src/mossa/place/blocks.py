"""The blocks of a base and of a tuned model: which of them differ, and blocks that are part base, part tuned."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import torch
from peft.tuners.lora import LoraLayer
from peft.tuners.tuners_utils import BaseTunerLayer
from peft.utils.other import AuxiliaryTrainingWrapper
from torch import nn

from mossa.errors import ModelError
from mossa.models.adapters import product_norm
from mossa.models.blocks import blocks_of

ATTENTION = ("attn", "attention")

ENDS = 0  # the index that stands for embeddings, final norm and head


def like(module: nn.Module, instead: dict[int, Any] | None = None) -> Any:
    """Return a copy of a module that shares every weight and setting with it; `instead` maps ids to replacements."""
    shared = [*module.parameters(), *module.buffers(), *(m.config for m in module.modules() if hasattr(m, "config"))]
    return copy.deepcopy(module, {id(each): each for each in shared} | (instead or {}))


def part_of(base: nn.Module, tuned: nn.Module, part: str) -> nn.Module:
    """Return the base's block with the tuned `attention` or `feed-forward` (everything but attention).

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
            size = product_norm(layer, name)
            a.weight, b.weight = (_noise(each.weight, generator) for each in (a, b))
            b.weight.data *= size / product_norm(layer, name)
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


def changed_layers(base: Any, tuned: Any) -> tuple[bool, ...]:
    """Return for 0..L whether `tuned` has other weights there than `base`; 0 is everything outside the L blocks.

    Raises `ModelError` with the layer and the weight if the two differ in architecture or dtype, or if an adapter is
    merged.
    """
    mine, theirs = blocks_of(base), blocks_of(tuned)
    if len(mine) != len(theirs):
        raise ModelError(f"the base has {len(mine)} layers and the tuned model {len(theirs)}. Give one tuned from it.")
    pairs: list[tuple[nn.Module, nn.Module]] = [(base, tuned), *zip(mine, theirs, strict=True)]
    return tuple(_differ(one, other, layer, (mine, theirs)) for layer, (one, other) in enumerate(pairs))


def _differ(base: nn.Module, tuned: nn.Module, layer: int, skip: tuple[nn.Module, ...]) -> bool:
    one, other = dict(_weights(base, skip)), dict(_weights(tuned, skip))
    for name in sorted(one.keys() | other.keys()):
        shapes = [tuple(side[name].shape) if name in side else None for side in (one, other)]
        if shapes[0] != shapes[1]:
            raise ModelError(
                f"{_where(layer)}, {name}: the base has {shapes[0] or 'no such weight'}, the tuned model "
                f"{shapes[1] or 'none'}. Layers can be exchanged only between a base and a model tuned from it."
            )
        if one[name].dtype != other[name].dtype:
            raise ModelError(
                f"{_where(layer)}, {name}: the base is in {_format(one[name])}, the tuned model in "
                f"{_format(other[name])}. Load both in one format, such as dtype=torch.float32."
            )
    adapted = any(_acts(module) for side in (base, tuned) for module in _modules(side, skip))
    return adapted or any(not _same(weight, other[name]) for name, weight in one.items())


def _where(layer: int) -> str:
    return f"layer {layer}" if layer else "outside the layers"


def _format(weight: torch.Tensor) -> str:
    return str(weight.dtype).removeprefix("torch.")


def _modules(module: nn.Module, skip: tuple[nn.Module, ...]) -> Iterator[nn.Module]:
    """Yield a module and all inside it but the lists of blocks in `skip`."""
    yield module
    for child in module.children():
        if not any(child is each for each in skip):
            yield from _modules(child, skip)


def _weights(module: nn.Module, skip: tuple[nn.Module, ...], prefix: str = "") -> Iterator[tuple[str, torch.Tensor]]:
    """Yield weights by the names that they have without any adapter; those of adapters are not among them."""
    if isinstance(module, BaseTunerLayer):
        yield from _weights(module.get_base_layer(), skip, prefix)
        return
    if isinstance(module, AuxiliaryTrainingWrapper):  # a whole module trained in addition to an adapter
        active: Any = module
        yield from _weights(active.modules_to_save[active.active_adapters[0]], skip, prefix)
        return
    for name, weight in module.named_parameters(prefix.rstrip("."), recurse=False):
        yield name, weight
    for name, child in module.named_children():
        if not any(child is each for each in skip):
            yield from _weights(child, skip, f"{prefix}{name}.")


def _acts(module: nn.Module) -> bool:
    """Tell whether a module is one of PEFT's with an update that is not zero."""
    if not isinstance(module, BaseTunerLayer):
        return False
    if module.merged:
        raise ModelError(
            "an adapter is merged into the weights. Call unmerge_adapter() first, or give the base as "
            "a separate model and the tuned one after merge_and_unload()."
        )
    if isinstance(module, LoraLayer):
        layer: Any = module
        active = [name for name in layer.active_adapters if name in layer.lora_B]
        return any(bool(layer.lora_B[name].weight.any()) for name in active)
    return bool(set(module.active_adapters) & module._get_available_adapters())  # pyright: ignore[reportPrivateUsage]


def _same(one: torch.Tensor, other: torch.Tensor) -> bool:
    if one is other or (one.data_ptr() == other.data_ptr() and not one.is_meta):
        return True
    return not (one.is_meta or other.is_meta) and torch.equal(one, other.to(one.device))
