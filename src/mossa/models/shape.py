"""What a model and its adapter are made of, counted without loading any weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from transformers.pytorch_utils import Conv1D

from mossa.models.adapters import new_adapter
from mossa.models.base import LoadedBase, load_config, without_storage
from mossa.models.blocks import blocks_of, decoder_of
from mossa.models.gguf import gguf_parts
from mossa.models.hub import quiet
from mossa.study.recipe import Lora
from mossa.study.schema import Base

PROBE = 16  # tokens; long enough to measure what grows with them


@dataclass(frozen=True, slots=True)
class Shape:
    """Counts of weights, the bytes they take here and in their file (the same, mapped, if `kept_as_stored`).

    `block_weights`: those that multiply every token, in all blocks (of experts, those that are used). `head_weights`:
    those of the head. `attention`: heads x head width, summed over layers. `adapter_weights`: those that are trained.
    `kept_per_token`: bytes that autograd keeps per token for backward, without attention's square. `reach`: the
    share of the blocks that the backward pass goes through, from the last down to the lowest with an adapter.
    `combines`: adapters are part of the blocks' own products (`models/fused_lora.py`).
    """

    layers: int
    width: int
    weights: int
    weight_bytes: float
    stored_bytes: float
    kept_as_stored: bool
    block_weights: int
    head_weights: int
    vocabulary: int
    attention: int
    adapter_weights: int
    kept_per_token: float
    reach: float
    combines: bool


def shape_of(base: Base, lora: Lora) -> Shape:
    """Return the shape of the base with an adapter on it, from a model that has no storage.

    Raises `ModelError` if the base's configuration cannot be read or the adapter's targets are unknown.
    """
    config = load_config(base)
    text = config.get_text_config()
    experts = hasattr(text, "num_experts_per_tok")
    dtype = torch.bfloat16 if experts else getattr(torch, base.dtype)  # without storage, experts only run in bfloat16
    model = without_storage(base, dtype)
    with torch.device("meta"), quiet():
        weights = sum(parameter.numel() for parameter in model.parameters())
        weight_bytes = _bytes(model, base)
        blocks = sum(_active(parameter, text) for parameter in blocks_of(model).parameters())
        with new_adapter(LoadedBase(model, None, 0, 0, 0), lora, 0) as adapted:
            trained = sum(parameter.numel() for parameter in adapted.parameters() if parameter.requires_grad)
            with FakeTensorMode():
                _pretend(adapted)
                kept = kept_per_token(adapted)
    stored = getattr(torch, base.dtype) if gguf_parts(base.model) else config.dtype or torch.float32
    heads = text.num_attention_heads
    per_head = getattr(text, "head_dim", None) or text.hidden_size // heads
    return Shape(
        layers=text.num_hidden_layers,
        width=text.hidden_size,
        weights=weights,
        weight_bytes=weight_bytes,
        stored_bytes=float(weights * stored.itemsize),
        kept_as_stored=stored == getattr(torch, base.dtype) and base.quantise is None,
        block_weights=blocks,
        head_weights=model.get_output_embeddings().weight.numel(),
        vocabulary=model.get_output_embeddings().weight.shape[0],
        attention=text.num_hidden_layers * heads * per_head,
        adapter_weights=trained,
        kept_per_token=kept * (2 if experts and base.dtype == "float32" else 1),
        reach=1 - (min(lora.layers) - 1) / text.num_hidden_layers if lora.layers else 1.0,
        combines=base.dtype == "float32" and base.quantise is None,
    )


def _bytes(model: Any, base: Base) -> float:
    """Return the bytes of the frozen weights; bitsandbytes quantises every linear layer but the head."""
    size = 4 if base.dtype == "float32" else 2
    total = sum(float(size * parameter.numel()) for parameter in model.parameters())
    head = model.get_output_embeddings()
    for module in model.modules():
        if base.quantise and isinstance(module, nn.Linear | Conv1D) and module is not head:
            weight = module.weight
            # in 4 bits, a scale of 8 bits for every 64 weights and one of 32 for 256 of those; in 8, one of 32 per row
            scales = weight.numel() / 64 * (1 + 4 / 256) if base.quantise == "4-bit" else 4 * weight.shape[0]
            total += weight.numel() * (0.5 if base.quantise == "4-bit" else 1) + scales - size * weight.numel()
    return total


def _active(parameter: nn.Parameter, config: Any) -> int:
    """Return how many of a parameter's weights multiply each token: all of a matrix, a share of stacked experts."""
    if parameter.dim() < 2:
        return 0
    if parameter.dim() == 2:
        return parameter.numel()
    return parameter.numel() // parameter.shape[0] * getattr(config, "num_experts_per_tok", parameter.shape[0])


def _pretend(model: Any) -> None:
    """Put tensors of the CPU without storage in the place of the model's, so that it runs as it would there."""
    for module in model.modules():
        for held in (module._parameters, module._buffers):
            for name, tensor in held.items():
                if tensor is not None:
                    fake = torch.empty(tensor.shape, dtype=tensor.dtype, device="cpu")
                    held[name] = nn.Parameter(fake, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else fake


def kept_per_token(adapted: Any, device: torch.device | str = "cpu") -> float:
    """Return the bytes per token that autograd keeps of a model with an adapter on it, for the backward pass."""
    once, twice = (_kept(adapted, tokens, device) for tokens in (PROBE, 2 * PROBE))
    return (4 * once - twice) / (2 * PROBE)  # a s + b s² at two lengths, of which a: fused attention keeps no square


def _kept(model: Any, tokens: int, device: torch.device | str) -> int:
    """Return the bytes that autograd keeps for the backward pass of one sequence, without the weights themselves."""
    weights = {id(parameter) for parameter in model.parameters()}
    kept: dict[int, torch.Tensor] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        own = tensor if tensor._base is None else tensor._base
        if id(own) not in weights:
            kept[id(own)] = own  # held until all are added up, so that no id comes twice
        return tensor

    decoder = decoder_of(model.get_base_model())
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        decoder(input_ids=torch.zeros(1, tokens, dtype=torch.long, device=device), use_cache=False)
    return sum(tensor.numel() * tensor.element_size() for tensor in kept.values())
