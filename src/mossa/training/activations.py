"""Whether a training keeps its activations for the backward pass or computes them again: `auto` asks the memory."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from mossa.errors import ModelNote
from mossa.models.blocks import blocks_of
from mossa.models.prompts import Encoded
from mossa.models.shape import kept_per_token
from mossa.study.recipe import Recipe
from mossa.training.loss import count_targets, token_budget, vocabulary_of

ROOM = 0.95  # of the memory there is; the rest is fragments, and what libraries take
ENOUGH = 2048  # padded tokens of a micro-batch: with fewer, filling grows until it costs what is saved
LOGITS = 4.0 * 4  # bytes per target and word of the vocabulary: themselves, their log-softmax, and a gradient of each


def activation_bytes(kept: float, layers: int, states: float, tokens: int, again: bool) -> float:
    """Return the bytes of activations of `tokens` padded tokens, of which autograd keeps `kept` each.

    Computed `again`, only the inputs of all blocks are kept, `states` bytes per token and layer, and all of one block.
    """
    return tokens * ((kept / layers + layers * states if again else kept) + kept / layers)


def tokens_at_least(longest: int, device: str, weights: int) -> int:
    """Return the padded tokens of the micro-batch that must fit for activations to be kept."""
    return max(longest, min(ENOUGH, token_budget(device, weights)))


def computes_again(recipe: Recipe, adapted: Any, examples: Sequence[Encoded], device: torch.device) -> bool:
    """Decide for one training whether activations are computed again; a `ModelNote` says that `auto` found it needed.

    The numbers are the same either way, so this may depend on the machine.
    """
    if recipe.gradient_checkpointing != "auto":
        return recipe.gradient_checkpointing
    layers, weights = len(blocks_of(adapted)), sum(parameter.numel() for parameter in adapted.parameters())
    tokens = tokens_at_least(max(len(each.tokens) for each in examples), device.type, weights)
    targets = max(count_targets([each]) for each in examples)
    needed = activation_bytes(
        kept_per_token(adapted, device), layers, 0, tokens, False
    ) + LOGITS * targets * vocabulary_of(adapted)
    there = ROOM * free_memory(device)
    if needed > there:
        warnings.warn(
            ModelNote(
                f"recipe.gradient_checkpointing: auto computes activations again: {tokens:,} tokens would need "
                f"{needed / 1e9:,.1f} GB of the {there / 1e9:,.1f} GB that are free."
            ),
            stacklevel=2,
        )
    return needed > there


def free_memory(device: torch.device) -> float:
    """Return the bytes that are free on a device for this process."""
    if device.type == "cuda":
        cached = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + cached
    import psutil

    return psutil.virtual_memory().available


@contextmanager
def checkpointing(model: Any, again: bool) -> Iterator[None]:
    """Compute activations again in the backward pass for the length of the block, if `again`."""
    if not again:
        yield
        return
    verb = "activation_checkpointing" if hasattr(model, "activation_checkpointing_enable") else "gradient_checkpointing"
    getattr(model, f"{verb}_enable")({"use_reentrant": False})
    try:
        yield
    finally:
        getattr(model, f"{verb}_disable")()
